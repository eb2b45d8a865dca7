#include "supervisor/node_proxy.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/ip.h"
#include "base/strings.h"
#include "supervisor/forward.h"

namespace kedge::supervisor {

namespace {

using api::api_result;
using net::http::exchange;
using net::http::response;

std::string names_of(const json::value& containers) {
  std::string out;
  for (std::size_t i = 0; i < containers.size(); ++i)
    out += (out.empty() ? "" : " ") + std::string(containers[i]["name"].as_string());
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
    if (pod["spec"]["initContainers"].size() > 0)
      text += fmt::format(" or one of the init containers: [{}]", names_of(pod["spec"]["initContainers"]));
    return api::fail(api::bad_request(std::move(text)));
  }
  if (!has_container(pod, asked))
    return api::fail(api::bad_request(fmt::format("container {} is not valid for pod {}", asked, name)));
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
  static constexpr std::pair<std::string_view, std::string_view> flags[] = {
      {"stdin", "input"}, {"stdout", "output"}, {"stderr", "error"}, {"tty", "tty"}};
  for (auto [asked, told] : flags)
    if (q.flag(asked)) add_query(out, told, "1");
  for (auto& word : q.all("command")) add_query(out, "command", word);
  return out;
}

}  // namespace

struct node_proxy::destination {
  net::http::target to;  // a kubelet: `at` is its node's name and port
  bool is_kubelet = false;
  bool nothing = false;  // a log of a pod that no node has
  forwarding how;        // all but its ways
};

// Kubelets by their node and the way there: the address of an endpoint is "node/way", so that a connection that is kept
// is one of that very way.
struct node_proxy::kubelet_network final : reactor::network {
  node_dialer& dialer;
  explicit kubelet_network(node_dialer& d) : dialer(d) {}
  task<result<std::unique_ptr<reactor::stream>>> connect(reactor::endpoint to) override {
    const auto slash = to.address.find('/');
    const auto node = to.address.substr(0, slash), id = to.address.substr(slash + 1);
    for (auto& w : dialer.ways_to(node))
      if (w.id() == id) co_return co_await dialer.dial(w, node, to.port);
    co_return fail(errc::unavailable, "the way to node " + quote(node) + " is gone");
  }
  result<std::unique_ptr<reactor::listener>> listen(const reactor::endpoint&, const reactor::listen_options&) override {
    return fail(errc::unsupported, "nobody listens at a kubelet's");
  }
};

node_proxy::node_proxy(node_dialer& dialer, api::objects& objects, std::shared_ptr<net::tls_client_context> kubelets)
    : dialer_(dialer),
      objects_(objects),
      kubelet_tls_(std::move(kubelets)),
      kubelet_network_(std::make_unique<kubelet_network>(dialer)),
      pod_network_(std::make_unique<pod_network>(dialer)),
      kubelets_(kubelet_network_.get()),
      pods_(pod_network_.get()) {
  // Who serves HTTPS in a pod is the user's business; the real server doesn't verify it either.
  if (auto any = net::tls_client_context::make({.insecure = true, .alpn = {"http/1.1"}})) any_tls_ = std::move(*any);
}
node_proxy::~node_proxy() = default;

std::optional<proxied_name> parse_proxied_name(std::string_view text) {
  auto parts = split(text, ':');
  if (parts.size() > 3) return std::nullopt;
  proxied_name out;
  if (parts.size() == 3) out.scheme = parts[0];
  out.name = parts[parts.size() == 3 ? 1 : 0];
  if (parts.size() > 1) out.port = parts.back();
  if (out.name.empty() || !(out.scheme.empty() || out.scheme == "http" || out.scheme == "https")) return std::nullopt;
  return out;
}

namespace {

std::optional<std::uint16_t> port_number(std::string_view text) {
  auto n = parse_uint(text);
  if (!n || *n == 0 || *n > 65535) return std::nullopt;
  return static_cast<std::uint16_t>(*n);
}

bool has_address(const json::value& pod, std::string_view address) {
  auto& all = pod["status"]["podIPs"];
  for (std::size_t i = 0; i < all.size(); ++i)
    if (all[i]["ip"].as_string() == address) return true;
  return all.empty() && pod["status"]["podIP"].as_string() == address;
}

std::string_view address_of_pod(const json::value& pod) {
  auto first = pod["status"]["podIPs"][0]["ip"].as_string();
  return first.empty() ? pod["status"]["podIP"].as_string() : first;
}

}  // namespace

node_proxy::destination node_proxy::at_address(std::string_view node, std::string_view address, std::uint16_t port,
                                               bool tls) const {
  destination d;
  d.to = {.at = {std::string(node) + "/" + std::string(address), port}, .host = std::string(address)};
  if (tls) d.to.tls = any_tls_;
  return d;
}

