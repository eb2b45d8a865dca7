#include "control/scheduler/resources.h"

#include <algorithm>

namespace kedge::control::scheduler {

bool is_extended(std::string_view name) noexcept {
  return name.find('/') != std::string_view::npos && name.find("kubernetes.io/") == std::string_view::npos &&
         !name.starts_with("requests.");
}

bool is_scalar(std::string_view name) noexcept {
  return is_extended(name) || name.starts_with("hugepages-") || name.find("kubernetes.io/") != std::string_view::npos ||
         name.starts_with("attachable-volumes-");
}

bool may_be_devices(std::string_view name) noexcept {
  return is_extended(name) || name.starts_with(device_class_prefix);
}

resources resources::of(const pod::amounts& list) {
  resources out;
  for (auto& [name, amount] : list) {
    if (name == "cpu")
      out.milli_cpu = amount.milli_value();
    else if (name == "memory")
      out.memory = amount.value();
    else if (name == "ephemeral-storage")
      out.ephemeral_storage = amount.value();
    else if (is_scalar(name))
      out.scalars.emplace_back(name, amount.value());  // the map is sorted
  }
  return out;
}

static auto place_of(auto& scalars, std::string_view name) {
  return std::lower_bound(scalars.begin(), scalars.end(), name,
                          [](auto& a, std::string_view n) { return a.first < n; });
}

std::int64_t resources::scalar(std::string_view name) const noexcept {
  auto at = place_of(scalars, name);
  return at != scalars.end() && at->first == name ? at->second : 0;
}

bool resources::names(std::string_view name) const noexcept {
  auto at = place_of(scalars, name);
  return at != scalars.end() && at->first == name;
}

std::int64_t resources::get(std::string_view name) const noexcept {
  if (name == "cpu") return milli_cpu;
  if (name == "memory") return memory;
  if (name == "ephemeral-storage") return ephemeral_storage;
  return scalar(name);
}

void resources::add(const resources& more, std::int64_t times) {
  milli_cpu += times * more.milli_cpu;
  memory += times * more.memory;
  ephemeral_storage += times * more.ephemeral_storage;
  for (auto& [name, amount] : more.scalars) {
    auto at = place_of(scalars, name);
    if (at == scalars.end() || at->first != name) at = scalars.emplace(at, name, 0);
    at->second += times * amount;
  }
}

void resources::raise(const resources& least) {
  milli_cpu = std::max(milli_cpu, least.milli_cpu);
  memory = std::max(memory, least.memory);
  ephemeral_storage = std::max(ephemeral_storage, least.ephemeral_storage);
  for (auto& [name, amount] : least.scalars) {
    auto at = place_of(scalars, name);
    if (at == scalars.end() || at->first != name) at = scalars.emplace(at, name, amount);
    at->second = std::max(at->second, amount);
  }
}

}  // namespace kedge::control::scheduler
