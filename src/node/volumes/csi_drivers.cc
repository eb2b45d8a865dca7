#include "node/volumes/csi_drivers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/log.h"
#include "base/strings.h"
#include "node/limits.h"
#include "node/volumes/limits.h"
#include "reactor/loop.h"

namespace kedge::node {

namespace {

using version_numbers = std::array<std::uint64_t, 3>;

std::optional<version_numbers> numbers_of(std::string_view text) {
  if (text.starts_with('v')) text.remove_prefix(1);
  version_numbers out{};
  auto parts = split(text.substr(0, text.find_first_of("-+")), '.');
  if (parts.empty() || parts.size() > out.size()) return std::nullopt;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    auto n = parse_uint(parts[i]);
    if (!n) return std::nullopt;
    out[i] = *n;
  }
  return out;
}

}  // namespace

result<std::string> highest_csi_version(const std::vector<std::string>& versions) {
  std::optional<version_numbers> best;
  for (auto& text : versions)
    if (auto n = numbers_of(text); n && (*n)[0] <= 1 && (!best || *best < *n)) best = n;
  if (!best)
    return fail(errc::unsupported,
                fmt::format("None of the versions specified [{}] are supported", join(versions, " ")));
  return fmt::format("{}.{}.{}", (*best)[0], (*best)[1], (*best)[2]);
}

result<void> csi_drivers::check(const plugin_info& plugin) const {
  auto refuse = [&](std::string_view why) {
    return fail(errc::invalid, fmt::format("validation failed for CSI Driver {} at endpoint {}: {}", plugin.name,
                                           plugin.endpoint, why));
  };
  if (plugin.name.empty()) return refuse("driver name is empty");
  if (plugin.versions.empty()) return refuse("Plugin returned an empty list for supported versions");
  auto version = highest_csi_version(plugin.versions);
  if (!version) return refuse(version.error().message);
  auto known = drivers_.find(plugin.name);
  if (known == drivers_.end() && drivers_.size() >= csi_drivers_max) return refuse("too many are registered");
  if (known != drivers_.end() && numbers_of(known->second.version) >= numbers_of(*version))
    return refuse("Another driver with the same name is already registered with a higher supported version: " +
                  quote(known->second.version));
  return {};
}

task<result<void>> csi_drivers::add(plugin_info plugin) {
  auto driver = std::make_shared<csi_driver>(plugin.name, plugin.endpoint, network_);
  auto info = co_await driver->info();
  if (!info) co_return fail(std::move(info).error().with("rpc error: "));
  KEDGE_CO_CHECK(co_await node_.install(plugin.name, *std::move(info)));
  auto version = highest_csi_version(plugin.versions);
  drivers_.insert_or_assign(plugin.name, entry{std::move(driver), plugin.endpoint, version.value_or("")});
  co_return result<void>();
}

task<void> csi_drivers::remove(plugin_info plugin) {
  auto known = drivers_.find(plugin.name);
  // A newer one of its name stays.
  if (known != drivers_.end() && known->second.endpoint != plugin.endpoint) co_return;
  if (known != drivers_.end()) drivers_.erase(known);
  auto gone = co_await node_.uninstall(plugin.name);
  if (!gone)
    log::warning("CSI driver {} is gone, but the cluster can't be told: {}", plugin.name, gone.error().message);
}

result<std::shared_ptr<csi_driver>> csi_drivers::find(std::string_view name) const {
  auto known = drivers_.find(name);
  if (known == drivers_.end())
    return fail(errc::unavailable, fmt::format("driver name {} not found in the list of registered CSI drivers", name));
  return known->second.driver;
}

task<void> csi_drivers::tell_all() {
  std::string last;
  for (auto pause = api_retry_first;; pause = std::min(pause * 2, api_retry_most)) {
    auto told = co_await node_.begin();
    std::vector<std::shared_ptr<csi_driver>> all;
    for (auto& [name, e] : drivers_) all.push_back(e.driver);
    for (auto& driver : all) {
      if (!told) break;
      auto info = co_await driver->info();
      told = info ? co_await node_.install(driver->name(), *std::move(info)) : result<void>(fail(info.error()));
    }
    if (told) co_return;
    if (told.error().message != last) log::warning("the node's CSINode can't be written: {}", told.error().message);
    last = told.error().message;
    co_await reactor::sleep_for(pause);
  }
}

}  // namespace kedge::node