api_result<node_proxy::destination> node_proxy::find_node(const api::authorized& what) const {
  auto asked = parse_proxied_name(what.name());
  if (!asked) return api::fail(api::bad_request("invalid node request " + quote(what.name())));
  auto node = objects_.get({"", "v1", "nodes"}, "", asked->name);
  if (!node) return api::fail(node.error());
  auto own_port = kubelet_port_of(*node);
  if (asked->port.empty() || asked->port == std::to_string(own_port)) {
    destination d;
    d.to = {.at = {asked->name, own_port}, .host = asked->name, .tls = kubelet_tls_};
    d.is_kubelet = true;
    return d;
  }
  auto port = port_number(asked->port);
  auto address = address_of(*node);
  if (!port || address.empty()) return api::fail(api::bad_request("invalid node request " + quote(what.name())));
  return at_address(asked->name, address, *port, asked->scheme == "https");
}

api_result<node_proxy::destination> node_proxy::find_pod(const api::authorized& what) const {
  auto asked = parse_proxied_name(what.name());
  if (!asked) return api::fail(api::bad_request("invalid pod request " + quote(what.name())));
  auto pod = objects_.get({"", "v1", "pods"}, what.ns(), asked->name);
  if (!pod) return api::fail(pod.error());
  const bool tls = asked->scheme == "https";
  std::optional<std::uint16_t> port = static_cast<std::uint16_t>(tls ? 443 : 80);
  if (!asked->port.empty()) {
    port = port_number(asked->port);
  } else {
    auto& containers = (*pod)["spec"]["containers"];
    for (std::size_t i = 0; i < containers.size(); ++i)
      if (containers[i]["ports"].size() > 0) {
        port = static_cast<std::uint16_t>(containers[i]["ports"][0]["containerPort"].as_integer(80));
        break;
      }
  }
  if (!port) return api::fail(api::bad_request("invalid pod request " + quote(what.name())));
  auto address = ip_address::parse_sloppy(address_of_pod(*pod));
  if (!address || !address->is_global_unicast()) return api::fail(api::bad_request("address not allowed"));
  return at_address((*pod)["spec"]["nodeName"].as_string(), address->text(), *port, tls);
}

// Whether an endpoint is a pod of its own namespace that has this address: whoever writes slices mustn't choose where
// the server dials.
bool node_proxy::is_pod(const json::value& endpoint, std::string_view ns) const {
  auto& ref = endpoint["targetRef"];
  if (!ref.is_object() || ref["namespace"].as_string() != ns) return false;
  auto pod = objects_.get({"", "v1", "pods"}, ns, ref["name"].as_string());
  return pod && has_address(*pod, endpoint["addresses"][0].as_string());
}

api_result<node_proxy::destination> node_proxy::find_service(const api::authorized& what) const {
  auto asked = parse_proxied_name(what.name());
  if (!asked) return api::fail(api::bad_request("invalid service request " + quote(what.name())));
  // A port is asked for by its name or number; the slices know ports by their names.
  std::string port_name = asked->port;
  std::int64_t number = 0;
  if (!api::parse_go_int(asked->port, number)) {
    auto service = objects_.get({"", "v1", "services"}, what.ns(), asked->name);
    if (!service) return api::fail(service.error());
    auto& ports = (*service)["spec"]["ports"];
    std::size_t i = 0;
    while (i < ports.size() && ports[i]["port"].as_integer() != number) ++i;
    if (i == ports.size())
      return api::fail(
          api::unavailable(fmt::format("no service port {} found for service {}", number, quote(asked->name))));
    port_name = ports[i]["name"].as_string();
  }
  std::vector<json::value> slices;
  objects_.each({"discovery.k8s.io", "v1", "endpointslices"}, what.ns(), api::slices_of(asked->name),
                [&](const json::value& slice) {
                  slices.push_back(slice);
                  return true;
                });
  // Any of them, but those of the family that services have first before others.
  auto& random = reactor::loop::current().random();
  for (auto i = slices.size(); i > 1; --i) std::swap(slices[i - 1], slices[random.below(i)]);
  const std::string_view first_family = dialer_.prefers_v6() ? "IPv6" : "IPv4";
  std::stable_partition(slices.begin(), slices.end(),
                        [&](const json::value& s) { return s["addressType"].as_string() == first_family; });
  for (auto& slice : slices) {
    auto& ports = slice["ports"];
    auto& endpoints = slice["endpoints"];
    for (std::size_t p = 0; p < ports.size() && !endpoints.empty(); ++p) {
      auto port = ports[p]["port"].as_integer(0);
      if (ports[p]["name"].as_string() != port_name || port <= 0 || port > 65535) continue;
      const auto offset = random.below(endpoints.size());
      for (std::size_t i = 0; i < endpoints.size(); ++i) {
        auto& one = endpoints[(i + offset) % endpoints.size()];
        if (!one["conditions"]["ready"].as_bool(true) || !is_pod(one, what.ns())) continue;
        auto address = ip_address::parse_sloppy(one["addresses"][0].as_string());
        if (!address || !address->is_global_unicast()) continue;
        return at_address(one["nodeName"].as_string(), address->text(), static_cast<std::uint16_t>(port),
                          asked->scheme == "https");
      }
    }
  }
  return api::fail(api::unavailable(fmt::format("no endpoints available for service {}", quote(asked->name))));
}

