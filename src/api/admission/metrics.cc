#include "api/admission/metrics.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "api/admission/plugin.h"
#include "reactor/loop.h"

namespace kedge::api {
namespace {

constexpr double bounds[] = {0.005, 0.025, 0.1, 0.5, 1.0, 2.5};

constexpr std::string_view of_plugin_name = "apiserver_admission_controller_admission_duration_seconds",
                           of_plugin_help =
                               "Admission controller latency histogram in seconds, identified by name and broken out "
                               "for each operation and API resource and type (validate or admit).",
                           of_half_name = "apiserver_admission_step_admission_duration_seconds",
                           of_half_help =
                               "Admission sub-step latency histogram in seconds, broken out for each operation and API "
                               "resource and step type (validate or admit).";

}  // namespace

void admission_metrics::took(std::string_view name, bool admits, operation what, bool rejected, duration time) {
  auto at = known_.find(name);
  if (at == known_.end()) at = known_.emplace(std::string(name), cells{}).first;
  auto& cell = at->second[(admits ? 8u : 0u) + static_cast<unsigned>(what) * 2 + (rejected ? 1u : 0u)];
  if (!cell) {
    auto labels = fmt::format(R"(operation="{}",rejected="{}",type="{}")", operation_text(what), rejected,
                              admits ? "admit" : "validate");
    if (!name.empty()) labels = fmt::format(R"(name="{}",{})", name, labels);
    cell = &all_.observations(name.empty() ? of_half_name : of_plugin_name,
                              name.empty() ? of_half_help : of_plugin_help, labels, bounds, core_);
  }
  cell->observe_own(std::chrono::duration<double>(time).count());
}

measured_half::measured_half(admission_metrics* to, bool admits, operation what)
    : to_(to), admits_(admits), what_(what) {
  if (to_) began_ = last_ = reactor::loop::current().now();
}

void measured_half::passed(std::string_view plugin, bool rejected) {
  if (!to_) return;
  const auto now = reactor::loop::current().now();
  to_->took(plugin, admits_, what_, rejected, now - std::exchange(last_, now));
}

void measured_half::ended(bool rejected) {
  if (to_) to_->took({}, admits_, what_, rejected, reactor::loop::current().now() - began_);
}

}  // namespace kedge::api
