#include "supervisor/node_proxy.h"

#include <fmt/format.h>

#include "base/strings.h"
#include "json/write.h"
#include "tunnel/dial.h"

namespace kedge::supervisor {

namespace {

using api::api_result;
using net::http::exchange;
using net::http::headers;
using net::http::response;

constexpr std::size_t error_body_max_bytes = 16 * 1024;  // of a kubelet's refusal that is told on (real server: 16 KB)

// RFC 9110 §7.6.1, and what proves who the client is.
bool stays_here(std::string_view name) {
  static constexpr std::string_view names[] = {"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization",
                                               "te", "trailer", "transfer-encoding", "upgrade", "host", "content-length", "expect",
                                               "authorization", "x-remote-user", "x-remote-group", "x-remote-uid", "impersonate-user",
                                               "impersonate-group", "impersonate-uid"};
  for (auto n : names)
    if (iequals(name, n)) return true;
  auto l = lower(name);
  return l.starts_with("x-remote-extra-") || l.starts_with("impersonate-extra-");
}

bool wants_upgrade(const net::http::request& r) { return r.headers.has_token("connection", "upgrade") && r.headers.has("upgrade"); }

api::status unreachable(const error& e) { return api::unavailable("error trying to reach service: " + e.message); }

task<void> refuse(exchange& e, const api::status& s) {
  response r;
  r.status = s.code;
  r.headers.add("Content-Type", "application/json");
  (void)co_await e.respond(r, json::write(s.to_json()) + "\n");
}

std::string names_of(const json::value& containers) {
  std::string out;
  for (std::size_t i = 0; i < containers.size(); ++i) out += (out.empty() ? "" : " ") + std::string(containers[i]["name"].as_string());
  return out;
}

bool has_container(const json::value& pod, std::string_view name) {
  for (auto list : {"containers", "initContainers", "ephemeralContainers"})
    for (std::size_t i = 0; i < pod["spec"][list].size(); ++i)
      if (pod["spec"][list][i]["name"].as_string() == name) return true;
  return false;
}

// The container that is asked for; the only one when none is.
api_result<std::string> choose_container(const json::value& pod, std::string_view asked) {
  auto name = pod["metadata"]["name"].as_string();
  auto& all = pod["spec"]["containers"];
  if (asked.empty()) {
    if (all.size() == 1) return std::string(all[0]["name"].as_string());
    auto text = fmt::format("a container name must be specified for pod {}, choose one of: [{}]", name, names_of(all));
    if (pod["spec"]["initContainers"].size() > 0) text += fmt::format(" or one of the init containers: [{}]", names_of(pod["spec"]["initContainers"]));
    return api::fail(api::bad_request(std::move(text)));
  }
  if (!has_container(pod, asked)) return api::fail(api::bad_request(fmt::format("container {} is not valid for pod {}", asked, name)));
  return std::string(asked);
}

void add_query(std::string& out, std::string_view name, std::string_view value) {
  out += out.empty() ? "?" : "&";
  out += name;
  out += '=';
  out += percent_encode(value);
}

// The kubelet's parameters for a log, exec or attach of the API.
std::string kubelet_query(std::string_view subresource, const api::query_values& q) {
  std::string out;
  if (subresource == "log") {
    for (std::string_view name : {"follow", "previous", "timestamps"})
      if (q.flag(name)) add_query(out, name, "true");
    for (std::string_view name : {"sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream"})
      if (q.has(name)) add_query(out, name, q.get(name));
    return out;
  }
  if (subresource == "portforward") {
    for (auto& ports : q.all("ports")) add_query(out, "port", ports);
    return out;
  }
  static constexpr std::pair<std::string_view, std::string_view> flags[] = {{"stdin", "input"}, {"stdout", "output"}, {"stderr", "error"}, {"tty", "tty"}};
  for (auto [asked, told] : flags)
    if (q.flag(asked)) add_query(out, told, "1");
  for (auto& word : q.all("command")) add_query(out, "command", word);
  return out;
}

}  // namespace

struct node_proxy::destination {
  net::http::target to;
  bool is_kubelet = false;
  std::string path;       // with the query
  std::string prefix;     // of this proxy's own path, for Location headers; empty: none are changed
  bool add_slash = false; // the client shall ask again with a slash behind
  bool nothing = false;   // a log of a pod that no node has
  std::string told_as;    // the resource that a kubelet's refusal is told about, such as "pods/log"; empty: passed as it is
};

// Kubelets by the name of their node; the address of an endpoint is that name.
struct node_proxy::kubelet_network final : reactor::network {
  node_dialer& dialer;
  explicit kubelet_network(node_dialer& d) : dialer(d) {}
  task<result<std::unique_ptr<reactor::stream>>> connect(reactor::endpoint to) override { return dialer.dial_kubelet(std::move(to.address), to.port); }
  result<std::unique_ptr<reactor::listener>> listen(const reactor::endpoint&, const reactor::listen_options&) override {
    return fail(errc::unsupported, "nobody listens at a kubelet's");
  }
};

// Addresses as nodes and pods have them: "node/address", the node empty when it isn't known.
struct node_proxy::pod_network final : reactor::network {
  node_dialer& dialer;
  explicit pod_network(node_dialer& d) : dialer(d) {}
  task<result<std::unique_ptr<reactor::stream>>> connect(reactor::endpoint to) override {
    auto slash = to.address.find('/');
    return dialer.dial_address(to.address.substr(slash + 1), to.port, to.address.substr(0, slash));
  }
  result<std::unique_ptr<reactor::listener>> listen(const reactor::endpoint&, const reactor::listen_options&) override {
    return fail(errc::unsupported, "nobody listens at a pod's");
  }
};

node_proxy::node_proxy(node_dialer& dialer, api::objects& objects, std::shared_ptr<net::tls_client_context> kubelets)
    : dialer_(dialer), objects_(objects), kubelet_tls_(std::move(kubelets)), kubelet_network_(std::make_unique<kubelet_network>(dialer)),
      pod_network_(std::make_unique<pod_network>(dialer)), kubelets_(kubelet_network_.get()), pods_(pod_network_.get()) {
  // Who serves HTTPS in a pod is the user's business; the real server doesn't verify it either.
  if (auto any = net::tls_client_context::make({.insecure = true, .alpn = {"http/1.1"}})) any_tls_ = std::move(*any);
}
node_proxy::~node_proxy() = default;

std::optional<proxied_name> parse_proxied_name(std::string_view text) {
  auto parts = split(text, ':');
  auto is_port = [](std::string_view s) {
    for (char c : s)
      if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-')) return false;
    return true;
  };
  proxied_name out;
  if (parts.size() == 1) {
    out.name = parts[0];
  } else if (parts.size() == 2) {
    out.name = parts[0];
    out.port = parts[1];
    if (out.port.empty()) return std::nullopt;
  } else if (parts.size() == 3) {
    out.scheme = parts[0];
    out.name = parts[1];
    out.port = parts[2];
  } else {
    return std::nullopt;
  }
  if (out.name.empty() || !is_port(out.port) || !(out.scheme.empty() || out.scheme == "http" || out.scheme == "https")) return std::nullopt;
  return out;
}

api_result<node_proxy::destination> node_proxy::find_node(const api::request_info& what) const {
  auto asked = parse_proxied_name(what.name);
  if (!asked) return api::fail(api::bad_request("invalid node request " + quote(what.name)));
  auto node = objects_.get({"", "v1", "nodes"}, "", asked->name);
  if (!node) return api::fail(node.error());
  auto own_port = kubelet_port_of(*node);
  destination d;
  if (asked->port.empty() || asked->port == std::to_string(own_port)) {
    d.to = {.at = {asked->name, own_port}, .host = asked->name, .tls = kubelet_tls_};
    d.is_kubelet = true;
    return d;
  }
  auto port = parse_uint(asked->port);
  auto address = address_of(*node);
  if (!port || *port == 0 || *port > 65535 || address.empty()) return api::fail(api::bad_request("invalid node request " + quote(what.name)));
  d.to = {.at = {asked->name + "/" + address, static_cast<std::uint16_t>(*port)}, .host = address};
  if (asked->scheme == "https") d.to.tls = any_tls_;
  return d;
}

api_result<node_proxy::destination> node_proxy::find_pod(const api::request_info& what) const {
  auto asked = parse_proxied_name(what.name);
  if (!asked) return api::fail(api::bad_request("invalid pod request " + quote(what.name)));
  auto pod = objects_.get({"", "v1", "pods"}, what.ns, asked->name);
  if (!pod) return api::fail(pod.error());
  std::uint64_t port = asked->scheme == "https" ? 443 : 80;
  if (!asked->port.empty()) {
    auto n = parse_uint(asked->port);
    if (!n || *n == 0 || *n > 65535) return api::fail(api::bad_request("invalid pod request " + quote(what.name)));
    port = *n;
  } else {
    for (std::size_t i = 0; i < (*pod)["spec"]["containers"].size(); ++i)
      if (auto n = (*pod)["spec"]["containers"][i]["ports"][0]["containerPort"].as_integer(0); n > 0 && n < 65536) {
        port = static_cast<std::uint64_t>(n);
        break;
      }
  }
  std::string address((*pod)["status"]["podIP"].as_string());
  if (address.empty() || address.starts_with("127.") || address.starts_with("169.254.") || address == "::1")
    return api::fail(api::bad_request("address not allowed"));
  destination d{.to = {.at = {std::string((*pod)["spec"]["nodeName"].as_string()) + "/" + address, static_cast<std::uint16_t>(port)}, .host = address}};
  if (asked->scheme == "https") d.to.tls = any_tls_;
  return d;
}

api_result<node_proxy::destination> node_proxy::find_service(const api::request_info& what) const {
  auto asked = parse_proxied_name(what.name);
  if (!asked) return api::fail(api::bad_request("invalid service request " + quote(what.name)));
  auto service = objects_.get({"", "v1", "services"}, what.ns, asked->name);
  if (!service) return api::fail(service.error());
  // A port is asked for by its name or number; the slices know ports by their names.
  std::string port_name = asked->port;
  bool known = asked->port.empty();
  auto& ports = (*service)["spec"]["ports"];
  for (std::size_t i = 0; i < ports.size() && !known; ++i)
    if (ports[i]["name"].as_string() == asked->port || std::to_string(ports[i]["port"].as_integer()) == asked->port) {
      port_name = ports[i]["name"].as_string();
      known = true;
    }
  if (!known) return api::fail(api::unavailable(fmt::format("no service port {} found for service {}", quote(asked->port), quote(asked->name))));
  std::vector<destination> all;
  for (auto& slice : objects_.list({"discovery.k8s.io", "v1", "endpointslices"}, what.ns)) {
    if (slice["metadata"]["labels"]["kubernetes.io/service-name"].as_string() != asked->name) continue;
    for (std::size_t p = 0; p < slice["ports"].size(); ++p) {
      if (!asked->port.empty() && slice["ports"][p]["name"].as_string() != port_name) continue;
      auto port = slice["ports"][p]["port"].as_integer(0);
      if (port <= 0 || port > 65535) continue;
      for (std::size_t i = 0; i < slice["endpoints"].size(); ++i) {
        auto& one = slice["endpoints"][i];
        if (!one["conditions"]["ready"].as_bool(true) || one["addresses"].size() == 0) continue;
        std::string address(one["addresses"][0].as_string());
        destination d{.to = {.at = {std::string(one["nodeName"].as_string()) + "/" + address, static_cast<std::uint16_t>(port)}, .host = address}};
        if (asked->scheme == "https") d.to.tls = any_tls_;
        all.push_back(std::move(d));
      }
    }
  }
  if (all.empty()) return api::fail(api::unavailable(fmt::format("no endpoints available for service {}", quote(asked->name))));
  return std::move(all[reactor::loop::current().random().below(all.size())]);
}

// log, exec, attach, portforward: at the pod's kubelet.
api_result<node_proxy::destination> node_proxy::find_container(const api::request_info& what, const api::query_values& query) const {
  auto pod = objects_.get({"", "v1", "pods"}, what.ns, what.name);
  if (!pod) return api::fail(pod.error());
  std::string container;
  if (what.subresource != "portforward") {
    auto chosen = choose_container(*pod, query.get("container"));
    if (!chosen) return api::fail(chosen.error());
    container = "/" + percent_encode(*chosen);
  }
  destination d;
  std::string node((*pod)["spec"]["nodeName"].as_string());
  if (node.empty()) {
    if (what.subresource != "log") return api::fail(api::bad_request(fmt::format("pod {} does not have a host assigned", what.name)));
    d.nothing = true;
    return d;
  }
  auto found = objects_.get({"", "v1", "nodes"}, "", node);
  if (!found) return api::fail(found.error());
  d.to = {.at = {node, kubelet_port_of(*found)}, .host = node, .tls = kubelet_tls_};
  d.is_kubelet = true;
  auto verb = what.subresource == "log" ? "containerLogs" : what.subresource == "portforward" ? "portForward" : what.subresource;
  d.path = fmt::format("/{}/{}/{}{}{}", verb, percent_encode(what.ns), percent_encode(what.name), container, kubelet_query(what.subresource, query));
  if (what.subresource == "log") d.told_as = "pods/log";
  return d;
}

api_result<node_proxy::destination> node_proxy::find(const net::http::request& r, const api::request_info& what,
                                                     const api::query_values& query) const {
  if (what.subresource != "proxy") return find_container(what, query);
  auto d = what.resource == "nodes" ? find_node(what) : what.resource == "pods" ? find_pod(what) : find_service(what);
  if (!d) return d;
  d->prefix = r.path.substr(0, r.path.size() - what.rest.size());
  d->add_slash = what.rest.empty() && !wants_upgrade(r) && (r.method == "GET" || r.method == "HEAD");
  d->path = what.rest.empty() ? "/" : what.rest;
  if (!r.query.empty()) d->path += "?" + r.query;
  return d;
}

task<void> node_proxy::serve(exchange& e, const api::request_info& what) {
  auto& r = e.request();
  auto query = api::query_values::parse(r.query);
  auto d = find(r, what, query);
  if (!d) co_return co_await refuse(e, d.error());
  if (d->nothing) {
    (void)co_await e.respond({.status = 204}, "");
    co_return;
  }
  if (d->add_slash) {
    response moved{.status = 301};
    moved.headers.add("Location", r.path + "/" + (r.query.empty() ? "" : "?" + r.query));
    (void)co_await e.respond(moved, "");
    co_return;
  }
  co_await forward(e, *std::move(d));
}

namespace {

// The request's body, piece by piece. errors of the other side show in the answer.
task<result<void>> send_body(exchange& e, net::http::client_exchange& x) {
  for (;;) {
    KEDGE_CO_TRY(auto piece, co_await e.read());
    if (piece.empty()) co_return co_await x.finish();
    bytes part = piece.view();
    KEDGE_CO_CHECK(co_await x.write({&part, 1}));
  }
}

headers request_headers(const net::http::request& r, const net::http::connection_info& from, bool upgrade) {
  headers out;
  for (auto& [name, value] : r.headers)
    if (!stays_here(name) && !iequals(name, "x-forwarded-for")) out.add(name, value);
  if (upgrade) {
    out.add("Connection", "Upgrade");
    out.add("Upgrade", std::string(r.headers.get("upgrade")));
  }
  auto before = r.headers.get("x-forwarded-for");
  out.add("X-Forwarded-For", before.empty() ? from.peer.address : std::string(before) + ", " + from.peer.address);
  return out;
}

}  // namespace

task<void> node_proxy::forward(exchange& e, destination d) {
  auto& r = e.request();
  bool upgrade = wants_upgrade(r);
  bool has_body = r.content_length.value_or(1) > 0;
  auto request = [&] {
    return net::http::client_request{.to = d.to, .method = r.method, .path = d.path, .headers = request_headers(r, e.connection(), upgrade),
                                     .streams = has_body};
  };
  auto& through = d.is_kubelet ? kubelets_ : pods_;
  std::unique_ptr<net::http::client_exchange> x;
  const response* head = nullptr;
  for (int attempt = 0;; ++attempt) {
    // A kept connection, or the tunnel, may have been dead all along; what has no effect is asked again over a new one.
    auto may_retry = [&](const error& why) {
      return attempt == 0 && !has_body && !upgrade && (r.method == "GET" || r.method == "HEAD") && why.code != errc::timeout;
    };
    auto opened = co_await through.open(request());
    if (!opened && may_retry(opened.error())) continue;
    if (!opened) co_return co_await refuse(e, unreachable(opened.error()));
    x = std::move(*opened);
    if (has_body) {
      if (auto sent = co_await send_body(e, *x); !sent) co_return co_await refuse(e, unreachable(sent.error()));
    }
    auto answered = co_await x->head();
    if (answered) {
      head = *answered;
      break;
    }
    if (!may_retry(answered.error())) co_return co_await refuse(e, unreachable(answered.error()));
    through.forget_idle();
  }
  response out{.status = head->status};
  for (auto& [name, value] : head->headers)
    if (!stays_here(name) && !iequals(name, "date")) out.headers.add(name, value);
  if (head->status == 101) {
    auto up = x->upgraded();
    if (!up || !upgrade) co_return co_await refuse(e, api::internal_error("the node changed the protocol without being asked"));
    out.headers.add("Connection", "Upgrade");
    out.headers.add("Upgrade", std::string(head->headers.get("upgrade")));
    auto down = co_await e.upgrade(out);
    if (!down) co_return;
    co_return co_await tunnel::splice(**down, **up);
  }
  if (!d.told_as.empty() && (head->status < 200 || head->status > 206)) {
    auto text = co_await x->read_all(error_body_max_bytes);
    api::status s{.code = head->status, .reason = head->status == 404 ? "NotFound" : head->status == 400 ? "BadRequest" : "InternalError",
                  .message = text ? std::string(trim(*text)) : text.error().message};
    co_return co_await refuse(e, s);
  }
  // A redirect within the target is one within the proxy.
  if (auto where = out.headers.get("location"); !d.prefix.empty() && where.starts_with('/') && !where.starts_with("//"))
    out.headers.set("Location", d.prefix + std::string(where));
  if (r.method == "HEAD" || head->status == 204 || head->status == 304) {
    (void)co_await e.respond(out, "");
    co_return;
  }
  if (!co_await e.start(out)) co_return;
  for (;;) {
    auto piece = co_await x->read();
    if (!piece) co_return e.abort();
    if (piece->empty()) break;
    bytes part = piece->view();
    if (!co_await e.write({&part, 1})) co_return;
  }
  (void)co_await e.finish();
}

}  // namespace kedge::supervisor
