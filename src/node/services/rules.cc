#include "node/services/rules.h"

#include <netinet/in.h>  // before the kernel's, which then leave out what it has

#include <linux/netfilter_ipv4.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <fmt/format.h>

#include <algorithm>

namespace kedge::node {

namespace {

using nft::at;
using nft::datatype;
using nft::element_key;
using nft::element_value;
using nft::part;
using nft::rule;
using nft::verdict;

constexpr std::uint32_t masquerade_mark = 0x4000;  // kube-proxy's

const char* service_ips = "service-ips";  // cluster IPs
const char* external_ips = "external-ips";
const char* node_ports = "service-nodeports";
const char* unserved = "no-endpoint-services";
const char* unserved_node_ports = "no-endpoint-nodeports";
const char* firewall = "firewall-ips";
const char* cluster_ips = "cluster-ips";
const char* endpoints = "endpoints";
const char* serving = "serving";
const char* hairpin = "hairpin";
const char* refuse = "reject-chain";

unsigned words(bool v4) { return v4 ? 1 : 4; }

// Where an address and port that were found stand; a service's number stands before them.
constexpr unsigned found = 8;

rule& is_new(rule& r) {
  return r.ct(NFT_CT_STATE, at(0)).bits(at(0), nft::key_u32(8), nft::key_u32(0)).unequal(at(0), nft::key_u32(0));
}
// From register 0: the packet's destination, protocol, port.
rule& where_to(rule& r, bool v4) {
  return r.destination(v4, at(0)).meta(NFT_META_L4PROTO, at(words(v4))).destination_port(at(words(v4) + 1));
}
rule& which_port(rule& r) { return r.meta(NFT_META_L4PROTO, at(0)).destination_port(at(1)); }

template <typename F>
std::string made(F f) {
  rule r;
  f(r);
  return r.take();
}

// Whether the packet comes from none of these. Uses registers from 4.
rule& from_outside(rule& r, bool v4, const std::vector<ip_range>& ranges) {
  for (auto& range : ranges)
    if (range.is_v4() == v4) r.source(v4, at(4)).within(at(4), range, false);
  return r;
}

class builder {
 public:
  builder(const rules_context& c, const service_record& s, const std::vector<const slice_record*>& slices)
      : c_(c), s_(s), slices_(slices) {}

  void add(const service_port& p, std::uint32_t number) {
    auto e = choose_endpoints(s_, p, c_.v4, slices_, c_.node, c_.zone);
    auto name = fmt::format("{}/{}/{}-{}", s_.name_space, s_.name, p.name.empty() ? std::to_string(p.port) : p.name,
                            name_of(p.protocol));
    auto cluster = "cluster/" + name, local = "local/" + name, external = "external/" + name,
         guard = "firewall/" + name;
    bool outside = s_.accessible_from_outside();
    bool has_cluster = !e.cluster.empty(), has_local = !e.local.empty();
    // The two policies choose of numbers of their own, where they differ.
    if (has_cluster) choose(cluster, p, number * 2, e.cluster, true);
    if (has_local) choose(local, p, number * 2 + 1, e.local, s_.internal_local);
    bool internal_served = s_.internal_local ? has_local : e.any,
         external_served = s_.external_local ? has_local : e.any;
    auto& internal = s_.internal_local ? local : cluster;
    if (outside && e.any) put_external(external, cluster, local, has_cluster, has_local);

    for (auto& ip : s_.cluster_ips) {
      if (ip.is_v4() != c_.v4) continue;
      out_.elements[{cluster_ips, nft::key_address(ip)}] = {};
      if (internal_served)
        lead(service_ips, ip, p, {.go_to = internal});
      else
        lead(unserved, ip, p, refusal(e.any));
    }
    auto may_have = [&](const ip_address& ip) { return ip.is_v4() == c_.v4 && !is_kept(ip, p.protocol, p.port); };
    auto external_address = [&](const ip_address& ip) {
      if (!may_have(ip)) return;
      if (e.any) lead(external_ips, ip, p, {.go_to = external});
      if (!external_served) lead(unserved, ip, p, refusal(e.any));
    };
    for (auto& ip : s_.external_ips) external_address(ip);
    for (auto& ip : s_.balancer_ips) {
      external_address(ip);
      if (may_have(ip) && is_restricted()) lead(firewall, ip, p, {.go_to = guard});
    }
    if (!s_.balancer_ips.empty() && is_restricted()) put_firewall(guard);
    auto node_keeps = [&](const ip_address& ip) { return is_kept(ip, p.protocol, p.node_port); };
    if (p.node_port && std::ranges::none_of(c_.node_ips, node_keeps)) {
      auto key = nft::key_u8(static_cast<std::uint8_t>(p.protocol)) + nft::key_port(p.node_port);
      if (e.any) out_.elements[{node_ports, key}] = {.go_to = external};
      if (!external_served) out_.elements[{unserved_node_ports, key}] = refusal(e.any);
    }
    for (auto& to : e.here) out_.elements[{hairpin, nft::key_address(to.address) + nft::key_address(to.address)}] = {};
  }
  part take() { return std::move(out_); }

