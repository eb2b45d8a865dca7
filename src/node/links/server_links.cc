#include "node/links/server_links.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "balancer/state_file.h"
#include "base/log.h"
#include "base/strings.h"
#include "crypto/certificate.h"
#include "crypto/files.h"
#include "json/parse.h"
#include "json/write.h"
#include "node/join/api_client.h"
#include "node/join/http_answer.h"
#include "node/limits.h"
#include "reactor/offload.h"
#include "reactor/sync.h"
#include "tunnel/dial.h"

namespace kedge::node {

namespace {

using json::array;
using json::object;
using json::value;

constexpr std::string_view slices_path =
    "/apis/discovery.k8s.io/v1/namespaces/default/"
    "endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes";

double milliseconds(duration d) { return static_cast<double>(d.count()) / 1e6; }
double seconds_since(time_point t) { return static_cast<double>((reactor::loop::current().now() - t).count()) / 1e9; }

std::string first_line(std::string& held) {
  auto end = held.find('\n');
  if (end == std::string::npos) return {};
  auto line = held.substr(0, end);
  held.erase(0, end + 1);
  return line;
}

}  // namespace

std::vector<std::string> addresses_of_slice(const value& slice) {
  std::vector<std::string> out;
  auto port = slice["ports"][0]["port"].as_integer(443);
  if (port <= 0 || port > 65535) return out;
  for (std::size_t i = 0; i < slice["endpoints"].size(); ++i) {
    auto& endpoint = slice["endpoints"][i];
    if (!endpoint["conditions"]["ready"].as_bool(true)) continue;
    for (std::size_t a = 0; a < endpoint["addresses"].size(); ++a)
      out.push_back(
          reactor::endpoint{std::string(endpoint["addresses"][a].as_string()), static_cast<std::uint16_t>(port)}
              .text());
  }
  return out;
}

std::vector<std::string> targets_of_pod(const value& pod) {
  std::vector<std::string> out;
  if (!pod["spec"]["hostNetwork"].as_bool()) {
    out.emplace_back(pod["status"]["podIP"].as_string());
    auto& all = pod["status"]["podIPs"];
    for (std::size_t i = 0; i < all.size(); ++i) out.emplace_back(all[i]["ip"].as_string());
    std::erase(out, "");
    return out;
  }
  auto& containers = pod["spec"]["containers"];
  for (std::size_t i = 0; i < containers.size(); ++i) {
    auto& ports = containers[i]["ports"];
    for (std::size_t p = 0; p < ports.size(); ++p)
      if (ports[p]["protocol"].as_string("TCP") == "TCP")
        out.push_back(fmt::format(":{}", ports[p]["containerPort"].as_integer()));
  }
  return out;
}

result<std::string> without_roots(std::string_view chain_pem) {
  KEDGE_TRY(auto chain, crypto::parse_bundle(chain_pem));
  auto out = chain.front().pem();
  for (auto& one : std::span(chain).subspan(1))
    if (!one.authority_key_id().empty() && one.authority_key_id() != one.subject_key_id()) out += one.pem();
  return out;
}

server_links::server_links(const agent_config& config, reactor::network* network, reactor::network* direct)
    : config_(config),
      network_(network),
      direct_(direct),
      api_url_(config.server_url),
      http_(std::make_unique<net::http::client>(network)) {
  if (auto a = balancer::default_address(config.server_url)) fixed_address_ = *a;
}
server_links::~server_links() = default;

task<result<void>> server_links::start() {
  if (config_.balancer_port == 0) co_return result<void>();
  auto folder = config_.agent_folder() + "/etc";
  KEDGE_CO_TRY(auto made, co_await reactor::offload([folder] { return crypto::make_folder(folder, 0755); }));
  KEDGE_CO_CHECK(std::move(made));
  bool v6 = !config_.node_ips.empty() && config_.node_ips.front().contains(':');
  balancer::balancer_options o{.server_url = config_.server_url,
                               .state_file = folder + "/k3s-agent-load-balancer.json",
                               .rules = {.node_name = config_.node_name},
                               .network = network_};
  // The other loopback is best effort (K3s).
  std::vector<std::string> hosts =
      v6 ? std::vector<std::string>{"::1", "127.0.0.1"} : std::vector<std::string>{"127.0.0.1", "::1"};
  o.listen.clear();
  for (auto& h : hosts) o.listen.push_back({h, config_.balancer_port});
  balancer_ =
      std::make_unique<balancer::load_balancer>(std::vector<reactor::loop*>{&reactor::loop::current()}, std::move(o));
  KEDGE_CO_CHECK(co_await balancer_->load());
  // It returns only when it can't listen.
  std::shared_ptr<std::optional<error>> failed = std::make_shared<std::optional<error>>();
  tasks_.spawn([](balancer::load_balancer& b, std::shared_ptr<std::optional<error>> out) -> task<void> {
    auto r = co_await b.run();
    if (r) co_return;
    out->emplace(std::move(r).error());
    b.ready().set();
  }(*balancer_, failed));
  co_await balancer_->ready().wait();
  if (*failed)
    co_return fail(
        (*std::move(*failed))
            .with(fmt::format(
                "the agent's load balancer can't listen on port {} (another agent runs here? --lb-server-port "
                "chooses another): ",
                config_.balancer_port)));
  api_url_ = "https://" + balancer_->listening().front().text();
  log::info("requests to the servers go through {}", api_url_);
  co_return result<void>();
}

result<void> server_links::use(const registration& joined, const client_identity& controller) {
  auto node = joined.kubelet;
  KEDGE_TRY(node.chain, without_roots(node.chain));
  KEDGE_TRY(as_node_, client_context(joined.server_ca, node));
  KEDGE_TRY(as_controller_, client_context(joined.server_ca, controller));
  http_->forget_idle();
  renewed_.pulse();
  if (tunnels_) tunnels_->renew();
  return {};
}

void server_links::moved() {
  http_->forget_idle();
  if (tunnels_) tunnels_->begin_anew();
}

result<void> server_links::join(const registration& joined, const client_identity& controller) {
  KEDGE_CHECK(use(joined, controller));
  egress_mode_ = joined.cluster.egress_selector_mode;
  cluster_ranges_.clear();
  for (auto& cidr : joined.cluster.cluster_cidrs)
    if (auto range = ip_range::parse(cidr)) cluster_ranges_.push_back(*range);
  tunnel::client_options o{
      .tls = [this] { return as_node_; },
      .allow = [this](std::string_view protocol, std::string_view address) { return allowed(protocol, address); },
      .on_state =
          [this](const std::string& server, tunnel::server_state s) {
            if (!balancer_) return;
            using balancer::health;
            balancer_->report(server, s == tunnel::server_state::ok        ? health::ok
                                      : s == tunnel::server_state::failed  ? health::failed
                                      : s == tunnel::server_state::leaving ? health::leaving
                                                                           : health::unknown);
          },
      .network = network_};
  // The kubelet's port is only there.
  const bool bound = !config_.bind_address.empty() && config_.bind_address != "0.0.0.0" && config_.bind_address != "::";
  if (bound || direct_ != network_)
    o.dial = [this, bound](std::string, std::string address) -> task<result<std::unique_ptr<reactor::stream>>> {
      auto to = tunnel::split_host_port(address);
      if (bound && to && to->port == config_.kubelet.port)
        address = reactor::endpoint{config_.bind_address, to->port}.text();
      return tunnel::dial_tcp(direct_ ? *direct_ : reactor::os_network(), std::move(address));
    };
  tunnels_.emplace(std::move(o));
  tasks_.spawn(tunnels_->run());
  tasks_.spawn(learn());
  if (egress_mode_ == "pod") tasks_.spawn(follow_pods());
  tasks_.spawn(tell_round_trips());
  return {};
}

// K3s's egress modes.
bool server_links::allowed(std::string_view protocol, std::string_view address) const {
  if (tunnel::allowed_always(protocol, address, config_.kubelet.port)) return true;
  if ((egress_mode_ != "cluster" && egress_mode_ != "pod") || protocol != "tcp") return false;
  auto to = tunnel::split_host_port(address);
  if (!to) return false;
  bool is_own = std::find(config_.node_ips.begin(), config_.node_ips.end(), to->host) != config_.node_ips.end();
  if (egress_mode_ == "pod") return pod_targets_.contains(is_own ? fmt::format(":{}", to->port) : to->host);
  if (is_own) return true;
  auto there = ip_address::parse(to->host);
  return there && std::any_of(cluster_ranges_.begin(), cluster_ranges_.end(),
                              [&](auto& range) { return range.contains(*there); });
}

void server_links::use(std::vector<std::string> addresses) {
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  if (addresses.empty() || addresses == servers_) return;
  log::info("the cluster's servers are {}", kedge::join(addresses, ", "));
  servers_ = std::move(addresses);
  if (balancer_) balancer_->set_servers(servers_);
  tunnels_->set_servers(servers_);
}

task<result<std::vector<std::string>>> server_links::ask_for_servers() {
  KEDGE_CO_TRY(auto where, net::http::parse_url(api_url_ + "/v1-k3s/apiservers", as_node_));
  net::http::client_request r{.to = std::move(where.first), .path = std::move(where.second)};
  KEDGE_CO_TRY(auto answer, co_await reactor::with_deadline(http_->fetch(std::move(r), answer_bytes_max),
                                                            reactor::loop::current().now() + request_deadline));
  KEDGE_CO_TRY(auto text, body_or_error(std::move(answer), "/v1-k3s/apiservers"));
  KEDGE_CO_TRY(auto list, json::parse(text));
  std::vector<std::string> out;
  if (auto* all = list.array())
    for (auto& one : *all)
      if (tunnel::split_host_port(one.as_string())) out.emplace_back(one.as_string());
  co_return out;
}

// What is listed and watched, and how that went.
struct server_links::followed {
  const char* name;  // in logs
  std::string path;  // with a query
  std::size_t bytes_max;
  std::function<std::vector<std::string>(const value&)> of;  // what one object gives
  std::function<void(std::vector<std::string>)> use;         // gets what all objects give, at first and at each change
  std::optional<time_point> watching = {};                   // since when; of the last watch, once it stood
  watch_pace pace = {};
  std::string problem = {};

