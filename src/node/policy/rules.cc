#include "node/policy/rules.h"

#include <netinet/in.h>  // before the kernel's, which then leave out what it has

#include <fmt/format.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter_ipv4.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>

#include <algorithm>
#include <tuple>

#include "node/policy/spans.h"

namespace kedge::node {

namespace {

using nft::at;
using nft::datatype;
using nft::part;
using nft::rule;
using nft::verdict;
using number = policy_selection::number;

const char* egress_map = "egress";  // address of a pod that is isolated ─▶ its group's chain
const char* ingress_map = "ingress";
const char* self = "self";  // a pod's address, twice: it may always speak with itself
const char* common = "common";
const char* ways = "ways";  // what finds out the way
const char* refuse = "refuse";
constexpr std::string_view pods_bridge = "cni0";

unsigned words(bool v4) { return v4 ? 1 : 4; }

template <typename F>
std::string made(F f) {
  rule r;
  f(r);
  return r.take();
}

// Who began the connection, and who answers it.
rule& client(rule& r, bool v4, nft::reg into) {
  return r.ct(v4 ? NFT_CT_SRC_IP : NFT_CT_SRC_IP6, IP_CT_DIR_ORIGINAL, into);
}
rule& server(rule& r, bool v4, nft::reg into) {
  return r.ct(v4 ? NFT_CT_SRC_IP : NFT_CT_SRC_IP6, IP_CT_DIR_REPLY, into);
}
rule& protocol_and_port(rule& r, unsigned from) {
  return r.ct(NFT_CT_PROTOCOL, at(from)).ct(NFT_CT_PROTO_SRC, IP_CT_DIR_REPLY, at(from + 1));
}
rule& in_state(rule& r, std::uint32_t bits) {
  return r.ct(NFT_CT_STATE, at(0)).bits(at(0), nft::key_u32(bits), nft::key_u32(0)).unequal(at(0), nft::key_u32(0));
}
constexpr std::uint32_t invalid = 1, related = 1 << (IP_CT_RELATED % IP_CT_IS_REPLY + 1), untracked = 1 << 6;

std::string chain_of(number policy, bool egress) { return fmt::format("policy-{}-{}", policy, egress ? "out" : "in"); }
std::string chain_of_group(number n) { return fmt::format("group-{}", n); }

std::string accepts_icmp(bool v4, std::uint8_t type) {
  return made([&](rule& r) {
    r.meta(NFT_META_L4PROTO, at(0))
        .equal(at(0), nft::key_u8(v4 ? std::uint8_t{IPPROTO_ICMP} : std::uint8_t{IPPROTO_ICMPV6}));
    r.payload(NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1, at(0)).equal(at(0), nft::key_u8(type)).go(verdict::accept());
  });
}

// Whatever policies say: answers about connections, a pod with itself, and what IPv6 is not without.
std::vector<std::string> common_rules(bool v4) {
  std::vector<std::string> out;
  out.push_back(made([](rule& r) { in_state(r, invalid).go(verdict::drop()); }));
  out.push_back(made([](rule& r) { in_state(r, related).go(verdict::accept()); }));
  out.push_back(made(
      [&](rule& r) { server(client(r, v4, at(0)), v4, at(words(v4))).in_set(self, at(0)).go(verdict::accept()); }));
  for (auto type : {ND_ROUTER_SOLICIT, ND_ROUTER_ADVERT, ND_NEIGHBOR_SOLICIT, ND_NEIGHBOR_ADVERT, ND_REDIRECT})
    if (!v4) out.push_back(accepts_icmp(v4, static_cast<std::uint8_t>(type)));
  return out;
}

// A pod that has no other IPv6 address has one of its link, and to policies that is nobody's: by it pods of one node
// would reach each other, and the node, past all rules. Nothing passes so but what IPv6 is not without.
void keep_to_known_addresses(part& p) {
  const auto of_link = *ip_range::parse("fe80::/10");
  auto bridge = std::string(pods_bridge);
  bridge.resize(IFNAMSIZ);
  for (auto* chain : {"forward-egress", "input-egress"})
    for (bool source : {true, false})
      p.chains[chain].push_back(made([&](rule& r) {
        r.meta(NFT_META_IIFNAME, at(0)).equal(at(0), bridge);
        r.meta(NFT_META_L4PROTO, at(0)).unequal(at(0), nft::key_u8(std::uint8_t{IPPROTO_ICMPV6}));
        (source ? r.source(false, at(0)) : r.destination(false, at(0))).within(at(0), of_link, true);
        r.go(verdict::go_to(refuse));
      }));
}

// What all that NetworkPolicies isolate may do as well, as kube-router has it.
std::vector<std::string> way_rules(bool v4) {
  auto types = v4 ? std::vector<std::uint8_t>{ICMP_ECHOREPLY, ICMP_DEST_UNREACH, ICMP_ECHO, ICMP_TIME_EXCEEDED}
                  : std::vector<std::uint8_t>{ICMP6_DST_UNREACH, ICMP6_PACKET_TOO_BIG, ICMP6_TIME_EXCEEDED,
                                              ICMP6_ECHO_REQUEST, ICMP6_ECHO_REPLY};
  std::vector<std::string> out;
  for (auto type : types) out.push_back(accepts_icmp(v4, type));
  return out;
}

// One rule of a policy: what it is about, and what becomes of that.
class rule_builder {
 public:
  // `name`: of its sets.
  rule_builder(part& sets, std::vector<std::string>& rules, bool v4, bool egress, std::string name)
      : out_(sets), rules_(rules), v4_(v4), egress_(egress), name_(std::move(name)) {}

