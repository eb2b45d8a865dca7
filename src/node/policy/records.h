// records.h: what a node uses of policies, NetworkPolicies and those of the whole cluster (policy.networking.k8s.io),
// and of the pods and namespaces that they speak of.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "json/value.h"
#include "meta/selector.h"
#include "node/services/records.h"

namespace kedge::node {

struct named_port {
  std::string name;
  transport protocol = transport::tcp;
  std::uint16_t port = 0;
  friend bool operator==(const named_port&, const named_port&) noexcept = default;
};

struct pod_record {
  std::string name_space, uid, node;
  std::string labels;  // as JSON text
  std::vector<ip_address> addresses;
  std::vector<named_port> ports;
  friend bool operator==(const pod_record&, const pod_record&) noexcept = default;
};
// nullopt: on the host's network, or at its end, when its address may be another's already.
std::optional<pod_record> decode_policy_pod(const json::value& pod);

struct namespace_record {
  std::string labels;  // as JSON text
  friend bool operator==(const namespace_record&, const namespace_record&) noexcept = default;
};
std::optional<namespace_record> decode_policy_namespace(const json::value& name_space);

// A LabelSelector, known by its text.
struct selector_record {
  std::string text;
  api::label_selector is;
  friend bool operator==(const selector_record& a, const selector_record& b) noexcept { return a.text == b.text; }
};

struct address_block {
  ip_range range;
  std::vector<ip_range> except;
  friend bool operator==(const address_block&, const address_block&) noexcept = default;
};

// Pods, by one of the selectors or both, or a block.
struct policy_peer {
  std::optional<selector_record> pods, namespaces;
  std::optional<address_block> block;
  friend bool operator==(const policy_peer&, const policy_peer&) noexcept = default;
};

struct policy_port {
  transport protocol = transport::tcp;
  std::uint16_t first = 0, last = 65535;
  std::string name = {};  // of a container's port; then the numbers don't count
  friend bool operator==(const policy_port&, const policy_port&) noexcept = default;
};

// In the order in which they are asked; what none of them decides is allowed.
enum class policy_tier : unsigned char { admin, network, baseline };
// Of a connection that a rule is about. A NetworkPolicy's rules accept; `pass` leaves it to the next tier.
enum class policy_action : unsigned char { accept, deny, pass };

struct policy_rule {
  // nullopt: all of them. An empty list, of which nothing could be understood, is none.
  std::optional<std::vector<policy_peer>> peers;
  std::optional<std::vector<policy_port>> ports;
  policy_action action = policy_action::accept;
  friend bool operator==(const policy_rule&, const policy_rule&) noexcept = default;
};

struct policy_record {
  std::string name_space, name;
  selector_record pods;
  bool isolates_ingress = false, isolates_egress = false;
  std::vector<policy_rule> ingress, egress;
  policy_tier tier = policy_tier::network;
  // Of the other tiers: whose pods they are about, in any namespace, and the place in the tier (the lowest is asked
  // first). Their rules are asked in their order, and what they have none for in a direction isn't their business.
  std::optional<policy_peer> subject = {};
  std::int64_t priority = 0;
  friend bool operator==(const policy_record&, const policy_record&) noexcept = default;
};
std::optional<policy_record> decode_policy(const json::value& policy);
// ClusterNetworkPolicy; AdminNetworkPolicy and BaselineAdminNetworkPolicy, from which it came. A rule with a peer of a
// kind that isn't known here (nodes, domain names) fails closed: one that accepts is about nobody, another denies all.
std::optional<policy_record> decode_cluster_policy(const json::value& policy);
std::optional<policy_record> decode_admin_policy(const json::value& policy);
std::optional<policy_record> decode_baseline_policy(const json::value& policy);

}  // namespace kedge::node
