// flannel.cc: what K3s's configuration calls: a bridge whose range, size of packets and routes the agent tells in
// subnet.env.

#include "base/ip.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "node/cni/plugin.h"

namespace kedge::node::cni {

namespace {

struct subnet_environment {
  std::string network, subnet, network6, subnet6, mtu;
};

result<subnet_environment> read_environment(const request& r) {
  auto file = std::string(r.config["subnetFile"].as_string("/run/flannel/subnet.env"));
  auto text = crypto::read_file(file);
  // The runtime tries again.
  if (!text)
    return fail(errc::unavailable, file + " is not there yet: the node has no pod network; see the agent's log (" +
                                       text.error().message + ")");
  subnet_environment e;
  for (auto line : split(*text, '\n')) {
    auto equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    auto key = line.substr(0, equals);
    auto value = std::string(trim(line.substr(equals + 1)));
    if (key == "FLANNEL_NETWORK") e.network = value;
    if (key == "FLANNEL_SUBNET") e.subnet = value;
    if (key == "FLANNEL_IPV6_NETWORK") e.network6 = value;
    if (key == "FLANNEL_IPV6_SUBNET") e.subnet6 = value;
    if (key == "FLANNEL_MTU") e.mtu = value;
  }
  if (e.subnet.empty() && e.subnet6.empty()) return fail(errc::corrupt, file + " names no subnet");
  return e;
}

// The same request to the bridge, as flannel's plugin delegates it.
result<request> delegate(const request& r) {
  KEDGE_TRY(auto e, read_environment(r));
  request out = r;
  auto bridge = r.config["delegate"].is_object() ? r.config["delegate"] : json::value(json::object{});
  if (auto type = bridge["type"].as_string("bridge"); type != "bridge")
    return fail(errc::unsupported, "flannel can't delegate to " + std::string(type));
  for (auto* key : {"cniVersion", "name", "prevResult", "runtimeConfig", "args"})
    if (!r.config[key].is_null()) bridge.set(key, r.config[key]);
  auto ipam = r.config["ipam"].is_object() ? r.config["ipam"] : json::value(json::object{});
  ipam.set("type", "host-local");
  json::array ranges, routes;
  for (auto& [subnet, network] : {std::pair(e.subnet, e.network), std::pair(e.subnet6, e.network6)}) {
    if (subnet.empty()) continue;
    auto range = ip_range::parse(subnet);  // "10.42.0.1/24": the gateway's address
    if (!range) return fail(errc::corrupt, "\"" + subnet + "\" is no subnet");
    ranges.emplace_back(json::array{json::object{{"subnet", range->text()}}});
    if (!network.empty()) routes.push_back(json::object{{"dst", network}});
  }
  ipam.set("ranges", std::move(ranges));
  if (ipam["routes"].is_null()) ipam.set("routes", std::move(routes));
  bridge.set("ipam", std::move(ipam));
  if (auto mtu = parse_int(e.mtu); mtu && bridge["mtu"].is_null()) bridge.set("mtu", *mtu);
  if (bridge["isGateway"].is_null()) bridge.set("isGateway", true);
  out.config = std::move(bridge);
  return out;
}

// What removing needs, though subnet.env be gone.
request for_removal(const request& r) {
  request out = r;
  auto ipam = r.config["ipam"].is_object() ? r.config["ipam"] : json::value(json::object{});
  ipam.set("type", "host-local");
  out.config.set("ipam", std::move(ipam));
  return out;
}

}  // namespace

result<json::value> flannel_add(const request& r) {
  KEDGE_TRY(auto to, delegate(r));
  return bridge_add(to);
}
result<void> flannel_del(const request& r) { return bridge_del(for_removal(r)); }
result<void> flannel_check(const request& r) {
  KEDGE_TRY(auto to, delegate(r));
  return bridge_check(to);
}
result<void> flannel_gc(const request& r) { return bridge_gc(for_removal(r)); }

}  // namespace kedge::node::cni