  void add(const policy_rule& r, const std::vector<number>& peers,
           const std::vector<policy_selection::port_target>& named) {
    verdict_ = r.action == policy_action::accept ? verdict::accept()
               : r.action == policy_action::deny ? verdict::go_to(refuse)
                                                 : verdict::back();
    put_ports(r);
    put_named(named);
    if (!r.peers) decide([](rule&) {});
    for (std::size_t i = 0; i < peers.size(); ++i)
      if (i == 0 || peers[i] != peers[i - 1]) decide([&](rule& x) { peer(x).in_set(peers_set(peers[i]), at(0)); });
    if (r.peers && put_blocks(*r.peers))
      decide([&](rule& x) { peer(x).ct(NFT_CT_PROTOCOL, at(words(v4_))).in_set(blocks_, at(0)); });
    // Where the named ports of egress are, are its peers.
    if (egress_ && !named_.empty()) line([&](rule& x) { named_target(x); });
  }

 private:
  rule& peer(rule& r) { return egress_ ? server(r, v4_, at(0)) : client(r, v4_, at(0)); }
  rule& named_target(rule& r) { return protocol_and_port(server(r, v4_, at(0)), words(v4_)).in_set(named_, at(0)); }
  template <typename F>
  void line(F conditions) {
    rules_.push_back(made([&](rule& r) {
      conditions(r);
      r.go(verdict_);
    }));
  }
  // With each kind of ports that the rule has.
  template <typename F>
  void decide(F conditions) {
    if (any_port_) line(conditions);
    if (!ports_.empty())
      line([&](rule& r) {
        conditions(r);
        protocol_and_port(r, 0).in_set(ports_, at(0));
      });
    if (!egress_ && !named_.empty())
      line([&](rule& r) {
        conditions(r);
        named_target(r);
      });
  }

