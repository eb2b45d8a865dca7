// node_status.h: the Node object that a node writes about itself, as a pure function of what it was told, what the
// machine is, and what the runtime says.
//
//   config, machine, runtime ──▶ describe_node ──▶ the whole Node as it should be
//                                                    │ not there: create it
//                                                    ▼ there: registration_patch (labels, annotations), status_patch
//
// What others own is never touched: podCIDR, taints after creation, foreign labels and annotations, foreign conditions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "json/value.h"
#include "node/config.h"
#include "node/devices/ledger.h"
#include "node/machine/system_info.h"
#include "node/resources/eviction.h"
#include "node/runtime/runtime_state.h"

namespace kedge::node {

// What the rest is made from. `config.node_name` and `config.node_ips` are resolved (not empty).
struct node_facts {
  const agent_config& config;
  const system_info& machine;
  const runtime_state& runtime;
  node_pressure pressure;
  std::vector<std::string> volumes_in_use = {};  // that servers attach, by their unique names
  bool goes_down = false;                        // the machine
  device_counts devices = {};                    // of plugins
};

// errc::invalid: a label or taint of the configuration is malformed (the message names it).
result<void> check_config(const agent_config& config);

// `previous` is the Node as last seen, or null: conditions keep their transition times from it.
json::value describe_node(const node_facts& facts, const json::value& previous, wall_time now);

// A strategic merge patch that gives an existing Node our labels, annotations and (when it has none) provider id; null
// when nothing is missing.
json::value registration_patch(const json::value& existing, const json::value& wanted);

// A strategic merge patch for the status subresource with all parts that differ, and always the conditions (their
// heartbeat); null when nothing but heartbeats differs and `heartbeat_due` is false.
json::value status_patch(const json::value& existing, const json::value& wanted, bool heartbeat_due);

// The merge patch that makes a node a server's: node-role.kubernetes.io/control-plane=true. Null when it is one.
json::value server_role_patch(const json::value& existing);

// The condition's status ("True"), or empty.
std::string_view condition_status(const json::value& node, std::string_view type);

// The reasons of the events that the kubelet tells when conditions change.
std::vector<std::string_view> reasons_of_changes(const json::value& before, const json::value& now);

// The Lease of kube-node-lease; `owner` is the Node, `previous` the Lease as last answered (null to create).
json::value node_lease(const json::value& owner, const json::value& previous, wall_time now);

// An Event about the node as the kubelet writes it; the time makes the name unique.
json::value node_event(std::string_view node_name, std::string_view type, std::string_view reason,
                       std::string_view message, wall_time now);

}  // namespace kedge::node
