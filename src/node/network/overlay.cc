#include "node/network/overlay.h"

#include <netinet/in.h>  // before the kernel's, which then leave out what it has

#include <fmt/format.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/random.h"
#include "node/network/bridge_filter.h"
#include "node/network/limits.h"
#include "node/network/sysctl.h"
#include "node/nft/batch.h"

namespace kedge::node {

namespace {

constexpr const char* device4 = "flannel.1";
constexpr const char* device6 = "flannel-v6.1";
constexpr std::uint32_t vni = 1;
constexpr std::uint16_t port = 8472;
constexpr const char* pods_table = "kedge-pods";
constexpr unsigned overhead4 = 50, overhead6 = 70;  // of vxlan, with the outer addresses
// Of host-gw's routes, to know our own again: a number that nobody has (/etc/iproute2/rt_protos).
constexpr std::uint8_t route_protocol = 213;

// A unicast address of nobody's.
mac_address random_mac() {
  mac_address m;
  system_random().fill(std::as_writable_bytes(std::span(m)));
  m[0] = static_cast<unsigned char>((m[0] & 0xfe) | 0x02);
  return m;
}

result<link_info> find_interface(links& here, const overlay_options& o) {
  if (!o.interface.empty()) return here.find(o.interface);
  KEDGE_TRY(auto all, here.all());
  for (auto& text : o.node_ips) {
    auto address = ip_address::parse(text);
    for (auto& l : all) {
      KEDGE_TRY(auto present, here.addresses(l.index));
      for (auto& a : present)
        if (address && a.address == *address) return l;
    }
  }
  // A node may be known by an address that isn't its own (a router's): the way out of it then.
  KEDGE_TRY(auto way, here.way_to(*ip_address::parse("1.1.1.1")));
  return here.find(way.link);
}

// The address by which the others reach this node: its own of that family, else the interface's first.
result<ip_address> local_address(links& here, const link_info& interface, const overlay_options& o, bool v4) {
  KEDGE_TRY(auto present, here.addresses(interface.index));
  std::optional<ip_address> first;
  for (auto& a : present) {
    if (a.address.is_v4() != v4 || !a.address.is_global_unicast()) continue;
    if (std::ranges::find(o.node_ips, a.address.text()) != o.node_ips.end()) return a.address;
    if (!first) first = a.address;
  }
  if (!first)
    return fail(errc::not_found,
                fmt::format("interface {} has no {} address for the pods' network; name another with --flannel-iface",
                            interface.name, v4 ? "IPv4" : "IPv6"));
  return *first;
}

// The device with the wanted properties: as it stands, or made anew.
result<link_info> open_vxlan(links& here, const vxlan_options& wanted) {
  auto found = here.find(wanted.name);
  if (found) {
    auto& l = *found;
    if (l.kind == "vxlan" && l.vni == wanted.vni && l.port == wanted.port && l.lower == wanted.lower &&
        l.local == wanted.local && !l.learning) {
      if (l.mtu != wanted.mtu) KEDGE_CHECK(here.set_mtu(l.index, wanted.mtu));
      return here.find(l.index);
    }
    auto fresh = wanted;
    if (l.kind == "vxlan") fresh.mac = l.mac;
    KEDGE_CHECK(here.remove(l.index));
    KEDGE_CHECK(here.add_vxlan(fresh));
    return here.find(wanted.name);
  }
  if (found.error().code != errc::not_found) return found;
  auto made = here.add_vxlan(wanted);
  if (!made) return fail(std::move(made).error().with("device " + wanted.name + ": "));
  return here.find(wanted.name);
}

result<void> open_side(links& here, const overlay_options& o, const link_info& interface, bool v4, overlay& out) {
  auto& side = v4 ? out.v4 : out.v6;
  if (!side.used) return {};
  KEDGE_TRY(side.local, local_address(here, interface, o, v4));
  side.device = interface.index;
  KEDGE_CHECK(v4 ? write_sysctl("ipv4/ip_forward", "1") : write_sysctl("ipv6/conf/all/forwarding", "1"));
  if (o.kind != overlay_kind::vxlan) return {};
  auto& known = v4 ? o.known4 : o.known6;
  vxlan_options wanted{.name = v4 ? device4 : device6,
                       .vni = vni,
                       .port = port,
                       .lower = interface.index,
                       .local = side.local,
                       .mtu = interface.mtu - (v4 ? overhead4 : overhead6),
                       .mac = known.mac ? *known.mac : random_mac()};
  KEDGE_TRY(auto device, open_vxlan(here, wanted));
  side.device = device.index;
  side.mac = device.mac;
  KEDGE_CHECK(write_sysctl("ipv6/conf/" + device.name + "/accept_ra", "0"));
  // Its own address is the subnet's first, which no pod has; others of an earlier podCIDR go.
  interface_address own{side.subnet.network(), side.subnet.network().bits()};
  KEDGE_TRY(auto present, here.addresses(device.index));
  for (auto& a : present)
    if (a != own && a.address.is_v4() == v4 && !a.address.is_link_local_unicast())
      KEDGE_CHECK(here.remove_address(device.index, a));
  KEDGE_CHECK(here.add_address(device.index, own));
  KEDGE_CHECK(here.set_up(device.index));
  return {};
}

}  // namespace

result<overlay_kind> parse_overlay_kind(std::string_view backend) {
  if (backend == "vxlan" || backend.empty()) return overlay_kind::vxlan;
  if (backend == "host-gw") return overlay_kind::host_gw;
  if (backend == "none") return overlay_kind::none;
  return fail(errc::unsupported, fmt::format("--flannel-backend={}: not supported yet; use vxlan or host-gw", backend));
}

result<overlay> open_overlay(const overlay_options& o) {
  overlay out{.kind = o.kind, .node_name = o.node_name};
  for (auto& subnet : o.subnets) {
    auto& side = subnet.is_v4() ? out.v4 : out.v6;
    if (!std::exchange(side.used, true)) side.subnet = subnet;
  }
  KEDGE_TRY(auto here, links::open());
  KEDGE_TRY(auto interface, find_interface(here, o));
  out.interface = interface.index;
  out.mtu = interface.mtu;
  if (o.kind == overlay_kind::vxlan) out.mtu -= out.v6.used ? overhead6 : overhead4;
  // Pods of one node that talk through a Service: their answers are bridged, and must still come by the rules.
  KEDGE_CHECK(filter_bridged_packets());
  KEDGE_CHECK(open_side(here, o, interface, true, out));
  KEDGE_CHECK(open_side(here, o, interface, false, out));
  return out;
}

own_end own_end_of(const overlay& o) {
  own_end e;
  e.backend = o.kind == overlay_kind::vxlan ? "vxlan" : "host-gw";
  if (o.v4.used) e.v4 = {o.v4.local, o.v4.mac, vni};
  if (o.v6.used) e.v6 = {o.v6.local, o.v6.mac, vni};
  return e;
}

overlay_state plan_overlay(const overlay& o, const std::vector<node_record>& nodes) {
  overlay_state out;
  auto backend = own_end_of(o).backend;
  for (auto& n : nodes) {
    if (o.kind == overlay_kind::none || n.name == o.node_name || n.backend != backend) continue;
    for (auto& range : n.pod_ranges) {
      auto& side = range.is_v4() ? o.v4 : o.v6;
      auto& end = range.is_v4() ? n.v4 : n.v6;
      // What another says is not believed where it would take over this node's own.
      if (!side.used || !end.address || *end.address == side.local || range == side.subnet ||
          range.contains(side.local))
        continue;
      if (o.kind == overlay_kind::host_gw) {
        out.routes.push_back({.to = range, .via = end.address, .link = side.device, .protocol = route_protocol});
      } else if (end.mac && end.vni == vni) {
        out.routes.push_back(
            {.to = range, .via = range.network(), .link = side.device, .onlink = true, .protocol = route_protocol});
        out.neighbours.push_back({side.device, range.network(), *end.mac});
        out.neighbours.push_back({side.device, *end.address, *end.mac, true});
      }
    }
  }
  return out;
}

result<void> apply_overlay(const overlay& o, const overlay_state& wanted) {
  KEDGE_TRY(auto here, links::open());
  std::optional<error> failed;
  // One node that can't be reached keeps no other from it.
  auto note = [&](result<void> r) {
    if (!r && !failed) failed = std::move(r).error();
  };
  KEDGE_TRY(auto routes, here.routes(route_protocol));
  std::vector<neighbour> neighbours;
  for (auto* side : {&o.v4, &o.v6}) {
    if (!side->used || o.kind != overlay_kind::vxlan) continue;
    KEDGE_TRY(auto some, here.neighbours(side->device));
    std::ranges::move(some, std::back_inserter(neighbours));
  }
  // Neighbours before the routes that lead to them. A route that changed is set, not taken away: packets go on.
  for (auto& n : neighbours)
    if (std::ranges::find(wanted.neighbours, n) == wanted.neighbours.end()) note(here.remove_neighbour(n));
  for (auto& n : wanted.neighbours)
    if (std::ranges::find(neighbours, n) == neighbours.end()) note(here.set_neighbour(n));
  for (auto& r : routes)
    if (std::ranges::find(wanted.routes, r.to, &route::to) == wanted.routes.end()) note(here.remove_route(r));
  for (auto& r : wanted.routes)
    if (std::ranges::find(routes, r) == routes.end()) note(here.set_route(r));
  if (failed) return fail(*std::move(failed));
  return {};
}

std::string subnet_environment(const overlay& o, const std::vector<ip_range>& cluster) {
  std::string out;
  for (bool v4 : {true, false}) {
    auto& side = v4 ? o.v4 : o.v6;
    if (!side.used) continue;
    auto network = std::ranges::find(cluster, v4, &ip_range::is_v4);
    auto family = v4 ? "" : "IPV6_";
    out +=
        fmt::format("FLANNEL_{}NETWORK={}\n", family, network == cluster.end() ? side.subnet.text() : network->text());
    out += fmt::format("FLANNEL_{}SUBNET={}/{}\n", family, side.subnet.at(1)->text(), side.subnet.prefix());
  }
  return out + fmt::format("FLANNEL_MTU={}\nFLANNEL_IPMASQ=true\n", o.mtu);
}

result<void> apply_masquerade(const overlay& o, const std::vector<ip_range>& cluster, bool masquerade_v6) {
  KEDGE_TRY(auto s, netlink::socket::open(NETLINK_NETFILTER));
  for (bool v4 : {true, false}) {
    auto& side = v4 ? o.v4 : o.v6;
    nft::batch b(static_cast<std::uint8_t>(v4 ? NFPROTO_IPV4 : NFPROTO_IPV6), pods_table);
    b.remove_table();
    if (side.used && (v4 || masquerade_v6)) {
      b.table();
      b.chain(nft::base_chain{"postrouting", "nat", NF_INET_POST_ROUTING, NF_IP_PRI_NAT_SRC});
      auto rule = [&](auto f) {
        nft::rule r;
        f(r);
        b.rule("postrouting", std::move(r));
      };
      using nft::at, nft::verdict;
      auto multicast = *ip_range::parse(v4 ? "224.0.0.0/4" : "ff00::/8");
      for (auto& range : cluster) {
        if (range.is_v4() != v4) continue;
        rule([&](nft::rule& r) {
          r.source(v4, at(0))
              .within(at(0), range, true)
              .destination(v4, at(4))
              .within(at(4), range, true)
              .go(verdict::back());
        });
        rule([&](nft::rule& r) {
          r.source(v4, at(0))
              .within(at(0), range, true)
              .destination(v4, at(4))
              .within(at(4), multicast, false)
              .masquerade();
        });
        rule([&](nft::rule& r) {
          r.source(v4, at(0))
              .within(at(0), range, false)
              .destination(v4, at(4))
              .within(at(4), side.subnet, true)
              .go(verdict::back());
        });
        rule([&](nft::rule& r) {
          r.source(v4, at(0))
              .within(at(0), range, false)
              .destination(v4, at(4))
              .within(at(4), range, true)
              .masquerade();
        });
      }
    }
    auto done = commit(s, b);
    // Without a table and without the family there is nothing to take away.
    if (!done && (side.used || done.error().os_error != EAFNOSUPPORT)) return done;
  }
  return {};
}

result<bool> masquerade_stands(const overlay& o, bool masquerade_v6) {
  KEDGE_TRY(auto s, netlink::socket::open(NETLINK_NETFILTER));
  for (bool v4 : {true, false}) {
    if (!(v4 ? o.v4 : o.v6).used || !(v4 || masquerade_v6)) continue;
    const auto family = static_cast<std::uint8_t>(v4 ? NFPROTO_IPV4 : NFPROTO_IPV6);
    KEDGE_TRY(bool stands, nft::is_in_use(s, family, pods_table, "postrouting"));
    if (!stands) return false;
  }
  return true;
}

}  // namespace kedge::node
