// node_state.h: what the node life cycle reads of a Node, and what it makes of one: conditions, taints, labels. Pure.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "json/value.h"

namespace kedge::control {

inline constexpr std::string_view taint_not_ready = "node.kubernetes.io/not-ready";
inline constexpr std::string_view taint_unreachable = "node.kubernetes.io/unreachable";
inline constexpr std::string_view taint_out_of_service = "node.kubernetes.io/out-of-service";
inline constexpr std::string_view no_execute = "NoExecute";
inline constexpr std::string_view no_schedule = "NoSchedule";

struct taint {
  std::string_view key, effect;
  friend bool operator==(const taint&, const taint&) = default;
};
bool has_taint(const json::value& node, const taint& t) noexcept;
// spec.taints without `gone` and with `added` at its end, with the time; nullopt where that is so already.
std::optional<json::value> with_taints(const json::value& node, std::span<const taint> added,
                                       std::span<const taint> gone, wall_time now);

// A condition's lack of a status is "Unknown" of what no kubelet has posted. False when Ready says so already.
bool mark_unknown(json::value& node, wall_time now);

// The NoSchedule taints that follow from conditions and spec.unschedulable, and the labels of old names. nullopt: all
// is so already.
std::optional<json::value> settled_node(const json::value& node, wall_time now);

}  // namespace kedge::control
