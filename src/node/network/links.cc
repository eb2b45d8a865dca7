#include "node/network/links.h"

#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/strings.h"

namespace kedge::node {

namespace {

using netlink::attributes;
using netlink::reply;
using netlink::writer;

constexpr std::uint32_t stays_for_good = 0xffffffff;  // of an address that stays (the kernel's addrconf.h)
constexpr std::uint16_t request = NLM_F_REQUEST | NLM_F_ACK;
constexpr std::uint16_t create = request | NLM_F_CREATE | NLM_F_EXCL;
constexpr std::uint16_t replace = request | NLM_F_CREATE | NLM_F_REPLACE;
constexpr std::uint16_t dump = NLM_F_REQUEST | NLM_F_DUMP;

std::uint8_t family_of(const ip_address& a) { return a.is_v4() ? AF_INET : AF_INET6; }

std::string_view raw(const ip_address& a) {
  auto* p = reinterpret_cast<const char*>(a.octets().data());
  return a.is_v4() ? std::string_view(p + 12, 4) : std::string_view(p, 16);
}
std::string_view raw(const mac_address& m) { return {reinterpret_cast<const char*>(m.data()), m.size()}; }

std::optional<ip_address> address_of(bytes b) {
  char text[INET6_ADDRSTRLEN];
  if (b.size() == 4)
    std::snprintf(text, sizeof text, "%u.%u.%u.%u", unsigned(b[0]), unsigned(b[1]), unsigned(b[2]), unsigned(b[3]));
  else if (b.size() != 16 || !::inet_ntop(AF_INET6, b.data(), text, sizeof text))
    return std::nullopt;
  return ip_address::parse(text);
}

std::optional<ip_range> range_of(bytes network, unsigned prefix, bool v4) {
  auto text = network.empty() ? std::string(v4 ? "0.0.0.0" : "::") : std::string();
  if (text.empty()) {
    auto a = address_of(network);
    if (!a) return std::nullopt;
    text = a->text();
  }
  return ip_range::parse(text + "/" + std::to_string(prefix));
}

mac_address mac_of(bytes b) {
  mac_address m{};
  if (b.size() == m.size()) std::memcpy(m.data(), b.data(), m.size());
  return m;
}

link_info link_of(const reply& r) {
  auto head = r.header<ifinfomsg>();
  auto a = r.all<ifinfomsg>();
  link_info l;
  l.index = head.ifi_index;
  l.name = a.text(IFLA_IFNAME);
  l.mac = mac_of(a.find(IFLA_ADDRESS));
  l.mtu = a.u32(IFLA_MTU).value_or(0);
  l.master = static_cast<int>(a.u32(IFLA_MASTER).value_or(0));
  l.up = head.ifi_flags & IFF_UP;
  l.loopback = head.ifi_flags & IFF_LOOPBACK;
  attributes info(a.find(IFLA_LINKINFO));
  l.kind = info.text(IFLA_INFO_KIND);
  if (l.kind == "vxlan") {
    attributes data(info.find(IFLA_INFO_DATA));
    l.vni = data.u32(IFLA_VXLAN_ID).value_or(0);
    if (auto port = data.find(IFLA_VXLAN_PORT); port.size() == 2) l.port = load_be16(port.data());
    l.lower = static_cast<int>(data.u32(IFLA_VXLAN_LINK).value_or(0));
    l.local = address_of(data.find(data.has(IFLA_VXLAN_LOCAL) ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6));
    l.learning = data.u32(IFLA_VXLAN_LEARNING).value_or(1) != 0;
  }
  return l;
}

ifinfomsg link_header(int index, unsigned flags = 0, unsigned change = 0) {
  ifinfomsg m{};
  m.ifi_family = AF_UNSPEC;
  m.ifi_index = index;
  m.ifi_flags = flags;
  m.ifi_change = change;
  return m;
}

}  // namespace

std::string mac_text(const mac_address& m) {
  char text[18];
  std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
  return text;
}

std::optional<mac_address> parse_mac(std::string_view text) {
  auto parts = split(text, ':');
  mac_address m{};
  if (parts.size() != m.size()) return std::nullopt;
  for (std::size_t i = 0; i < m.size(); ++i) {
    auto octet = unhex(parts[i]);
    if (!octet || octet->size() != 1) return std::nullopt;
    m[i] = static_cast<unsigned char>((*octet)[0]);
  }
  return m;
}

std::optional<interface_address> parse_interface_address(std::string_view text) {
  auto slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  auto address = ip_address::parse(text.substr(0, slash));
  auto prefix = parse_uint(text.substr(slash + 1));
  if (!address || !prefix || *prefix > address->bits()) return std::nullopt;
  return interface_address{*address, static_cast<unsigned>(*prefix)};
}

result<links> links::open() {
  KEDGE_TRY(auto s, netlink::socket::open(NETLINK_ROUTE));
  return links(std::move(s));
}

result<link_info> links::find(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ)
    return fail(errc::invalid, "\"" + name + "\" is no name of an interface");
  writer w;
  w.begin(RTM_GETLINK, NLM_F_REQUEST);
  w.header(link_header(0));
  w.put_text(IFLA_IFNAME, name);
  link_info out;
  auto asked = socket_.ask(w, [&](const reply& r) { out = link_of(r); });
  if (!asked && asked.error().os_error == ENODEV) return fail(errc::not_found, "there is no interface " + name);
  if (!asked) return fail(std::move(asked).error().with("interface " + name + ": "));
  return out;
}