  void put_ports(const policy_rule& r) {
    any_port_ = !r.ports;
    if (!r.ports) return;
    auto numbers = numbers_of_ports(*r.ports);
    if (numbers.empty()) return;
    ports_ = name_ + "-ports";
    out_.sets[ports_] = {.key = {{datatype::protocol, datatype::port}}, .spans = true};
    for (auto& p : numbers) {
      auto protocol = nft::key_u8(static_cast<std::uint8_t>(p.protocol));
      out_.elements[{ports_, protocol + nft::key_port(p.first), protocol + nft::key_port(p.last)}] = {};
    }
  }
  void put_named(const std::vector<policy_selection::port_target>& named) {
    for (auto& t : named) {
      if (t.address.is_v4() != v4_) continue;
      if (named_.empty()) {
        named_ = name_ + "-named";
        out_.sets[named_] = {.key = {{ip(), datatype::protocol, datatype::port}}};
      }
      out_.elements[{named_, nft::key_address(t.address) + nft::key_u8(static_cast<std::uint8_t>(t.protocol)) +
                                 nft::key_port(t.port)}] = {};
    }
  }
  bool put_blocks(const std::vector<policy_peer>& peers) {
    auto spans = addresses_of_blocks(peers, v4_);
    if (spans.empty()) return false;
    blocks_ = name_ + "-blocks";
    // A set of spans has two parts at least: of any protocol.
    out_.sets[blocks_] = {.key = {{ip(), datatype::protocol}}, .spans = true};
    for (auto& s : spans) out_.elements[{blocks_, s.from + nft::key_u8(0), s.to + nft::key_u8(255)}] = {};
    return true;
  }
  datatype ip() const { return v4_ ? datatype::ipv4 : datatype::ipv6; }

