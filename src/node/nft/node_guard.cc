#include "node/nft/node_guard.h"

#include <netinet/in.h>  // before the kernel's, which then leave out what it has

#include <linux/netfilter_ipv4.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <string>

#include "base/bytes.h"
#include "node/nft/batch.h"

namespace kedge::node::nft {

namespace {

constexpr const char* table_name = "kedge-node";
constexpr const char* addresses = "addresses";
constexpr const char* ports = "ports";  // protocol . port
constexpr const char* keep = "keep";
constexpr std::uint32_t loopback_link = 1;  // lo is the first of every network namespace

std::uint8_t family_of(bool v4) { return v4 ? std::uint8_t{NFPROTO_IPV4} : std::uint8_t{NFPROTO_IPV6}; }
std::string key_of(std::uint16_t port) { return key_u8(IPPROTO_TCP) + key_port(port); }

// Before connections are known: what comes back to 127.0.0.1 as a connection's answer isn't addressed so yet.
void put_loopback(batch& b) {
  const auto loopback = *ip_range::parse("127.0.0.0/8");
  b.chain(base_chain{"loopback", "filter", NF_INET_PRE_ROUTING, NF_IP_PRI_RAW});
  for (bool to : {true, false}) {
    rule r;
    r.meta(NFT_META_IIF, at(0)).unequal(at(0), key_u32(loopback_link));
    if (to)
      r.destination(true, at(0));
    else
      r.source(true, at(0));
    b.rule("loopback", std::move(r.within(at(0), loopback, true).go(verdict::drop())));
  }
}

void put_table(batch& b, bool v4) {
  b.table();
  b.set(addresses, {.key = {{v4 ? datatype::ipv4 : datatype::ipv6}}});
  b.set(ports, {.key = {{datatype::protocol, datatype::port}}});
  b.chain(keep);
  // A connection is translated once: to where it goes anyway.
  rule to_address, to_port;
  b.rule(keep, std::move(to_address.destination(v4, at(0)).in_set(addresses, at(0)).dnat(v4, at(0), 0)));
  to_port.destination_type(at(4)).equal(at(4), key_u32(RTN_LOCAL));
  to_port.meta(NFT_META_L4PROTO, at(4)).destination_port(at(5)).in_set(ports, at(4));
  b.rule(keep, std::move(to_port.destination(v4, at(0)).dnat(v4, at(0), 0)));
  for (auto& base : {base_chain{"prerouting", "nat", NF_INET_PRE_ROUTING, NF_IP_PRI_NAT_DST - 1},
                     base_chain{"output", "nat", NF_INET_LOCAL_OUT, NF_IP_PRI_NAT_DST - 1}}) {
    b.chain(base);
    rule jump;
    b.rule(base.name, std::move(jump.go(verdict::jump(keep))));
  }
  if (v4) put_loopback(b);
}

result<void> guard_family(netlink::socket& s, bool v4, const node_own& own) {
  const auto family = family_of(v4);
  batch b(family, table_name);
  // An emptied table has chains that nothing leads to.
  KEDGE_TRY(bool stands, is_in_use(s, family, table_name, keep));
  if (v4 && stands) { KEDGE_TRY(stands, is_in_use(s, family, table_name, "loopback")); }
  stands = stands && !own.anew;
  if (!stands) {
    // One that another call makes meanwhile stays: twice the same rules do no harm.
    KEDGE_TRY(bool emptied, has_table(s, family, table_name));
    if (emptied) b.remove_table();
    put_table(b, v4);
  }
  auto add = [&](const char* set, std::vector<std::string> keys) -> result<void> {
    if (keys.empty()) return {};
    std::vector<element> known;
    if (stands) { KEDGE_TRY(known, read_elements(s, family, table_name, set)); }
    for (auto& key : keys)
      if (std::ranges::find(known, key, &element::key) == known.end()) b.element(set, {key});
    return {};
  };
  std::vector<std::string> own_addresses, own_ports;
  for (auto& a : own.addresses)
    if (a.is_v4() == v4) own_addresses.push_back(key_address(a));
  for (auto port : own.ports) own_ports.push_back(key_of(port));
  KEDGE_CHECK(add(addresses, std::move(own_addresses)));
  KEDGE_CHECK(add(ports, std::move(own_ports)));
  return commit(s, b);
}

}  // namespace

result<void> guard_node(const node_own& own) {
  KEDGE_TRY(auto s, netlink::socket::open(NETLINK_NETFILTER));
  KEDGE_CHECK(guard_family(s, true, own));
  return own.v6 ? guard_family(s, false, own) : result<void>();
}

result<std::vector<std::uint16_t>> guarded_ports() {
  KEDGE_TRY(auto s, netlink::socket::open(NETLINK_NETFILTER));
  std::vector<std::uint16_t> out;
  KEDGE_TRY(bool there, has_table(s, family_of(true), table_name));
  if (!there) return out;
  KEDGE_TRY(auto all, read_elements(s, family_of(true), table_name, ports));
  constexpr std::size_t before_port = 4;
  for (auto& e : all)
    if (e.key.size() >= before_port + 2) out.push_back(load_be16(as_bytes(e.key).data() + before_port));
  return out;
}

}  // namespace kedge::node::nft