result<link_info> links::find(int index) {
  writer w;
  w.begin(RTM_GETLINK, NLM_F_REQUEST);
  w.header(link_header(index));
  link_info out;
  auto asked = socket_.ask(w, [&](const reply& r) { out = link_of(r); });
  if (!asked && asked.error().os_error == ENODEV)
    return fail(errc::not_found, "there is no interface " + std::to_string(index));
  if (!asked) return fail(std::move(asked).error());
  return out;
}

result<std::vector<link_info>> links::all() {
  writer w;
  w.begin(RTM_GETLINK, dump);
  w.header(link_header(0));
  return socket_.list<link_info>(w, [](const reply& r, auto& out) { out.push_back(link_of(r)); });
}

result<void> links::add_bridge(const std::string& name, unsigned mtu, const mac_address& mac) {
  writer w;
  w.begin(RTM_NEWLINK, create);
  w.header(link_header(0));
  w.put_text(IFLA_IFNAME, name);
  w.put_u32(IFLA_MTU, mtu);
  // A set address stays: else the bridge takes the lowest of its ports', and pods lose their gateway's when one of them
  // goes.
  w.put(IFLA_ADDRESS, raw(mac));
  {
    writer::nest info(w, IFLA_LINKINFO);
    w.put_text(IFLA_INFO_KIND, "bridge");
  }
  return socket_.change(w);
}

result<void> links::add_veth(const std::string& name, const std::string& peer, int peer_namespace, unsigned mtu,
                             const std::optional<mac_address>& peer_mac) {
  writer w;
  w.begin(RTM_NEWLINK, create);
  w.header(link_header(0));
  w.put_text(IFLA_IFNAME, name);
  w.put_u32(IFLA_MTU, mtu);
  {
    writer::nest info(w, IFLA_LINKINFO);
    w.put_text(IFLA_INFO_KIND, "veth");
    writer::nest data(w, IFLA_INFO_DATA);
    writer::nest other(w, VETH_INFO_PEER);
    w.header(link_header(0));
    w.put_text(IFLA_IFNAME, peer);
    w.put_u32(IFLA_MTU, mtu);
    if (peer_mac) w.put(IFLA_ADDRESS, raw(*peer_mac));
    if (peer_namespace >= 0) w.put_u32(IFLA_NET_NS_FD, static_cast<std::uint32_t>(peer_namespace));
  }
  return socket_.change(w);
}