  task<void> wait_before_the_next(result<void> ended) {
    if (!ended && ended.error().code == errc::cancelled) watching = reactor::loop::current().now();  // renewed
    std::optional<duration> stood;
    if (watching) stood = reactor::loop::current().now() - *watching;
    auto now = ended || stood ? std::string() : ended.error().message;
    if (!now.empty() && now != problem) log::warning("{} can't be watched: {}", name, now);
    problem = std::move(now);
    co_await reactor::sleep_for(pace.next(stood, reactor::loop::current().random()));
  }
};

duration watch_pace::next(std::optional<duration> stood, random_source& random) {
  auto some_of = [&](duration d) {
    return duration(static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(d.count()))));
  };
  if (!stood) {
    auto pause = std::exchange(retry_, std::min(retry_ * 2, watch_retry_most));
    return pause + some_of(pause);
  }
  retry_ = watch_retry_first;
  if (*stood >= watch_brief) return some_of(again_ = watch_again);
  return some_of(std::exchange(again_, std::min(again_ * 2, watch_brief)));
}

// One list, and a watch until it ends.
task<result<void>> server_links::follow(followed& what, std::shared_ptr<net::tls_client_context> who) {
  what.watching.reset();
  KEDGE_CO_TRY(auto where, net::http::parse_url(api_url_ + what.path, std::move(who)));
  net::http::client_request r{.to = where.first, .path = where.second};
  KEDGE_CO_TRY(auto answer, co_await reactor::with_deadline(http_->fetch(r, what.bytes_max),
                                                            reactor::loop::current().now() + request_deadline));
  KEDGE_CO_TRY(auto text, body_or_error(std::move(answer), what.path));
  KEDGE_CO_TRY(auto list, json::parse(text));
  std::map<std::string, std::vector<std::string>> found;
  auto name_of = [](const value& object) {
    auto& m = object["metadata"];
    return std::string(m["namespace"].as_string()) + "/" + std::string(m["name"].as_string());
  };
  auto apply = [&] {
    std::vector<std::string> all;
    for (auto& [name, some] : found) all.insert(all.end(), some.begin(), some.end());
    what.use(std::move(all));
  };
  for (std::size_t i = 0; i < list["items"].size(); ++i) found[name_of(list["items"][i])] = what.of(list["items"][i]);
  apply();

  auto seconds = std::chrono::duration_cast<std::chrono::seconds>(watch_time).count();
  r.path += fmt::format("&watch=1&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={}", seconds,
                        list["metadata"]["resourceVersion"].as_string());
  list = {};
  auto soon = reactor::loop::current().now() + request_deadline;
  auto until = soon + watch_time;
  KEDGE_CO_TRY(auto x, co_await reactor::with_deadline(http_->open(std::move(r)), soon));
  KEDGE_CO_TRY(auto* head, co_await reactor::with_deadline(x->head(), soon));
  if (head->status != 200)
    co_return fail(errc::unavailable,
                   fmt::format("the watch of {} was answered with status {}", what.path, head->status));
  what.watching = reactor::loop::current().now();
  std::string held;
  for (;;) {
    KEDGE_CO_TRY(auto piece, co_await reactor::with_deadline(x->read(), until));
    if (piece.empty()) co_return result<void>();
    held += as_text(piece.view());
    if (held.size() > what.bytes_max) {
      what.watching.reset();  // it would be so again
      co_return fail(errc::too_large, "an event of " + what.path + " is too large");
    }
    for (auto line = first_line(held); !line.empty(); line = first_line(held)) {
      KEDGE_CO_TRY(auto event, json::parse(line));
      auto type = event["type"].as_string();
      if (type == "BOOKMARK") continue;
      if (type != "ADDED" && type != "MODIFIED" && type != "DELETED")
        co_return fail(errc::expired, "its watch ended: " + std::string(event["object"]["message"].as_string()));
      auto& object = event["object"];
      if (type == "DELETED")
        found.erase(name_of(object));
      else
        found[name_of(object)] = what.of(object);
      apply();
    }
  }
}

