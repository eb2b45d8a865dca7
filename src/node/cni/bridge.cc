// bridge.cc: a pod's cable: one end is `eth0` in its network namespace, the other a port of the node's bridge.
//
//   pod: eth0 10.42.0.7/24 ══ veth1a2b3c4d ── cni0 10.42.0.1/24 (the pods' gateway) ── node's routes: flannel.1, the
//   outside
//
// The hardware address of eth0 follows from its IPv4 address, so that an address which another pod gets soon afterwards
// is reached at once: what the node and its pods remember of it stays true.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/random.h"
#include "base/strings.h"
#include "node/cni/host_local.h"
#include "node/cni/limits.h"
#include "node/network/links.h"
#include "node/network/sysctl.h"

namespace kedge::node::cni {

namespace {

// Nobody on the pods' link is a router that was not told of: a pod's word would lead others' traffic to it
// (CVE-2020-10749).
result<void> hear_no_routers(const std::string& interface) {
  return write_sysctl("ipv6/conf/" + interface + "/accept_ra", "0");
}

std::string bridge_name(const request& r) { return std::string(r.config["bridge"].as_string("cni0")); }
unsigned mtu_of(const request& r) { return static_cast<unsigned>(r.config["mtu"].as_integer(0)); }

struct pod_address {
  interface_address address;
  std::optional<ip_address> gateway;
};

result<std::vector<pod_address>> addresses_of(const json::value& given) {
  std::vector<pod_address> all;
  if (auto* list = given["ips"].array())
    for (auto& ip : *list) {
      auto a = parse_interface_address(ip["address"].as_string());
      if (!a)
        return fail(errc::corrupt, "ipam gave \"" + std::string(ip["address"].as_string()) + "\", which is no address");
      all.push_back({*a, ip_address::parse(ip["gateway"].as_string())});
    }
  if (all.empty()) return fail(errc::corrupt, "ipam gave no address");
  return all;
}

mac_address mac_for(const std::vector<pod_address>& all) {
  mac_address m{0x0a, 0x58};
  for (auto& a : all)
    if (a.address.address.is_v4()) {
      std::copy_n(a.address.address.octets().begin() + 12, 4, m.begin() + 2);
      return m;
    }
  std::copy_n(all.front().address.address.octets().begin() + 12, 4, m.begin() + 2);
  m[1] = 0x5a;
  return m;
}

// The bridge, made if need be, with the pods' gateways as its addresses.
result<link_info> prepare_bridge(links& here, const request& r, const std::vector<pod_address>& pod) {
  auto name = bridge_name(r);
  auto found = here.find(name);
  if (!found && found.error().code == errc::not_found) {
    mac_address mac{0x0a, 0x58};
    auto& gateway = pod.front().gateway;
    if (gateway) std::copy_n(gateway->octets().begin() + 12, 4, mac.begin() + 2);
    auto made = here.add_bridge(name, mtu_of(r) ? mtu_of(r) : 1500, mac);
    if (!made && made.error().os_error != EEXIST)
      return fail(std::move(made).error().with("bridge " + name + ": "));  // a pod beside us was quicker
    found = here.find(name);
  }
  KEDGE_TRY(auto bridge, std::move(found));
  if (bridge.kind != "bridge") return fail(errc::already_exists, name + " exists already but is no bridge");
  KEDGE_CHECK(hear_no_routers(name));
  KEDGE_CHECK(here.set_up(bridge.index));
  if (!r.config["isGateway"].as_bool() && !r.config["isDefaultGateway"].as_bool()) return bridge;
  KEDGE_TRY(auto present, here.addresses(bridge.index));
  for (auto& p : pod) {
    if (!p.gateway) continue;
    interface_address wanted{*p.gateway, p.address.prefix};
    if (r.config["forceAddress"].as_bool())
      for (auto& old : present)
        if (old.address.is_v4() == wanted.address.is_v4() && old != wanted && !old.address.is_link_local_unicast())
          KEDGE_CHECK(here.remove_address(bridge.index, old));
    KEDGE_CHECK(here.add_address(bridge.index, wanted));
    KEDGE_CHECK(wanted.address.is_v4() ? write_sysctl("ipv4/ip_forward", "1")
                                       : write_sysctl("ipv6/conf/all/forwarding", "1"));
  }
  return bridge;
}

// The pod's end, from within its namespace.
result<void> configure_pod(const request& r, const std::vector<pod_address>& pod, json::array& routes) {
  KEDGE_TRY(auto inside, links::open());
  KEDGE_TRY(auto link, inside.find(r.interface));
  for (auto& p : pod)
    if (p.address.address.is_v6()) KEDGE_CHECK(write_sysctl("ipv6/conf/" + r.interface + "/disable_ipv6", "0"));
  KEDGE_CHECK(hear_no_routers(r.interface));
  KEDGE_CHECK(inside.set_up(link.index));
  for (auto& p : pod) KEDGE_CHECK(inside.add_address(link.index, p.address));
  for (auto& route_wanted : routes) {
    auto to = ip_range::parse(route_wanted["dst"].as_string());
    if (!to)
      return fail(errc::invalid,
                  "\"" + std::string(route_wanted["dst"].as_string()) + "\" is no destination of a route");
    auto via = ip_address::parse(route_wanted["gw"].as_string());
    for (auto& p : pod)
      if (!via && p.address.address.is_v4() == to->is_v4()) via = p.gateway;
    KEDGE_CHECK(inside.set_route({.to = *to, .via = via, .link = link.index}));
  }
  return {};
}

std::string veth_name() {
  std::array<std::byte, 4> bytes;
  system_random().fill(bytes);
  return "veth" + hex(bytes);
}

// Both ends; the name of the node's.
result<link_info> add_cable(links& here, const request& r, unsigned mtu, const mac_address& mac) {
  int ns = ::open(r.network_namespace.c_str(), O_RDONLY | O_CLOEXEC);
  if (ns < 0) return fail(os_error(errno, "network namespace " + r.network_namespace));
  result<void> made;
  std::string name;
  for (unsigned i = 0; i < veth_names_tried; ++i) {
    name = veth_name();
    made = here.add_veth(name, r.interface, ns, mtu, mac);
    if (made || made.error().os_error != EEXIST) break;
    // The name is taken here, or the interface there.
    if (!here.find(name)) {
      made =
          fail(errc::already_exists, "container " + r.container_id + " has an interface " + r.interface + " already");
      break;
    }
  }
  ::close(ns);
  if (!made) return fail(std::move(made).error().with("veth: "));
  return here.find(name);
}

json::value interface_entry(const link_info& l, std::string_view sandbox) {
  json::object o{{"name", l.name}, {"mac", mac_text(l.mac)}};
  if (!sandbox.empty()) o.set("sandbox", sandbox);
  return o;
}

}  // namespace

result<json::value> bridge_add(const request& r) {
  if (r.config["ipMasq"].as_bool())
    return fail(errc::unsupported, "ipMasq: the node's agent masquerades, for all its pods; leave it out");
  for (auto* key : {"vlan", "vlanTrunk", "promiscMode", "macspoofchk"})
    if (!r.config[key].is_null() && !(r.config[key].is_bool() && !r.config[key].as_bool()) &&
        !(r.config[key].is_integer() && r.config[key].as_integer() == 0))
      return fail(errc::unsupported, std::string(key) + " is not supported");
  if (r.config["ipam"]["type"].as_string() != "host-local")
    return fail(errc::unsupported, "ipam: only host-local is supported");
  KEDGE_TRY(auto given, host_local_add(r));
  KEDGE_TRY(auto pod, addresses_of(given));
  int node_end = 0;
  auto connect = [&]() -> result<json::value> {
    KEDGE_TRY(auto here, links::open());
    KEDGE_TRY(auto bridge, prepare_bridge(here, r, pod));
    auto mtu = mtu_of(r) ? mtu_of(r) : bridge.mtu;
    KEDGE_TRY(auto cable, add_cable(here, r, mtu, mac_for(pod)));
    node_end = cable.index;
    KEDGE_CHECK(hear_no_routers(cable.name));
    KEDGE_CHECK(here.set_master(cable.index, bridge.index));
    if (r.config["hairpinMode"].as_bool()) KEDGE_CHECK(here.set_hairpin(cable.index));
    KEDGE_CHECK(here.set_up(cable.index));

    auto routes = given["routes"].is_array() ? *given["routes"].array() : json::array();
    if (r.config["isDefaultGateway"].as_bool())
      for (auto& p : pod) {
        std::string all = p.address.address.is_v4() ? "0.0.0.0/0" : "::/0";
        if (p.gateway && !std::ranges::any_of(routes, [&](auto& x) { return x["dst"].as_string() == all; }))
          routes.push_back(json::object{{"dst", all}, {"gw", p.gateway->text()}});
      }
    link_info eth;
    KEDGE_CHECK(netlink::in_namespace(r.network_namespace, [&]() -> result<void> {
      KEDGE_CHECK(configure_pod(r, pod, routes));
      // Where a link on the way swallows large packets and tells nobody, TCP finds out by itself (RFC 4821).
      (void)write_sysctl("ipv4/tcp_mtu_probing", "1");
      KEDGE_TRY(auto inside, links::open());
      KEDGE_TRY(eth, inside.find(r.interface));
      return {};
    }));
    KEDGE_TRY(cable, here.find(cable.index));
    auto ips = *given["ips"].array();
    for (auto& ip : ips) ip.set("interface", 2);
    return json::value(
        json::object{{"interfaces", json::array{interface_entry(bridge, {}), interface_entry(cable, {}),
                                                interface_entry(eth, r.network_namespace)}},
                     {"ips", std::move(ips)},
                     {"routes", std::move(routes)},
                     {"dns", r.config["dns"].is_object() ? r.config["dns"] : json::value(json::object{})}});
  };
  auto done = connect();
  if (!done) {  // nothing stays of it
    if (auto here = links::open(); here && node_end) (void)here->remove(node_end);
    (void)host_local_del(r);
  }
  return done;
}

result<void> bridge_del(const request& r) {
  KEDGE_CHECK(host_local_del(r));
  if (r.network_namespace.empty() || ::access(r.network_namespace.c_str(), F_OK) != 0)
    return {};  // the cable went with it
  return netlink::in_namespace(r.network_namespace, [&]() -> result<void> {
    KEDGE_TRY(auto inside, links::open());
    auto link = inside.find(r.interface);
    if (!link && link.error().code == errc::not_found) return {};
    KEDGE_TRY(auto there, std::move(link));
    return inside.remove(there.index);
  });
}

result<void> bridge_check(const request& r) {
  KEDGE_CHECK(host_local_check(r));
  KEDGE_TRY(auto pod, addresses_of(r.previous()));
  KEDGE_TRY(auto here, links::open());
  KEDGE_TRY(auto bridge, here.find(bridge_name(r)));
  if (!bridge.up) return fail(errc::internal, bridge.name + " is down");
  return netlink::in_namespace(r.network_namespace, [&]() -> result<void> {
    KEDGE_TRY(auto inside, links::open());
    KEDGE_TRY(auto link, inside.find(r.interface));
    KEDGE_TRY(auto present, inside.addresses(link.index));
    for (auto& p : pod)
      if (std::ranges::find(present, p.address) == present.end())
        return fail(errc::internal, r.interface + " has lost its address " + p.address.text());
    return {};
  });
}

// Cables end with their pods' namespaces.
result<void> bridge_gc(const request& r) { return host_local_gc(r); }

}  // namespace kedge::node::cni