  part& out_;
  std::vector<std::string>& rules_;
  bool v4_, egress_;
  std::string name_;
  bool any_port_ = false;
  verdict verdict_;
  std::string ports_, named_, blocks_;  // sets; empty: there is none
};

}  // namespace

std::vector<nft::base_chain> policy_hooks() {
  // Behind the rules of Services (filter - 110), which refuse what nobody serves.
  return {{"forward-egress", "filter", NF_INET_FORWARD, NF_IP_PRI_FILTER - 100},
          {"forward-ingress", "filter", NF_INET_FORWARD, NF_IP_PRI_FILTER - 99},
          {"input-egress", "filter", NF_INET_LOCAL_IN, NF_IP_PRI_FILTER - 100}};
}

part policy_base(bool v4) {
  part p;
  auto ip = v4 ? datatype::ipv4 : datatype::ipv6;
  for (auto* map : {egress_map, ingress_map}) p.sets[map] = {.key = {{ip}}, .verdicts = true};
  p.sets[self] = {.key = {{ip, ip}}};
  p.chains[common] = common_rules(v4);
  p.chains[ways] = way_rules(v4);
  p.chains[refuse] = {
      made([](rule& r) { r.meta(NFT_META_L4PROTO, at(0)).equal(at(0), nft::key_u8(IPPROTO_TCP)).reset(); }),
      made([&](rule& r) { r.reject(v4); })};
  if (!v4) keep_to_known_addresses(p);
  auto to = [&](const char* chain, auto f) { p.chains[chain].push_back(made(f)); };
  // What has no connection is judged by its own addresses; the groups' chains let nothing of it through.
  to("forward-egress", [&](rule& r) { client(r, v4, at(0)).decide(egress_map, at(0)); });
  to("forward-egress", [&](rule& r) { in_state(r, invalid | untracked).source(v4, at(0)).decide(egress_map, at(0)); });
  to("forward-ingress", [&](rule& r) { server(r, v4, at(0)).decide(ingress_map, at(0)); });
  to("forward-ingress",
     [&](rule& r) { in_state(r, invalid | untracked).destination(v4, at(0)).decide(ingress_map, at(0)); });
  // Of what reaches the node itself only that which a pod began.
  to("input-egress", [&](rule& r) {
    r.ct(NFT_CT_DIRECTION, at(0)).equal(at(0), nft::key_u8(IP_CT_DIR_ORIGINAL));
    client(r, v4, at(0)).decide(egress_map, at(0));
  });
  return p;
}

std::string peers_set(number n) { return fmt::format("peers-{}", n); }
nft::set_options peers_set_options(bool v4) { return {.key = {{v4 ? datatype::ipv4 : datatype::ipv6}}}; }

std::string policy_owner(number n) { return fmt::format("policy/{}", n); }
std::string group_owner(number n) { return fmt::format("group/{}", n); }

cluster_rules rules_of_cluster(bool v4, const policy_selection& all, const policy_selection::policy& p) {
  cluster_rules out;
  for (bool egress : {false, true}) {
    auto& rules = egress ? p.is.egress : p.is.ingress;
    for (std::size_t i = 0; i < rules.size(); ++i)
      rule_builder(out.sets, egress ? out.egress : out.ingress, v4, egress,
                   fmt::format("{}-{}", chain_of(p.number, egress), i))
          .add(rules[i], (egress ? p.egress : p.ingress)[i], all.named_targets(p, egress, i));
  }
  return out;
}

part policy_part(bool v4, const policy_selection& all, const policy_selection::policy& p) {
  if (p.is.tier != policy_tier::network) return rules_of_cluster(v4, all, p).sets;
  part out;
  for (bool egress : {false, true}) {
    if (!(egress ? p.is.isolates_egress : p.is.isolates_ingress)) continue;
    auto chain = chain_of(p.number, egress);
    auto& lines = out.chains[chain];
    auto& rules = egress ? p.is.egress : p.is.ingress;
    auto& peers = egress ? p.egress : p.ingress;
    for (std::size_t i = 0; i < rules.size(); ++i)
      rule_builder(out, lines, v4, egress, fmt::format("{}-{}", chain, i))
          .add(rules[i], peers[i], all.named_targets(p, egress, i));
  }
  return out;
}

part group_part(const policy_selection& all, number n, const policy_selection::group& g,
                const find_cluster_rules& rules_of) {
  part out;
  std::vector<const policy_selection::policy*> in_tier[3];
  for (auto number : g.policies)
    if (auto* p = all.find_policy(number)) in_tier[static_cast<std::size_t>(p->is.tier)].push_back(p);
  auto chain = chain_of_group(n);
  auto& main = out.chains[chain];
  auto go = [&](verdict v) { main.push_back(made([&](rule& r) { r.go(v); })); };
  // The tier's rules in their order; who comes out of its chain goes on to the next tier.
  auto ask_tier = [&](policy_tier tier, const char* name) {
    auto& policies = in_tier[static_cast<std::size_t>(tier)];
    if (policies.empty()) return;
    std::ranges::sort(policies, {}, [](auto* p) { return std::tie(p->is.priority, p->is.name, p->number); });
    auto own = chain + name;
    auto& rules = out.chains[own];
    for (auto* p : policies) {
      auto& more = g.egress ? rules_of(*p).egress : rules_of(*p).ingress;
      rules.insert(rules.end(), more.begin(), more.end());
    }
    go(verdict::jump(own));
  };
  go(verdict::jump(common));
  ask_tier(policy_tier::admin, "-admin");
  auto& isolating = in_tier[static_cast<std::size_t>(policy_tier::network)];
  if (isolating.empty()) {
    ask_tier(policy_tier::baseline, "-baseline");
    return out;
  }
  go(verdict::jump(ways));
  for (auto* p : isolating) go(verdict::jump(chain_of(p->number, g.egress)));
  go(verdict::go_to(refuse));
  return out;
}

part pod_part(bool v4, const policy_selection::pod& p) {
  part out;
  for (auto& a : p.is.addresses) {
    if (a.is_v4() != v4) continue;
    auto key = nft::key_address(a);
    if (p.egress_group) out.elements[{egress_map, key}] = {.go_to = chain_of_group(p.egress_group)};
    if (p.ingress_group) out.elements[{ingress_map, key}] = {.go_to = chain_of_group(p.ingress_group)};
    if (p.egress_group || p.ingress_group) out.elements[{self, key + key}] = {};
  }
  return out;
}

}  // namespace kedge::node