task<void> server_links::learn() {
  followed slices{.name = "the servers' addresses",
                  .path = std::string(slices_path),
                  .bytes_max = servers_event_bytes_max,
                  .of = addresses_of_slice,
                  .use = [this](std::vector<std::string> all) { use(std::move(all)); }};
  for (;;) {
    // After a watch that stood the list alone tells as much, and sooner.
    if (!slices.watching) {
      auto listed = co_await ask_for_servers();
      if (listed)
        use(*std::move(listed));
      else if (servers_.empty() && !fixed_address_.empty())
        tunnels_->set_servers({fixed_address_});
    }
    auto ended = co_await reactor::with_stop(follow(slices, as_controller_), renewed_);
    co_await slices.wait_before_the_next(std::move(ended));
  }
}

// Mode "pod": where this node's pods are is what servers may reach.
task<void> server_links::follow_pods() {
  followed pods{.name = "this node's pods",
                .path = "/api/v1/pods?fieldSelector=spec.nodeName%3D" + config_.node_name,
                .bytes_max = pods_bytes_max,
                .of = targets_of_pod,
                .use = [this](std::vector<std::string> all) { pod_targets_ = {all.begin(), all.end()}; }};
  for (;;) {
    auto ended = co_await reactor::with_stop(follow(pods, as_node_), renewed_);
    co_await pods.wait_before_the_next(std::move(ended));
  }
}

