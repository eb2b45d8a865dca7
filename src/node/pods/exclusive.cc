#include "node/pods/exclusive.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "node/pods/configs.h"
#include "pod/amounts.h"

namespace kedge::node {

namespace {

using json::value;

// Calls `f` with each container of a pod that is to have something for itself: its requests (its limits, where it says
// no more), whether it is an init container, and whether it stays.
template <typename F>
void each_container(const value& pod, F f) {
  if (qos_class(pod) != "Guaranteed") return;
  if (auto* whole = pod["spec"]["resources"].object(); whole && !whole->empty()) return;
  for (auto* list : {"initContainers", "containers"}) {
    auto* all = pod["spec"][list].array();
    if (!all) continue;
    const bool is_init = std::string_view(list) == "initContainers";
    for (auto& c : *all) {
      auto asked = pod::amounts_of(c["resources"]["limits"]);
      for (auto& [name, amount] : pod::amounts_of(c["resources"]["requests"])) asked.insert_or_assign(name, amount);
      f(std::string(c["name"].as_string()), asked, is_init, is_init && is_sidecar(c));
    }
  }
}

}  // namespace

std::vector<cpu_need> cpu_needs_of(const value& pod) {
  std::vector<cpu_need> out;
  each_container(pod, [&](std::string name, const pod::amounts& asked, bool is_init, bool stays) {
    auto cpu = asked.find("cpu");
    if (cpu == asked.end() || cpu->second.milli_value() % 1000 != 0) return;
    out.push_back({.container = std::move(name),
                   .count = static_cast<int>(cpu->second.value()),
                   .is_init = is_init,
                   .stays = stays});
  });
  std::erase_if(out, [](auto& n) { return n.count == 0; });
  return out;
}

std::vector<memory_need> memory_needs_of(const value& pod) {
  std::vector<memory_need> out;
  each_container(pod, [&](std::string name, const pod::amounts& asked, bool is_init, bool stays) {
    auto& need = out.emplace_back();
    need.container = std::move(name);
    need.is_init = is_init;
    need.stays = stays;
    for (auto& [type, amount] : asked) {
      if (!is_memory_type(type)) continue;
      auto bytes = amount.exact_integer();
      need.is_whole &= bytes.has_value();
      need.asked[type] = static_cast<std::uint64_t>(std::max<std::int64_t>(bytes.value_or(0), 0));
    }
  });
  return out;
}

}  // namespace kedge::node
