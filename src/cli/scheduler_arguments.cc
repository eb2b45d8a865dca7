// scheduler_arguments.cc: --kube-scheduler-arg: what kube-scheduler is told, as far as it means something here. What
// kube-scheduler itself doesn't have is an error.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/strings.h"
#include "cli/component_flags.h"
#include "cli/options_load.h"
#include "crypto/files.h"

namespace kedge::cli {
namespace {

using control::scheduler::configuration;

// Of a file that people write by hand.
constexpr std::size_t file_max_bytes = 1 << 20;

result<configuration> read_configuration(const std::string& path) {
  auto about = [&](std::string_view why) {
    return fail(errc::invalid, fmt::format("--kube-scheduler-arg=config: {}: {}", path, why));
  };
  auto text = crypto::read_file(path, file_max_bytes);
  if (!text) return about(text.error().message);
  auto read = control::scheduler::parse_configuration(*text);
  if (!read) return about(read.error().message);
  return read;
}

}  // namespace

result<std::shared_ptr<const configuration>> read_scheduler_arguments(std::span<const std::string> arguments,
                                                                      std::vector<std::string>& warnings) {
  auto read = control::scheduler::default_configuration();
  std::optional<duration> unschedulable_most;
  for (std::string_view given : arguments) {
    while (given.starts_with('-')) given.remove_prefix(1);  // `--kube-scheduler-arg=--v=2` works with K3s
    const auto equals = given.find('=');
    const auto name = given.substr(0, equals);
    const auto value = equals == std::string_view::npos ? std::string_view() : given.substr(equals + 1);
    if (name == "config") {
      KEDGE_TRY(read, read_configuration(std::string(value)));
    } else if (name == "pod-max-in-unschedulable-pods-duration") {
      auto most = parse_duration(value);
      if (!most || *most <= duration::zero())
        return fail(errc::invalid,
                    fmt::format("--kube-scheduler-arg={}: {} is not a duration such as 5m0s", name, quote(value)));
      unschedulable_most = *most;
    } else if (is_flag_of_every_component(name) || name == "write-config-to") {
      warnings.push_back(fmt::format("--kube-scheduler-arg={} has no effect in Kedge", name));
    } else {
      return fail(errc::invalid, fmt::format("--kube-scheduler-arg={}: kube-scheduler has no such flag", name));
    }
  }
  for (auto& what : read.without_effect)
    warnings.push_back(fmt::format("--kube-scheduler-arg=config: {} has no effect in Kedge", what));
  if (unschedulable_most) read.unschedulable_most = *unschedulable_most;
  return std::make_shared<const configuration>(std::move(read));
}

}  // namespace kedge::cli