task<void> server_links::tell_round_trips() {
  for (;;) {
    co_await reactor::sleep_for(round_trip_interval);
    if (!balancer_) continue;
    for (auto& s : tunnels_->servers())
      if (s.state == tunnel::server_state::ok && s.round_trip > duration(0))
        balancer_->measured(s.server, s.round_trip);
  }
}

value server_links::status() const {
  std::map<std::string, value> servers;
  std::vector<std::string> order;
  auto at = [&](const std::string& address) -> value& {
    auto [i, fresh] = servers.try_emplace(address, object{{"address", address}});
    if (fresh) order.push_back(address);
    return i->second;
  };
  if (balancer_)
    for (auto& s : balancer_->snapshot().servers) {
      auto& v = at(s.address);
      v.set("state", balancer::name_of(s.state));
      v.set("default", s.is_default);
      v.set("own", s.own);
      v.set("slow", s.slow);
      v.set("stateSeconds", seconds_since(s.since));
      v.set("connections", static_cast<std::int64_t>(s.connections));
      v.set("latencyMilliseconds", s.latency > duration(0) ? value(milliseconds(s.latency)) : value());
    }
  if (tunnels_)
    for (auto& t : tunnels_->servers()) {
      at(t.server).set("tunnel", object{{"state", tunnel::name_of(t.state)},
                                        {"stateSeconds", seconds_since(t.since)},
                                        {"streams", static_cast<std::int64_t>(t.streams)},
                                        {"roundTripMilliseconds",
                                         t.round_trip > duration(0) ? value(milliseconds(t.round_trip)) : value()},
                                        {"failedAttempts", static_cast<std::int64_t>(t.attempts)},
                                        {"lastError", t.last_error}});
    }
  array list;
  for (auto& address : order) list.push_back(std::move(servers[address]));
  return object{{"nodeName", config_.node_name},
                {"registrationAddress", config_.server_url},
                {"api", api_url_},
                {"balancer", balancer_ != nullptr},
                {"servers", std::move(list)}};
}

