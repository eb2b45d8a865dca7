#include "node/pods/seen.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "json/write.h"

namespace kedge::node {

std::string_view find(const text_map& m, std::string_view name) {
  for (auto& [key, value] : m)
    if (key == name) return value;
  return {};
}

const container_seen* pod_seen::newest(std::string_view name) const {
  for (auto& c : containers)
    if (c.name == name) return &c;
  return nullptr;
}

const sandbox_info* pod_seen::active_sandbox() const {
  return !sandboxes.empty() && sandboxes.front().ready ? &sandboxes.front() : nullptr;
}

const container_seen* pod_seen::newest_active(std::string_view name) const {
  auto* active = active_sandbox();
  if (!active) return nullptr;
  for (auto& c : containers)
    if (c.name == name && c.sandbox_id == active->id) return &c;
  return nullptr;
}

bool pod_seen::runs_anything() const {
  for (auto& c : containers)
    if (c.state == container_state::running || c.state == container_state::unknown) return true;
  return false;
}

std::string_view name_of(probe_kind k) {
  switch (k) {
    case probe_kind::startup: return "Startup";
    case probe_kind::liveness: return "Liveness";
    case probe_kind::readiness: return "Readiness";
  }
  return {};
}

const json::value& container_named(const json::value& pod, std::string_view name) {
  static const json::value none;
  for (auto* list : {"containers", "initContainers", "ephemeralContainers"})
    if (auto* all = pod["spec"][list].array())
      for (auto& c : *all)
        if (c["name"].as_string() == name) return c;
  return none;
}

bool is_sidecar(const json::value& c) { return c["restartPolicy"].as_string() == "Always"; }
bool is_host_network(const json::value& pod) { return pod["spec"]["hostNetwork"].as_bool(); }
bool is_being_deleted(const json::value& pod) { return pod["metadata"]["deletionTimestamp"].is_string(); }
bool is_terminal_phase(std::string_view phase) { return phase == "Succeeded" || phase == "Failed"; }

namespace {

constexpr std::string_view restart_all = "RestartAllContainers";

// containers[].restartPolicyRules (KEP-5307): what the first says whose exit codes fit; empty: none does.
std::string_view action_after(const json::value& container, int exit_code) {
  auto* rules = container["restartPolicyRules"].array();
  if (!rules) return {};
  for (auto& rule : *rules) {
    auto& codes = rule["exitCodes"];
    bool in = false;
    if (auto* values = codes["values"].array())
      for (auto& v : *values) in |= v.as_integer(-1) == exit_code;
    if ((codes["operator"].as_string() == "In") != in) continue;
    return rule["action"].as_string();
  }
  return {};
}
bool a_rule_restarts(const json::value& container, int exit_code) {
  auto action = action_after(container, exit_code);
  return action == "Restart" || action == restart_all;
}

// Whether `f` is true of any container but ephemeral ones.
template <typename F>
bool any_container(const json::value& pod, F f) {
  for (auto* list : {"initContainers", "containers"})
    if (auto* all = pod["spec"][list].array())
      if (std::ranges::any_of(*all, f)) return true;
  return false;
}

bool policy_restarts(std::string_view policy, int exit_code) {
  return policy == "OnFailure" ? exit_code != 0 : policy != "Never";
}

}  // namespace

bool restarts_after(const json::value& container, const json::value& pod, int exit_code) {
  if (auto own = container["restartPolicy"].as_string(); !own.empty())
    return a_rule_restarts(container, exit_code) || policy_restarts(own, exit_code);
  return policy_restarts(pod["spec"]["restartPolicy"].as_string(), exit_code);
}

bool restarts_all_after(const json::value& container, int exit_code) {
  return action_after(container, exit_code) == restart_all;
}

bool may_restart_all(const json::value& pod) {
  return any_container(pod, [](const json::value& c) {
    auto* rules = c["restartPolicyRules"].array();
    return rules && std::ranges::any_of(*rules, [](auto& rule) { return rule["action"].as_string() == restart_all; });
  });
}

bool restarts_all(const json::value& pod, const pod_seen& seen) {
  return any_container(pod, [&](const json::value& c) {
    auto* newest = seen.newest(c["name"].as_string());
    return newest && newest->state == container_state::exited && restarts_all_after(c, newest->exit_code);
  });
}

// The kubelet's own, so that neither starts the other's containers anew: FNV-1a of 32 bits over how Go's spew shows the
// bytes of {"image":…,"name":…}, as encoding/json writes them.
std::string hash_of_container(const json::value& container) {
  auto text = json::write(json::object{{"image", container["image"]}, {"name", container["name"]}});
  std::string shown = "([]uint8)[";
  auto show = [&](char c) { fmt::format_to(std::back_inserter(shown), "{} ", static_cast<unsigned char>(c)); };
  for (char c : text)
    if (c == '<' || c == '>' || c == '&')
      for (char e : fmt::format("\\u{:04x}", static_cast<unsigned char>(c))) show(e);
    else
      show(c);
  shown.back() = ']';
  std::uint32_t h = 0x811c9dc5;
  for (char c : shown) h = (h ^ static_cast<unsigned char>(c)) * 0x01000193;
  return fmt::format("{:x}", h);
}

std::string former_hash_of_container(const json::value& container) {
  std::uint64_t h = 0xcbf29ce484222325;  // FNV-1a
  for (auto part : {container["name"].as_string(), container["image"].as_string()}) {
    for (char c : part) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    h = (h ^ 0xff) * 0x100000001b3;
  }
  return fmt::format("{:x}", h);
}

std::string pod_in_messages(const json::value& pod) {
  auto& m = pod["metadata"];
  return fmt::format("{}_{}({})", m["name"].as_string(), m["namespace"].as_string(), m["uid"].as_string());
}

}  // namespace kedge::node
