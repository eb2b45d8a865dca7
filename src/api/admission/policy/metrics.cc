#include "api/admission/policy/metrics.h"

#include <fmt/format.h>

#include <array>
#include <chrono>

namespace kedge::api::policy {
namespace {

constexpr std::array bounds{0.0000005, 0.001, 0.01, 0.1, 1.0};

std::string_view type_of(std::string_view error) {
  if (error.empty()) return "no_error";
  if (error.find("compilation") != error.npos) return "compile_error";
  if (error.find("cost budget") != error.npos) return "out_of_budget";
  return "invalid_error";
}

double seconds(duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

void policy_metrics::validated(std::string_view policy, std::string_view binding, std::string_view error,
                               std::string_view action, duration took) {
  if (!all_) return;
  const auto labels = fmt::format(R"(enforcement_action="{}",error_type="{}",policy="{}",policy_binding="{}")", action,
                                  type_of(error), policy, binding);
  all_->counter("apiserver_validating_admission_policy_check_total",
                "Validation admission policy check total, labeled by policy and further identified by binding and "
                "enforcement action taken.",
                labels)
      .add();
  all_->observations("apiserver_validating_admission_policy_check_duration_seconds",
                     "Validation admission latency for individual validation expressions in seconds, labeled by policy "
                     "and further including binding and enforcement action taken.",
                     labels, bounds)
      .observe(seconds(took));
}

void policy_metrics::mutated(std::string_view policy, std::string_view binding, std::string_view error, duration took) {
  if (!all_) return;
  const auto labels =
      fmt::format(R"(error_type="{}",policy="{}",policy_binding="{}")", type_of(error), policy, binding);
  all_->counter("apiserver_mutating_admission_policy_check_total",
                "Mutation admission policy check total, labeled by policy and further identified by binding.", labels)
      .add();
  all_->observations("apiserver_mutating_admission_policy_check_duration_seconds",
                     "Mutation admission latency for individual mutation expressions in seconds, labeled by policy and "
                     "binding.",
                     labels, bounds)
      .observe(seconds(took));
}

}  // namespace kedge::api::policy