result<void> links::add_vxlan(const vxlan_options& o) {
  writer w;
  w.begin(RTM_NEWLINK, create);
  w.header(link_header(0));
  w.put_text(IFLA_IFNAME, o.name);
  w.put_u32(IFLA_MTU, o.mtu);
  if (o.mac != mac_address{}) w.put(IFLA_ADDRESS, raw(o.mac));
  {
    writer::nest info(w, IFLA_LINKINFO);
    w.put_text(IFLA_INFO_KIND, "vxlan");
    writer::nest data(w, IFLA_INFO_DATA);
    w.put_u32(IFLA_VXLAN_ID, o.vni);
    if (o.lower) w.put_u32(IFLA_VXLAN_LINK, static_cast<std::uint32_t>(o.lower));
    w.put(o.local.is_v4() ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, raw(o.local));
    w.put_be16(IFLA_VXLAN_PORT, o.port);
    w.put_u8(IFLA_VXLAN_LEARNING, 0);
  }
  return socket_.change(w);
}

result<void> links::remove(int link) {
  writer w;
  w.begin(RTM_DELLINK, request);
  w.header(link_header(link));
  auto done = socket_.change(w);
  if (!done && done.error().os_error == ENODEV) return {};
  return done;
}

result<void> links::set_up(int link) {
  writer w;
  w.begin(RTM_NEWLINK, request);
  w.header(link_header(link, IFF_UP, IFF_UP));
  return socket_.change(w);
}

result<void> links::set_mtu(int link, unsigned mtu) {
  writer w;
  w.begin(RTM_NEWLINK, request);
  w.header(link_header(link));
  w.put_u32(IFLA_MTU, mtu);
  return socket_.change(w);
}

result<void> links::set_master(int link, int master) {
  writer w;
  w.begin(RTM_NEWLINK, request);
  w.header(link_header(link));
  w.put_u32(IFLA_MASTER, static_cast<std::uint32_t>(master));
  return socket_.change(w);
}

result<void> links::set_hairpin(int link) {
  writer w;
  w.begin(RTM_SETLINK, request);
  auto head = link_header(link);
  head.ifi_family = AF_BRIDGE;
  w.header(head);
  {
    writer::nest port(w, IFLA_PROTINFO);
    w.put_u8(IFLA_BRPORT_MODE, 1);
  }
  return socket_.change(w);
}

namespace {

ifaddrmsg address_header(int link, const interface_address& a) {
  ifaddrmsg m{};
  m.ifa_family = family_of(a.address);
  m.ifa_prefixlen = static_cast<unsigned char>(a.prefix);
  m.ifa_index = static_cast<unsigned>(link);
  return m;
}

}  // namespace

result<std::vector<interface_address>> links::addresses(int link) {
  writer w;
  w.begin(RTM_GETADDR, dump);
  ifaddrmsg head{};
  head.ifa_index = static_cast<unsigned>(link);
  w.header(head);
  return socket_.list<interface_address>(w, [&](const reply& r, auto& out) {
    auto h = r.header<ifaddrmsg>();
    auto a = r.all<ifaddrmsg>();
    auto address = address_of(a.find(a.has(IFA_LOCAL) ? IFA_LOCAL : IFA_ADDRESS));
    if (address && static_cast<int>(h.ifa_index) == link) out.push_back({*address, h.ifa_prefixlen});
  });
}

result<void> links::add_address(int link, const interface_address& a) {
  writer w;
  w.begin(RTM_NEWADDR, create);
  w.header(address_header(link, a));
  w.put(IFA_LOCAL, raw(a.address));
  w.put(IFA_ADDRESS, raw(a.address));
  if (a.address.is_v6()) w.put_u32(IFA_FLAGS, IFA_F_NODAD);
  if (a.address.is_v4() && a.prefix < 31) {
    auto o = a.address.octets();
    for (unsigned bit = a.prefix; bit < 32; ++bit) o[12 + bit / 8] |= static_cast<unsigned char>(0x80 >> bit % 8);
    w.put(IFA_BROADCAST, {reinterpret_cast<const char*>(o.data()) + 12, 4});
  }
  auto done = socket_.change(w);
  if (!done && done.error().os_error == EEXIST) return {};
  return done;
}

