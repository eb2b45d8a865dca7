// rules.h: policies as nftables, one table a family. Pure: what each part of the table is.
//
//   forward ─▶ egress  (the connection's client)  ─▶ group's chain ─▶ its policies' chains ─▶ accepted | refused
//           ─▶ ingress (who answers it)           ─▶ …
//   input   ─▶ egress: what pods ask of their node
//   forward, input of IPv6 ─▶ from or to an address of the pods' link alone: refused
//
//   group's chain ─▶ admin tier, rule by rule ─▶ its NetworkPolicies; when it has none, the baseline tier
//
// Policies of the whole cluster have an order and say no as well as yes: their rules stand in each group's own chain
// for the tier, where returning is what passes a connection on.
//
// Each packet is judged by its connection: by who began it, and by who really answers, whatever Services made of the
// addresses. So both directions of it have one fate, one that began before a policy is cut by it, and no memory of
// connections has to be cleaned. Connections of the node itself begin at its output hook, where nothing is asked:
// probes pass. Pods that no policy isolates cost one look into a map.
//
// What was accepted as egress is still judged as ingress: these are two chains at the hook, and an accept ends one.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "node/nft/table.h"
#include "node/policy/selection.h"

namespace kedge::node {

inline constexpr const char* policies_table = "kedge-policies";

nft::part policy_base(bool v4);
std::vector<nft::base_chain> policy_hooks();

// Addresses of pods that rules name.
std::string peers_set(policy_selection::number n);
nft::set_options peers_set_options(bool v4);

// Owners of parts, by number; a policy keeps its number as long as it is there.
std::string policy_owner(policy_selection::number n);
std::string group_owner(policy_selection::number n);

// What a policy of the whole cluster says: rules, which stand in the chains of its groups, and the sets in which they
// look, which are the policy's own: they may be large, and groups many.
struct cluster_rules {
  nft::part sets;
  std::vector<std::string> ingress, egress;
};
cluster_rules rules_of_cluster(bool v4, const policy_selection& all, const policy_selection::policy& p);
using find_cluster_rules = std::function<const cluster_rules&(const policy_selection::policy&)>;

// A policy's chains, or of one of the whole cluster its sets; what leads to them is its pods' groups.
nft::part policy_part(bool v4, const policy_selection& all, const policy_selection::policy& p);
nft::part group_part(const policy_selection& all, policy_selection::number n, const policy_selection::group& g,
                     const find_cluster_rules& rules_of);
// A pod of this node: its addresses lead to its groups.
nft::part pod_part(bool v4, const policy_selection::pod& p);

}  // namespace kedge::node