// log, exec, attach, portforward: at the pod's kubelet.
api_result<node_proxy::destination> node_proxy::find_container(const api::authorized& what,
                                                               const api::query_values& query) const {
  auto pod = objects_.get({"", "v1", "pods"}, what.ns(), what.name());
  if (!pod) return api::fail(pod.error());
  std::string container;
  if (what.subresource() != "portforward") {
    auto chosen = choose_container(*pod, query.get("container"));
    if (!chosen) return api::fail(chosen.error());
    container = "/" + percent_encode(*chosen);
  }
  destination d;
  std::string node((*pod)["spec"]["nodeName"].as_string());
  if (node.empty()) {
    if (what.subresource() != "log")
      return api::fail(api::bad_request(fmt::format("pod {} does not have a host assigned", what.name())));
    d.nothing = true;
    return d;
  }
  auto found = objects_.get({"", "v1", "nodes"}, "", node);
  if (!found) return api::fail(found.error());
  d.to = {.at = {node, kubelet_port_of(*found)}, .host = node, .tls = kubelet_tls_};
  d.is_kubelet = true;
  auto verb = what.subresource() == "log"           ? "containerLogs"
              : what.subresource() == "portforward" ? "portForward"
                                                    : what.subresource();
  d.how.path = fmt::format("/{}/{}/{}{}{}", verb, percent_encode(what.ns()), percent_encode(what.name()), container,
                           kubelet_query(what.subresource(), query));
  if (what.subresource() == "log") {
    d.how.told_as = "pods/log";
    d.how.bytes_to_websocket = true;
  }
  return d;
}

api_result<node_proxy::destination> node_proxy::find(const net::http::request& r, const api::authorized& what,
                                                     const std::string& rest, const api::query_values& query) const {
  if (what.subresource() != "proxy") return find_container(what, query);
  auto d = what.asked().resource == "nodes"  ? find_node(what)
           : what.asked().resource == "pods" ? find_pod(what)
                                             : find_service(what);
  if (!d) return d;
  d->how.path = rest.empty() ? "/" : rest;
  if (!r.query.empty()) d->how.path += "?" + r.query;
  d->how.authority = r.authority;
  d->how.links = proxied_origin{.prefix = r.path.substr(0, r.path.size() - rest.size()),
                                .target = reactor::endpoint{d->to.host, d->to.at.port}.text(),
                                .request = r.authority};
  return d;
}

task<result<void>> node_proxy::read_kubelet(std::string node, std::string path,
                                            std::function<result<void>(std::string_view)> take) {
  auto known = objects_.get({"", "v1", "nodes"}, "", node);
  if (!known) co_return fail(errc::not_found, known.error().message);
  const auto port = kubelet_port_of(*known);
  error last(errc::unavailable, "no tunnel leads to node " + quote(node));
  for (auto& w : dialer_.ways_to(node)) {
    net::http::target to{.at = {node + "/" + w.id(), port}, .host = node, .tls = kubelet_tls_};
    auto asked = co_await kubelets_.open({.to = std::move(to), .path = path});
    if (!asked) {
      last = std::move(asked).error();
      continue;
    }
    auto head = co_await (*asked)->head();
    if (!head) {
      last = std::move(head).error();
      continue;
    }
    if ((*head)->status != 200) co_return fail(errc::unavailable, fmt::format("it answers with {}", (*head)->status));
    for (;;) {
      KEDGE_CO_TRY(auto piece, co_await (*asked)->read());
      if (piece.empty()) co_return result<void>();
      KEDGE_CO_CHECK(take(as_text(piece.view())));
    }
  }
  co_return fail(std::move(last));
}

task<void> node_proxy::serve(exchange& e, const api::authorized& what, std::string rest) {
  auto& r = e.request();
  auto query = api::query_values::parse(r.query);
  auto d = find(r, what, rest, query);
  if (!d) co_return co_await refuse(e, d.error());
  if (d->nothing) {
    (void)co_await e.respond({.status = 204}, "");
    co_return;
  }
  // Relative links of a page would lead out of the proxy.
  if (what.subresource() == "proxy" && rest.empty() && !wants_upgrade(r) && (r.method == "GET" || r.method == "HEAD")) {
    response moved{.status = 301};
    moved.headers.add("Location", r.path + "/" + (r.query.empty() ? "" : "?" + r.query));
    (void)co_await e.respond(moved, "");
    co_return;
  }
  if (!d->is_kubelet) {
    d->how.ways = {std::move(d->to)};
    (void)co_await forward(e, pods_, std::move(d->how));
    co_return;
  }
  auto ways = dialer_.ways_to(d->to.at.address);
  for (auto& w : ways) {
    auto& to = d->how.ways.emplace_back(d->to);
    to.at.address += "/" + w.id();
  }
  if (ways.empty())
    co_return co_await refuse(
        e, api::unavailable("error trying to reach service: failed to find Session for client " + d->to.at.address));
  d->how.doubt = [this, ways](std::size_t i) { dialer_.doubt(ways[i]); };
  (void)co_await forward(e, kubelets_, std::move(d->how));
}

}  // namespace kedge::supervisor