result<std::vector<links::address_of_link>> links::all_addresses() {
  writer w;
  w.begin(RTM_GETADDR, dump);
  w.header(ifaddrmsg{});
  return socket_.list<address_of_link>(w, [](const reply& r, auto& out) {
    auto h = r.header<ifaddrmsg>();
    auto a = r.all<ifaddrmsg>();
    auto address = address_of(a.find(a.has(IFA_LOCAL) ? IFA_LOCAL : IFA_ADDRESS));
    if (!address) return;
    address_of_link found{static_cast<int>(h.ifa_index), {*address, h.ifa_prefixlen}, std::nullopt};
    ifa_cacheinfo times{};
    if (auto said = a.find(IFA_CACHEINFO); said.size() >= sizeof times) {
      std::memcpy(&times, said.data(), sizeof times);
      if (times.ifa_valid != stays_for_good) found.remaining = std::chrono::seconds(times.ifa_valid);
    }
    out.push_back(found);
  });
}

result<void> links::hold_address(int link, const ip_address& a, std::chrono::seconds lifetime) {
  writer w;
  w.begin(RTM_NEWADDR, replace);
  w.header(address_header(link, {a, a.bits()}));
  w.put(IFA_LOCAL, raw(a));
  w.put(IFA_ADDRESS, raw(a));
  w.put_u32(IFA_FLAGS, a.is_v6() ? IFA_F_NODAD | IFA_F_NOPREFIXROUTE : IFA_F_NOPREFIXROUTE);
  // Deprecated from the first moment: it is answered, and chosen as a source by none that doesn't ask for it.
  ifa_cacheinfo times{
      .ifa_prefered = 0, .ifa_valid = static_cast<std::uint32_t>(lifetime.count()), .cstamp = 0, .tstamp = 0};
  w.put(IFA_CACHEINFO, {reinterpret_cast<const char*>(&times), sizeof times});
  return socket_.change(w);
}

result<void> links::remove_address(int link, const interface_address& a) {
  writer w;
  w.begin(RTM_DELADDR, request);
  w.header(address_header(link, a));
  w.put(IFA_LOCAL, raw(a.address));
  auto done = socket_.change(w);
  if (!done && done.error().os_error == EADDRNOTAVAIL) return {};
  return done;
}

namespace {

void put_route(writer& w, const route& r, std::uint16_t type, std::uint16_t flags) {
  rtmsg m{};
  m.rtm_family = family_of(r.to.network());
  m.rtm_dst_len = static_cast<unsigned char>(r.to.prefix());
  m.rtm_table = RT_TABLE_MAIN;
  bool removes = type == RTM_DELROUTE;
  m.rtm_protocol = removes ? RTPROT_UNSPEC : r.protocol;
  m.rtm_scope = removes ? RT_SCOPE_NOWHERE : r.via ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
  m.rtm_type = removes ? RTN_UNSPEC : RTN_UNICAST;
  if (r.onlink) m.rtm_flags = RTNH_F_ONLINK;
  w.begin(type, flags);
  w.header(m);
  if (r.to.prefix() > 0) w.put(RTA_DST, raw(r.to.network()));
  if (r.via) w.put(RTA_GATEWAY, raw(*r.via));
  if (r.link) w.put_u32(RTA_OIF, static_cast<std::uint32_t>(r.link));
}

}  // namespace