 private:
  void lead(const char* map, const ip_address& ip, const service_port& p, element_value v) {
    out_.elements[{map, nft::key_address(ip) + nft::key_u8(static_cast<std::uint8_t>(p.protocol)) +
                            nft::key_port(p.port)}] = std::move(v);
  }
  bool is_kept(const ip_address& ip, transport protocol, std::uint16_t port) const {
    return std::ranges::find(c_.own_addresses, ip) != c_.own_addresses.end() ||
           (protocol == transport::tcp && c_.kept.contains({ip, port}));
  }
  // Nobody anywhere: an answer that says so. Somebody, but not on this node: dropped, as a balancer in front expects.
  static element_value refusal(bool somewhere) {
    if (somewhere) return {.code = NF_DROP};
    return {.go_to = refuse};
  }

  void choose(const std::string& chain, const service_port&, std::uint32_t number,
              const std::vector<endpoint_target>& all, bool masquerades) {
    auto& rules = out_.chains[chain];
    auto w = words(c_.v4);
    if (masquerades) {
      bool known = std::ranges::any_of(c_.cluster, [&](auto& r) { return r.is_v4() == c_.v4; });
      for (auto& ip : s_.cluster_ips) {
        if (ip.is_v4() != c_.v4 || (!known && !c_.masquerade_all)) continue;
        rules.push_back(made([&](rule& r) {
          r.destination(c_.v4, at(0)).equal(at(0), nft::key_address(ip));
          if (!c_.masquerade_all) from_outside(r, c_.v4, c_.cluster);
          r.mark(masquerade_mark);
        }));
      }
    }
    auto memory = fmt::format("affinity-{}/{}", s_.affinity_seconds, chain);
    auto timeout = std::uint64_t(s_.affinity_seconds) * 1000;
    if (s_.affinity_seconds) {
      auto ip = c_.v4 ? datatype::ipv4 : datatype::ipv6;
      out_.sets[memory] = {.key = {{ip}}, .value = {{ip, datatype::port}}, .dynamic = true, .timeout_ms = timeout};
      // Where this client went before, if that still serves.
      rules.push_back(made([&](rule& r) {
        r.source(c_.v4, at(0))
            .find(memory, at(0), at(found))
            .constant(nft::key_u32(number), at(found - 1))
            .in_set(serving, at(found - 1));
        r.remember(memory, at(0), at(found), timeout).dnat(c_.v4, at(found), at(found + w));
      }));
    }
    rules.push_back(made([&](rule& r) {
      r.constant(nft::key_u32(number), at(0))
          .random(static_cast<std::uint32_t>(all.size()), at(1))
          .find(endpoints, at(0), at(found));
      if (s_.affinity_seconds)
        r.source(c_.v4, at(0)).forget(memory, at(0), at(found)).remember(memory, at(0), at(found), timeout);
      r.dnat(c_.v4, at(found), at(found + w));
    }));
    std::uint32_t n = 0;
    for (auto& to : all) {
      out_.elements[{endpoints, nft::key_u32(number) + nft::key_u32(n++)}] = {.data = nft::key_address(to.address) +
                                                                                      nft::key_port(to.port)};
      if (s_.affinity_seconds)
        out_.elements[{serving, nft::key_u32(number) + nft::key_address(to.address) + nft::key_port(to.port)}] = {};
    }
  }

