#include "supervisor/node_dialer.h"

#include <algorithm>

#include "api/registry/indexes.h"
#include "base/ip.h"
#include "base/log.h"
#include "base/strings.h"
#include "json/parse.h"
#include "reactor/offload.h"
#include "reactor/sync.h"
#include "tunnel/dial.h"

namespace kedge::supervisor {

namespace {

using stream_result = result<std::unique_ptr<reactor::stream>>;

constexpr std::uint16_t default_kubelet_port = 10250;
constexpr std::uint16_t container_streaming_port = 10010;
constexpr std::string_view egress_label = "egress.k3s.io/cluster";  // on nodes that take traffic for their pods
// A request waits for this: a kubelet or pod that can't be reached directly is down, or not routed to from here.
constexpr std::chrono::seconds direct_dial_timeout{10};
// All peers are asked at once, and one that has the tunnel answers within a round trip.
constexpr std::chrono::seconds relay_timeout{5};

bool is_address(std::string_view text) { return ip_address::parse(text).has_value(); }

error not_allowed() { return {errc::forbidden, "address not allowed"}; }

}  // namespace

std::uint16_t kubelet_port_of(const json::value& node) {
  auto n = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_integer(0);
  return n > 0 && n < 65536 ? static_cast<std::uint16_t>(n) : default_kubelet_port;
}

std::string address_of(const json::value& node) {
  auto* all = node["status"]["addresses"].array();
  for (std::string_view type : {"InternalIP", "ExternalIP", "Hostname"})
    if (all)
      for (auto& a : *all)
        if (a["type"].as_string() == type) return std::string(a["address"].as_string());
  return {};
}

node_dialer::node_dialer(parts p) : parts_(std::move(p)), http_(parts_.network) {}

task<stream_result> node_dialer::dial_direct(std::string address, std::uint16_t port) {
  auto where = reactor::endpoint{std::move(address), port}.text();
  auto& network = parts_.network ? *parts_.network : reactor::os_network();
  auto s = co_await reactor::with_deadline(tunnel::dial_tcp(network, where),
                                           reactor::loop::current().now() + direct_dial_timeout);
  if (!s && s.error().code == errc::timeout) co_return fail(errc::timeout, "dial tcp " + where + ": i/o timeout");
  co_return s;
}

std::string node_dialer::way::id() const {
  if (by == kind::tunnel) return "tunnel-" + std::to_string(through.key);
  return by == kind::peers ? "peers" : "direct";
}

bool node_dialer::prefers_v6() const {
  auto& ranges = parts_.settings.service_cidrs;
  return !ranges.empty() && ranges.front().contains(':');
}

std::vector<node_dialer::way> node_dialer::ways_to(const std::string& node) const {
  if (parts_.settings.egress_selector_mode == "disabled") return {{.by = way::kind::direct}};
  std::vector<way> out, silent;
  for (auto& session : parts_.tunnels.sessions_of(node))
    (session.lively ? out : silent).push_back({.by = way::kind::tunnel, .through = session});
  if (node == parts_.settings.node_name) out.push_back({.by = way::kind::direct});  // before its own tunnel stands
  if (parts_.peers && !peers().empty()) out.push_back({.by = way::kind::peers});
  out.insert(out.end(), silent.begin(), silent.end());
  return out;
}

task<stream_result> node_dialer::dial(way w, std::string node, std::uint16_t port) {
  auto& c = parts_.settings;
  const auto loopback = reactor::endpoint{prefers_v6() ? "::1" : "127.0.0.1", port};
  if (w.by == way::kind::tunnel)
    co_return co_await parts_.tunnels.dial_through(std::move(w.through), "tcp", loopback.text());
  if (w.by == way::kind::peers) co_return co_await dial_through_peers(std::move(node), port);
  if (node == c.node_name)
    co_return co_await dial_direct(c.egress_selector_mode == "disabled" ? "127.0.0.1" : loopback.address, port);
  auto found = parts_.objects.get({"", "v1", "nodes"}, "", node);
  if (!found) co_return fail(errc::not_found, found.error().message);
  auto address = address_of(*found);
  if (address.empty()) co_return fail(errc::unavailable, "node " + quote(node) + " has no address");
  // Whatever address that is: who answers has to prove by TLS that it is the node's kubelet.
  co_return co_await dial_direct(std::move(address), port);
}

void node_dialer::doubt(const way& w) {
  if (w.by == way::kind::tunnel) parts_.tunnels.doubt(w.through);
}

task<stream_result> node_dialer::dial_kubelet(std::string node, std::uint16_t port, bool may_relay) {
  error last{errc::unavailable, "failed to find Session for client " + node};
  for (auto& w : ways_to(node)) {
    // Who relays for another server gives only what is known to work: that one has other ways.
    if (!may_relay && (w.by == way::kind::peers || (w.by == way::kind::tunnel && !w.through.lively))) continue;
    auto s = co_await dial(w, node, port);
    if (s || s.error().code != errc::unavailable) co_return s;
    last = std::move(s).error();
  }
  co_return fail(std::move(last));
}

task<stream_result> node_dialer::dial_proxied(std::string host, std::uint16_t port, std::string node) {
  if (auto address = ip_address::parse_sloppy(host)) {
    if (!address->is_global_unicast()) co_return fail(not_allowed());
    co_return co_await dial_address(address->text(), port, std::move(node));
  }
  // The addresses that were looked at are the ones that are dialled: a name may change its mind.
  KEDGE_CO_TRY(auto addresses, co_await reactor::resolve(host));
  for (auto& a : addresses)
    if (auto address = ip_address::parse(a); !address || !address->is_global_unicast()) co_return fail(not_allowed());
  error last{errc::not_found, "no addresses for hostname " + quote(host)};
  for (auto& a : addresses) {
    auto s = co_await dial_direct(a, port);
    if (s) co_return s;
    last = std::move(s).error();
  }
  co_return fail(std::move(last));
}

task<stream_result> node_dialer::dial_address(std::string address, std::uint16_t port, std::string node) {
  auto& mode = parts_.settings.egress_selector_mode;
  if ((mode == "pod" || mode == "cluster") && is_address(address)) {
    if (node.empty()) node = owner_of(address).node;
    // A K3s agent that is asked for what it doesn't allow ends its session: so only what its label says it takes.
    if (!node.empty() && node != parts_.settings.node_name && tunnels_pods_of(node)) {
      auto s = co_await parts_.tunnels.dial(node, "tcp", reactor::endpoint{address, port}.text());
      if (s || s.error().code != errc::unavailable) co_return s;
    }
  }
  co_return co_await dial_direct(std::move(address), port);
}

task<stream_result> node_dialer::dial_target(std::string target, bool may_relay) {
  KEDGE_CO_TRY(auto to, tunnel::split_host_port(target));
  if (!is_address(to.host)) {
    auto found = parts_.objects.get({"", "v1", "nodes"}, "", to.host);
    if (found) co_return co_await dial_kubelet(to.host, to.port, may_relay);
    co_return co_await dial_direct(to.host, to.port);
  }
  auto o = owner_of(to.host);
  if (o.is_node && (to.port == o.kubelet_port || to.port == container_streaming_port))
    co_return co_await dial_kubelet(o.node, to.port, may_relay);
  co_return co_await dial_address(to.host, to.port, o.node);
}

// By the store's indexes of addresses: an egress proxy is asked once a connection.
node_dialer::owner node_dialer::owner_of(const std::string& address) const {
  auto cluster = parts_.objects.objects_store().current();
  owner out;
  cluster.scan(api::nodes_by_address, address, {}, {}, [&](const store::object_ref& o) {
    auto node = json::parse(o->bytes());
    if (!node) return true;
    out = {.node = std::string((*node)["metadata"]["name"].as_string()),
           .is_node = true,
           .kubelet_port = kubelet_port_of(*node)};
    return false;
  });
  auto& mode = parts_.settings.egress_selector_mode;
  if (out.is_node || (mode != "pod" && mode != "cluster")) return out;
  cluster.scan(api::pods_by_address, address, {}, {}, [&](const store::object_ref& o) {
    auto pod = json::parse(o->bytes());
    if (!pod) return true;
    // A finished pod's address may be another's by now.
    auto phase = (*pod)["status"]["phase"].as_string();
    if (phase == "Succeeded" || phase == "Failed") return true;
    out.node = (*pod)["spec"]["nodeName"].as_string();
    return false;
  });
  return out;
}

bool node_dialer::tunnels_pods_of(const std::string& node) const {
  auto found = parts_.objects.get({"", "v1", "nodes"}, "", node);
  return found && !(*found)["metadata"]["labels"][egress_label].is_null();
}

std::vector<reactor::endpoint> node_dialer::peers() const {
  std::vector<reactor::endpoint> out;
  reactor::endpoint own{parts_.settings.advertise_address, parts_.settings.advertise_port};
  parts_.objects.each({"discovery.k8s.io", "v1", "endpointslices"}, "default", api::slices_of("kubernetes"),
                      [&](const json::value& slice) {
                        auto port = static_cast<std::uint16_t>(slice["ports"][0]["port"].as_integer(443));
                        for (std::size_t i = 0; i < slice["endpoints"].size(); ++i)
                          for (std::size_t a = 0; a < slice["endpoints"][i]["addresses"].size(); ++a) {
                            reactor::endpoint e{std::string(slice["endpoints"][i]["addresses"][a].as_string()), port};
                            if (e != own && std::find(out.begin(), out.end(), e) == out.end())
                              out.push_back(std::move(e));
                          }
                        return true;
                      });
  return out;
}

namespace {

struct race {
  std::unique_ptr<reactor::stream> winner;
  error last{errc::unavailable, "there is no other server"};
  std::size_t running = 0;
  reactor::event changed;
};

task<stream_result> ask_peer(net::http::client& http, net::http::target to, std::string asked, std::string own_name) {
  net::http::client_request r{.to = std::move(to), .method = "CONNECT", .path = std::move(asked)};
  r.headers.add(std::string(relayed_header), std::move(own_name));
  KEDGE_CO_TRY(auto x, co_await http.open(std::move(r)));
  KEDGE_CO_TRY(auto head, co_await x->head());
  if (head->status != 200) co_return fail(errc::unavailable, "it answers " + std::to_string(head->status));
  co_return x->upgraded();
}

task<void> run_in(race& r, net::http::client& http, net::http::target to, std::string asked, std::string own_name) {
  ++r.running;
  auto s = co_await ask_peer(http, std::move(to), std::move(asked), std::move(own_name));
  --r.running;
  if (!s)
    r.last = std::move(s).error();
  else if (!r.winner)
    r.winner = std::move(*s);
  r.changed.pulse();
}

}  // namespace

task<stream_result> node_dialer::dial_through_peers(std::string node, std::uint16_t port) {
  race r;
  reactor::scope asking;
  auto asked = node + ":" + std::to_string(port);
  for (auto& p : peers()) {
    net::http::target to{.at = p, .tls = parts_.peers};
    asking.spawn(run_in(r, http_, std::move(to), asked, parts_.settings.node_name));
  }
  auto until = reactor::loop::current().now() + relay_timeout;
  while (!r.winner && r.running > 0)
    if (!co_await r.changed.wait_until(until)) co_return fail(errc::timeout, "the other servers don't answer");
  if (!r.winner) co_return fail(std::move(r.last));
  co_return std::move(r.winner);
}

}  // namespace kedge::supervisor
