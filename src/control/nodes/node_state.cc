#include "control/nodes/node_state.h"

#include <algorithm>

#include "control/conditions.h"

namespace kedge::control {

namespace {

// Conditions by the taint that one of their statuses means.
struct meaning {
  std::string_view condition, status, taint;
};
constexpr meaning meanings[] = {
    {"Ready", "False", taint_not_ready},
    {"Ready", "Unknown", taint_unreachable},
    {"MemoryPressure", "True", "node.kubernetes.io/memory-pressure"},
    {"DiskPressure", "True", "node.kubernetes.io/disk-pressure"},
    {"NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"},
    {"PIDPressure", "True", "node.kubernetes.io/pid-pressure"},
};
constexpr std::string_view taint_unschedulable = "node.kubernetes.io/unschedulable";

// What a node that posts nothing says nothing about. NetworkUnavailable isn't the kubelet's.
constexpr std::string_view posted_by_kubelets[] = {"Ready", "MemoryPressure", "DiskPressure", "PIDPressure"};

// Old names of labels, which follow the new ones.
constexpr std::pair<std::string_view, std::string_view> old_labels[] = {
    {"kubernetes.io/os", "beta.kubernetes.io/os"}, {"kubernetes.io/arch", "beta.kubernetes.io/arch"}};

bool follows_from_conditions(std::string_view key) {
  return key == taint_unschedulable || std::ranges::any_of(meanings, [&](auto& m) { return m.taint == key; });
}

std::vector<taint> wanted_taints(const json::value& node) {
  std::vector<taint> out;
  auto& list = node["status"]["conditions"];
  for (std::size_t i = 0; i < list.size(); ++i)
    for (auto& m : meanings)
      if (list[i]["type"].as_string() == m.condition && list[i]["status"].as_string() == m.status)
        out.push_back({m.taint, no_schedule});
  if (node["spec"]["unschedulable"].as_bool()) out.push_back({taint_unschedulable, no_schedule});
  return out;
}

taint taint_in(const json::value& v) { return {v["key"].as_string(), v["effect"].as_string()}; }

bool labels_settled(const json::value& node) {
  auto& labels = node["metadata"]["labels"];
  return std::ranges::all_of(old_labels,
                             [&](auto& l) { return !labels.find(l.first) || labels[l.first] == labels[l.second]; });
}

void settle_labels(json::value& node) {
  for (auto& [name, old] : old_labels)
    if (auto* v = node["metadata"]["labels"].find(name)) {
      auto value = *v;
      node.member("metadata").member("labels").set(old, std::move(value));
    }
}

}  // namespace

bool has_taint(const json::value& node, const taint& t) noexcept {
  auto& list = node["spec"]["taints"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (taint_in(list[i]) == t) return true;
  return false;
}

std::optional<json::value> with_taints(const json::value& node, std::span<const taint> added,
                                       std::span<const taint> gone, wall_time now) {
  json::array next;
  bool changed = false;
  auto& list = node["spec"]["taints"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (std::ranges::find(gone, taint_in(list[i])) != gone.end())
      changed = true;
    else
      next.push_back(list[i]);
  }
  for (auto& t : added) {
    if (has_taint(node, t)) continue;
    next.push_back(json::object{{"key", t.key}, {"effect", t.effect}, {"timeAdded", format_rfc3339(now)}});
    changed = true;
  }
  if (!changed) return std::nullopt;
  auto out = node;
  if (next.empty())
    out.member("spec").erase("taints");
  else
    out.member("spec").set("taints", std::move(next));
  return out;
}

bool mark_unknown(json::value& node, wall_time now) {
  if (condition_status(node, "Ready") == "Unknown") return false;
  auto created = std::string(node["metadata"]["creationTimestamp"].as_string());
  for (auto type : posted_by_kubelets) {
    auto& there = condition_of(node, type);
    if (there.is_null()) {
      set_condition(node, {std::string(type), "Unknown", "NodeStatusNeverUpdated", "Kubelet never posted node status."},
                    now);
      for (auto& c : *node.member("status").member("conditions").array())
        if (c["type"].as_string() == type) c.set("lastHeartbeatTime", created);
    } else if (there["status"].as_string() != "Unknown") {
      set_condition(node, {std::string(type), "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status."},
                    now);
    }
  }
  return true;
}

std::optional<json::value> settled_node(const json::value& node, wall_time now) {
  auto wanted = wanted_taints(node);
  std::vector<taint> gone;
  auto& list = node["spec"]["taints"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto t = taint_in(list[i]);
    if (t.effect == no_schedule && follows_from_conditions(t.key) && std::ranges::find(wanted, t) == wanted.end())
      gone.push_back(t);
  }
  auto tainted = with_taints(node, wanted, gone, now);
  if (labels_settled(node)) return tainted;
  auto out = tainted ? *std::move(tainted) : node;
  settle_labels(out);
  return out;
}

}  // namespace kedge::control