std::string server_links::metrics() const {
  std::string out;
  if (balancer_) out += balancer_->metrics();
  if (!tunnels_) return out;
  auto all = tunnels_->servers();
  auto family = [&](std::string_view name, std::string_view type, std::string_view help, auto&& of) {
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
    for (auto& t : all) out += fmt::format("{}{{server={}}} {}\n", name, quote(t.server), of(t));
  };
  family("kedge_tunnel_up", "gauge", "Whether the tunnel to a server stands and is answered.",
         [](auto& t) { return t.state == tunnel::server_state::ok ? 1.0 : 0.0; });
  family("kedge_tunnel_streams", "gauge", "Streams that the server has open through its tunnel.",
         [](auto& t) { return static_cast<double>(t.streams); });
  family("kedge_tunnel_round_trip_seconds", "gauge", "Time between the last ping and its pong; 0 before the first.",
         [](auto& t) { return milliseconds(t.round_trip) / 1e3; });
  family("kedge_tunnel_failed_attempts", "gauge", "Attempts that failed since the tunnel last stood.",
         [](auto& t) { return static_cast<double>(t.attempts); });
  return out;
}

task<void> status_handler::serve(net::http::exchange& e) {
  auto& path = e.request().path;
  net::http::response r;
  std::string body;
  if (path == "/status") {
    r.headers.add("Content-Type", "application/json");
    body = json::write(links_.status()) + "\n";
  } else if (path == "/metrics") {
    r.headers.add("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    body = links_.metrics();
  } else {
    r.status = 404;
    body = "404 page not found\n";
  }
  (void)co_await e.respond(r, body);
}

}  // namespace kedge::node