  void put_external(const std::string& chain, const std::string& cluster, const std::string& local, bool has_cluster,
                    bool has_local) {
    auto& rules = out_.chains[chain];
    if (!s_.external_local) {
      rules.push_back(made([&](rule& r) { r.mark(masquerade_mark); }));
      if (has_cluster) rules.push_back(made([&](rule& r) { r.go(verdict::go_to(cluster)); }));
      return;
    }
    // From within, as if it had gone out to a balancer and come back: any endpoint will do.
    if (has_cluster) {
      for (auto& range : c_.cluster)
        if (range.is_v4() == c_.v4)
          rules.push_back(
              made([&](rule& r) { r.source(c_.v4, at(4)).within(at(4), range, true).go(verdict::go_to(cluster)); }));
      rules.push_back(
          made([&](rule& r) { r.source_type(at(0)).equal(at(0), nft::key_u32(RTN_LOCAL)).mark(masquerade_mark); }));
      rules.push_back(made(
          [&](rule& r) { r.source_type(at(0)).equal(at(0), nft::key_u32(RTN_LOCAL)).go(verdict::go_to(cluster)); }));
    }
    if (has_local) rules.push_back(made([&](rule& r) { r.go(verdict::go_to(local)); }));
  }

  // Ranges of one family say nothing of the other.
  bool is_restricted() const {
    return std::ranges::any_of(s_.source_ranges, [&](auto& r) { return r.is_v4() == c_.v4; });
  }
  void put_firewall(const std::string& chain) {
    out_.chains[chain] = {made([&](rule& r) {
      from_outside(r, c_.v4, s_.source_ranges);
      // A request from this node itself comes from the balancer's address where that is one of the node's.
      bool node_may = std::ranges::any_of(s_.source_ranges, [&](auto& range) {
        return std::ranges::any_of(c_.node_ips, [&](auto& ip) { return range.contains(ip); });
      });
      if (node_may)
        for (auto& ip : s_.balancer_ips)
          if (ip.is_v4() == c_.v4) r.source(c_.v4, at(4)).unequal(at(4), nft::key_address(ip));
      r.go(verdict::drop());
    })};
  }