result<std::vector<route>> links::routes(std::uint8_t protocol) {
  writer w;
  w.begin(RTM_GETROUTE, dump);
  w.header(rtmsg{});
  return socket_.list<route>(w, [&](const reply& reply, auto& out) {
    auto head = reply.header<rtmsg>();
    auto a = reply.all<rtmsg>();
    if (head.rtm_protocol != protocol || a.u32(RTA_TABLE).value_or(head.rtm_table) != RT_TABLE_MAIN ||
        head.rtm_type != RTN_UNICAST)
      return;
    if (head.rtm_family != AF_INET && head.rtm_family != AF_INET6) return;
    auto to = range_of(a.find(RTA_DST), head.rtm_dst_len, head.rtm_family == AF_INET);
    if (!to) return;
    out.push_back({*to, address_of(a.find(RTA_GATEWAY)), static_cast<int>(a.u32(RTA_OIF).value_or(0)),
                   (head.rtm_flags & RTNH_F_ONLINK) != 0, head.rtm_protocol});
  });
}

result<void> links::set_route(const route& r) {
  writer w;
  put_route(w, r, RTM_NEWROUTE, replace);
  auto done = socket_.change(w);
  if (!done) return fail(std::move(done).error().with("route to " + r.to.text() + ": "));
  return {};
}

result<void> links::remove_route(const route& r) {
  writer w;
  put_route(w, r, RTM_DELROUTE, request);
  auto done = socket_.change(w);
  if (!done && done.error().os_error == ESRCH) return {};
  return done;
}

result<links::way> links::way_to(const ip_address& to) {
  rtmsg m{};
  m.rtm_family = family_of(to);
  m.rtm_dst_len = static_cast<unsigned char>(to.bits());
  writer w;
  w.begin(RTM_GETROUTE, NLM_F_REQUEST);
  w.header(m);
  w.put(RTA_DST, raw(to));
  way out;
  KEDGE_CHECK(socket_.ask(w, [&](const reply& r) {
    auto a = r.all<rtmsg>();
    out = {static_cast<int>(a.u32(RTA_OIF).value_or(0)), address_of(a.find(RTA_PREFSRC)),
           address_of(a.find(RTA_GATEWAY))};
  }));
  return out;
}

namespace {

void put_neighbour(writer& w, const neighbour& n, std::uint16_t type, std::uint16_t flags) {
  ndmsg m{};
  m.ndm_family = n.forwarding ? AF_BRIDGE : family_of(n.address);
  m.ndm_ifindex = n.link;
  m.ndm_state = NUD_PERMANENT;
  m.ndm_flags = n.forwarding ? NTF_SELF : 0;
  m.ndm_type = RTN_UNICAST;
  w.begin(type, flags);
  w.header(m);
  w.put(NDA_DST, raw(n.address));
  w.put(NDA_LLADDR, raw(n.mac));
}

}  // namespace

result<std::vector<neighbour>> links::neighbours(int link) {
  std::vector<neighbour> out;
  for (auto family : {AF_INET, AF_INET6, AF_BRIDGE}) {
    ndmsg m{};
    m.ndm_family = static_cast<unsigned char>(family);
    writer w;
    w.begin(RTM_GETNEIGH, dump);
    w.header(m);
    // The forwarding tables are chosen by another attribute's name and header: all are read there, and this link's
    // kept.
    if (family != AF_BRIDGE) w.put_u32(NDA_IFINDEX, static_cast<std::uint32_t>(link));
    KEDGE_TRY(auto found, socket_.list<neighbour>(w, [&](const reply& r, auto& out) {
      auto head = r.header<ndmsg>();
      auto a = r.all<ndmsg>();
      auto address = address_of(a.find(NDA_DST));
      if (head.ndm_ifindex == link && head.ndm_family == family && head.ndm_state & NUD_PERMANENT && address)
        out.push_back({link, *address, mac_of(a.find(NDA_LLADDR)), family == AF_BRIDGE});
    }));
    out.insert(out.end(), found.begin(), found.end());
  }
  return out;
}

result<void> links::set_neighbour(const neighbour& n) {
  writer w;
  put_neighbour(w, n, RTM_NEWNEIGH, replace);
  return socket_.change(w);
}

result<void> links::remove_neighbour(const neighbour& n) {
  writer w;
  put_neighbour(w, n, RTM_DELNEIGH, request);
  auto done = socket_.change(w);
  if (!done && done.error().os_error == ENOENT) return {};
  return done;
}

}  // namespace kedge::node
