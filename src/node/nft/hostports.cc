#include "node/nft/hostports.h"

#include <netinet/in.h>  // before the kernel's, which then leave out what it has

#include <linux/netfilter_ipv4.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "crypto/files.h"
#include "node/nft/batch.h"

namespace kedge::node::nft {

namespace {

constexpr const char* table_name = "kedge-hostports";
constexpr const char* anywhere = "ports";          // protocol . port → address . port
constexpr const char* at_address = "ports-on";     // address . protocol . port → address . port
constexpr std::uint32_t masquerade_mark = 0x2000;  // as portmap's

std::string key_of(const hostport& p) {
  return (p.on ? key_address(*p.on) : std::string()) + key_u8(p.protocol) + key_port(p.port);
}
std::string value_of(const hostport& p) { return key_address(p.to) + key_port(p.to_port); }
const char* map_of(const hostport& p) { return p.on ? at_address : anywhere; }

// Registers 0…: address (1 or 4), protocol, port; the found address and port from 8.
void put_table(batch& b, bool v4) {
  auto ip = v4 ? datatype::ipv4 : datatype::ipv6;
  unsigned words = v4 ? 1 : 4;
  b.table();
  b.set(anywhere, {.key = {{datatype::protocol, datatype::port}}, .value = {{ip, datatype::port}}});
  b.set(at_address, {.key = {{ip, datatype::protocol, datatype::port}}, .value = {{ip, datatype::port}}});
  b.chain("hostports");
  for (auto* map : {at_address, anywhere}) {
    auto leads = [&](rule& r) {
      unsigned n = 0;
      if (map == at_address) r.destination(v4, at(std::exchange(n, words)));
      r.meta(NFT_META_L4PROTO, at(n)).destination_port(at(n + 1)).find(map, at(0), at(8));
    };
    // A pod beside this one, and the pod itself, would be answered past the node; and nobody answers to 127.0.0.1.
    rule from_pods, from_loopback, go;
    leads(from_pods);
    from_pods.meta(NFT_META_IIFKIND, at(0))
        .equal(at(0), std::string("bridge") + std::string(10, '\0'))
        .mark(masquerade_mark);
    b.rule("hostports", std::move(from_pods));
    if (v4) {
      leads(from_loopback);
      from_loopback.source(v4, at(0)).within(at(0), *ip_range::parse("127.0.0.0/8"), true).mark(masquerade_mark);
      b.rule("hostports", std::move(from_loopback));
    }
    leads(go);
    go.dnat(v4, at(8), at(8 + words));
    b.rule("hostports", std::move(go));
  }
  for (auto& base : {base_chain{"prerouting", "nat", NF_INET_PRE_ROUTING, NF_IP_PRI_NAT_DST},
                     base_chain{"output", "nat", NF_INET_LOCAL_OUT, NF_IP_PRI_NAT_DST}}) {
    b.chain(base);
    rule local;
    local.destination_type(at(0)).equal(at(0), key_u32(RTN_LOCAL)).go(verdict::jump("hostports"));
    b.rule(base.name, std::move(local));
  }
  b.chain(base_chain{"postrouting", "nat", NF_INET_POST_ROUTING, NF_IP_PRI_NAT_SRC});
  rule masquerade;
  masquerade.meta(NFT_META_MARK, at(0))
      .bits(at(0), key_u32(masquerade_mark), key_u32(0))
      .equal(at(0), key_u32(masquerade_mark))
      .unmark(masquerade_mark)
      .masquerade();
  b.rule("postrouting", std::move(masquerade));
}

template <typename F>
result<void> each_family(const std::vector<hostport>& ports, F f) {
  for (bool v4 : {true, false}) {
    std::vector<hostport> these;
    for (auto& p : ports)
      if (p.to.is_v4() == v4) these.push_back(p);
    if (!these.empty()) KEDGE_CHECK(f(v4, static_cast<std::uint8_t>(v4 ? NFPROTO_IPV4 : NFPROTO_IPV6), these));
  }
  return {};
}

result<std::vector<element>> present(netlink::socket& s, std::uint8_t family) {
  std::vector<element> all;
  for (auto* map : {anywhere, at_address}) {
    KEDGE_TRY(auto some, read_elements(s, family, table_name, map));
    std::ranges::move(some, std::back_inserter(all));
  }
  return all;
}

constexpr int restore_rounds_max = 3;

// Each port once: of two files that have it the first, whatever left the other.
std::vector<hostport> stored_in(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code failed;
  for (std::filesystem::directory_iterator at(folder, failed), end; !failed && at != end; at.increment(failed))
    files.push_back(at->path().string());
  std::ranges::sort(files);
  std::vector<hostport> all;
  for (auto& file : files)
    for (auto& p : parse_hostports(crypto::read_file(file).value_or(std::string())))
      if (std::ranges::none_of(all, [&](auto& other) {
            return other.to.is_v4() == p.to.is_v4() && map_of(other) == map_of(p) && key_of(other) == key_of(p);
          }))
        all.push_back(p);
  return all;
}

}  // namespace

result<void> add_hostports(const std::vector<hostport>& ports) {
  KEDGE_TRY(auto s, netlink::socket::open(NETLINK_NETFILTER));
  return each_family(ports, [&](bool v4, std::uint8_t family, const std::vector<hostport>& these) -> result<void> {
    KEDGE_TRY(bool there, has_table(s, family, table_name));
    batch b(family, table_name);
    if (!there) put_table(b, v4);
    for (auto& p : these) b.element(map_of(p), {key_of(p)}, value_of(p));
    auto done = commit(s, b);
    if (!done && done.error().os_error == EEXIST)
      return fail(errc::already_exists, "a host port is taken by another pod");
    return done;
  });
}

result<void> remove_hostports(const std::vector<hostport>& ports) {
  KEDGE_TRY(auto s, netlink::socket::open(NETLINK_NETFILTER));
  return each_family(ports, [&](bool, std::uint8_t family, const std::vector<hostport>& these) -> result<void> {
    KEDGE_TRY(bool there, has_table(s, family, table_name));
    if (!there) return {};
    KEDGE_TRY(auto now, present(s, family));
    batch b(family, table_name);
    for (auto& p : these)
      if (std::ranges::any_of(now, [&](auto& e) { return e.key == key_of(p) && e.value == value_of(p); }))
        b.remove_element(map_of(p), {key_of(p)});
    return commit(s, b);
  });
}

result<bool> restore_hostports(const std::string& folder, bool& seen) {
  KEDGE_TRY(auto s, netlink::socket::open(NETLINK_NETFILTER));
  std::vector<bool> broken;  // families
  for (auto family : {NFPROTO_IPV4, NFPROTO_IPV6}) {
    auto stands = is_in_use(s, static_cast<std::uint8_t>(family), table_name, "hostports");
    if (stands && *stands) seen = true;
    broken.push_back(stands && !*stands);  // a kernel without the family has nothing to lose
  }
  if (!seen || (!broken[0] && !broken[1])) return false;
  bool made = false;
  // A pod that comes meanwhile has its file before its rules.
  std::vector<hostport> known;
  for (int i = 0; i < restore_rounds_max; ++i) {
    auto now = stored_in(folder);
    if (now == known) break;
    KEDGE_CHECK(each_family(now, [&](bool v4, std::uint8_t family, const std::vector<hostport>& these) -> result<void> {
      if (!broken[v4 ? 0 : 1]) return {};
      batch b(family, table_name);
      b.remove_table();
      put_table(b, v4);
      for (auto& p : these) b.element(map_of(p), {key_of(p)}, value_of(p));
      made = true;
      return commit(s, b);
    }));
    known = std::move(now);
  }
  return made;
}

result<void> check_hostports(const std::vector<hostport>& ports) {
  KEDGE_TRY(auto s, netlink::socket::open(NETLINK_NETFILTER));
  return each_family(ports, [&](bool, std::uint8_t family, const std::vector<hostport>& these) -> result<void> {
    KEDGE_TRY(auto now, present(s, family));
    for (auto& p : these)
      if (!std::ranges::any_of(now, [&](auto& e) { return e.key == key_of(p) && e.value == value_of(p); }))
        return fail(errc::not_found, "host port " + std::to_string(p.port) + " leads nowhere");
    return {};
  });
}

std::string write_hostports(const std::vector<hostport>& ports) {
  std::string out;
  for (auto& p : ports)
    out += std::to_string(p.protocol) + " " + (p.on ? p.on->text() : "*") + " " + std::to_string(p.port) + " " +
           p.to.text() + " " + std::to_string(p.to_port) + "\n";
  return out;
}

std::vector<hostport> parse_hostports(std::string_view text) {
  std::vector<hostport> all;
  for (auto line : split(text, '\n')) {
    auto words = split(line, ' ');
    if (words.size() != 5) continue;
    auto protocol = parse_uint(words[0]), port = parse_uint(words[2]), to_port = parse_uint(words[4]);
    auto on = ip_address::parse(words[1]), to = ip_address::parse(words[3]);
    if (!protocol || *protocol > 255 || !port || *port > 65535 || !to_port || *to_port > 65535 || !to ||
        (!on && words[1] != "*"))
      continue;
    all.push_back({static_cast<std::uint8_t>(*protocol), on, static_cast<std::uint16_t>(*port), *to,
                   static_cast<std::uint16_t>(*to_port)});
  }
  return all;
}

}  // namespace kedge::node::nft