  const rules_context& c_;
  const service_record& s_;
  const std::vector<const slice_record*>& slices_;
  part out_;
};

}  // namespace

std::vector<nft::base_chain> base_hooks() {
  return {{"filter-prerouting", "filter", NF_INET_PRE_ROUTING, NF_IP_PRI_NAT_DST - 10},
          {"filter-output-first", "filter", NF_INET_LOCAL_OUT, NF_IP_PRI_NAT_DST - 10},
          {"filter-input", "filter", NF_INET_LOCAL_IN, NF_IP_PRI_FILTER - 110},
          {"filter-forward", "filter", NF_INET_FORWARD, NF_IP_PRI_FILTER - 110},
          {"filter-output", "filter", NF_INET_LOCAL_OUT, NF_IP_PRI_FILTER - 90},
          {"nat-prerouting", "nat", NF_INET_PRE_ROUTING, NF_IP_PRI_NAT_DST},
          {"nat-output", "nat", NF_INET_LOCAL_OUT, NF_IP_PRI_NAT_DST},
          {"nat-postrouting", "nat", NF_INET_POST_ROUTING, NF_IP_PRI_NAT_SRC}};
}

nft::part base_rules(const rules_context& c) {
  part p;
  auto ip = c.v4 ? datatype::ipv4 : datatype::ipv6;
  nft::key_type address_port{{ip, datatype::protocol, datatype::port}}, port{{datatype::protocol, datatype::port}};
  for (auto* name : {service_ips, external_ips, unserved, firewall})
    p.sets[name] = {.key = address_port, .verdicts = true};
  for (auto* name : {node_ports, unserved_node_ports}) p.sets[name] = {.key = port, .verdicts = true};
  p.sets[cluster_ips] = {.key = {{ip}}};
  p.sets[endpoints] = {.key = {{datatype::mark, datatype::mark}}, .value = {{ip, datatype::port}}};
  p.sets[serving] = {.key = {{datatype::mark, ip, datatype::port}}};
  p.sets[hairpin] = {.key = {{ip, ip}}};

  auto to = [&](const char* chain, auto f) { p.chains[chain].push_back(made(f)); };
  to(refuse, [&](rule& r) { r.reject(c.v4); });
  for (auto* chain : {"filter-prerouting", "filter-output-first"})
    to(chain, [&](rule& r) { where_to(is_new(r), c.v4).decide(firewall, at(0)); });
  for (auto* chain : {"filter-input", "filter-forward", "filter-output"}) {
    to(chain, [&](rule& r) { where_to(is_new(r), c.v4).decide(unserved, at(0)); });
    if (chain != std::string_view("filter-forward"))
      to(chain, [&](rule& r) {
        which_port(is_new(r).destination_type(at(0)).equal(at(0), nft::key_u32(RTN_LOCAL)))
            .decide(unserved_node_ports, at(0));
      });
  }
  // A Service's address that is still there after DNAT has no such port.
  for (auto* chain : {"filter-forward", "filter-output"})
    to(chain,
       [&](rule& r) { is_new(r).destination(c.v4, at(0)).in_set(cluster_ips, at(0)).go(verdict::go_to(refuse)); });

  // A cluster IP is its Service's alone, whoever else says that it is his.
  to("services", [&](rule& r) { where_to(r, c.v4).decide(service_ips, at(0)); });
  to("services", [&](rule& r) { r.destination(c.v4, at(0)).in_set(cluster_ips, at(0)).go(verdict::back()); });
  to("services", [&](rule& r) { where_to(r, c.v4).decide(external_ips, at(0)); });
  to("services", [&](rule& r) {
    r.destination_type(at(0)).equal(at(0), nft::key_u32(RTN_LOCAL)).destination(c.v4, at(0));
    r.within(at(0), *ip_range::parse(c.v4 ? "127.0.0.0/8" : "::1/128"), false);
    which_port(r).decide(node_ports, at(0));
  });
  for (auto* chain : {"nat-prerouting", "nat-output"}) to(chain, [&](rule& r) { r.go(verdict::jump("services")); });

  to("nat-postrouting",
     [&](rule& r) { r.source(c.v4, at(0)).destination(c.v4, at(words(c.v4))).in_set(hairpin, at(0)).masquerade(); });
  to("nat-postrouting", [&](rule& r) {
    r.meta(NFT_META_MARK, at(0))
        .bits(at(0), nft::key_u32(masquerade_mark), nft::key_u32(0))
        .equal(at(0), nft::key_u32(masquerade_mark));
    r.unmark(masquerade_mark).masquerade();
  });
  return p;
}

nft::part service_rules(const rules_context& c, const service_record& s, const std::vector<const slice_record*>& slices,
                        const std::function<std::uint32_t(const std::string& port)>& number_of) {
  builder b(c, s, slices);
  if (s.cluster_ips.empty()) return b.take();
  for (auto& p : s.ports)
    b.add(p, number_of(fmt::format("{}-{}", p.name.empty() ? std::to_string(p.port) : p.name, name_of(p.protocol))));
  return b.take();
}

}  // namespace kedge::node
