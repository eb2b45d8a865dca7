#include "api/kinds/batch/job_spec.h"

#include <fmt/format.h>

#include <unordered_set>

#include "api/kinds/core/pod_spec.h"
#include "api/kinds/core/pod_warnings.h"
#include "api/kinds/core/resources.h"
#include "base/strings.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

constexpr std::int64_t indexed_parallelism_max = 100'000, failed_indexes_max = 100'000;
// Above so many completions an index's failures are counted with less of everything else.
constexpr std::int64_t many_completions = 100'000, parallelism_of_many = 10'000, failed_indexes_of_many = 10'000;
constexpr std::size_t failure_rules_max = 20, exit_codes_max = 255, condition_patterns_max = 20, success_rules_max = 20;
constexpr std::size_t managed_by_max = 63, succeeded_indexes_max = 64 * 1024;

std::string any_of(std::initializer_list<std::string_view> values) {
  std::string out;
  for (auto v : values) out += (out.empty() ? "[" : " ") + quote(v);
  return "valid values: " + out + "]";
}

void check_indexed(causes& out, const json::value& spec, const place& at) {
  auto &completions = spec["completions"], &parallelism = spec["parallelism"], &failed = spec["maxFailedIndexes"];
  if (completions.is_null()) out.push_back(required(place(at, "completions"), "when completion mode is Indexed"));
  if (parallelism.as_integer() > indexed_parallelism_max)
    out.push_back(invalid_value(
        place(at, "parallelism"), parallelism,
        fmt::format("must be less than or equal to {} when completion mode is Indexed", indexed_parallelism_max)));
  const place of_failed(at, "maxFailedIndexes");
  if (completions.is_integer() && failed.is_integer() && failed.as_integer() > completions.as_integer())
    out.push_back(invalid_value(of_failed, failed, "must be less than or equal to completions"));
  if (failed.as_integer() > failed_indexes_max)
    out.push_back(
        invalid_value(of_failed, failed, fmt::format("must be less than or equal to {}", failed_indexes_max)));
  if (completions.as_integer() <= many_completions || spec["backoffLimitPerIndex"].is_null()) return;
  constexpr const char* with_many =
      "must be less than or equal to {} when completions are above {} and used with backoff limit per index";
  if (failed.is_null())
    out.push_back(required(of_failed, fmt::format("must be specified when completions is above {}", many_completions)));
  if (parallelism.as_integer() > parallelism_of_many)
    out.push_back(invalid_value(place(at, "parallelism"), parallelism,
                                fmt::format(fmt::runtime(with_many), parallelism_of_many, many_completions)));
  if (failed.as_integer() > failed_indexes_of_many)
    out.push_back(invalid_value(of_failed, failed,
                                fmt::format(fmt::runtime(with_many), failed_indexes_of_many, many_completions)));
}

void check_exit_codes(causes& out, const json::value& rule, const place& at, const name_set& containers) {
  auto op = rule["operator"].as_string();
  if (op.empty())
    out.push_back(required(place(at, "operator"), any_of({"In", "NotIn"})));
  else if (op != "In" && op != "NotIn")
    out.push_back(not_supported(place(at, "operator"), op, {"In", "NotIn"}));
  if (auto& name = rule["containerName"]; name.is_string() && !containers.contains(name.as_string()))
    out.push_back(invalid_value(place(at, "containerName"), name,
                                "must be one of the container or initContainer names in the pod template"));
  auto& values = rule["values"];
  const place of_values(at, "values");
  if (values.empty())
    out.push_back(invalid_value(of_values, values, "at least one value is required"));
  else if (values.size() > exit_codes_max)
    out.push_back(too_many(of_values, values.size(), exit_codes_max));
  bool ordered = true;
  std::unordered_set<std::int64_t> seen;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto code = values[i].as_integer();
    if (op == "In" && code == 0)
      out.push_back(invalid_value(place(of_values, i), code, "must not be 0 for the In operator"));
    if (!seen.insert(code).second) out.push_back(duplicate_value(place(of_values, i), code));
    ordered = ordered && (i == 0 || values[i - 1].as_integer() <= code);
  }
  if (!ordered) out.push_back(invalid_value(of_values, values, "must be ordered"));
}

void check_condition_patterns(causes& out, const json::value& list, const place& at) {
  if (list.size() > condition_patterns_max) out.push_back(too_many(at, list.size(), condition_patterns_max));
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(at, i);
    add_problems(out, place(here, "type"), list[i]["type"].as_string(),
                 check_qualified_name(list[i]["type"].as_string()));
    auto status = list[i]["status"].as_string();
    if (status.empty())
      out.push_back(required(place(here, "status"), any_of({"False", "True", "Unknown"})));
    else if (status != "False" && status != "True" && status != "Unknown")
      out.push_back(not_supported(place(here, "status"), status, {"False", "True", "Unknown"}));
  }
}

void check_failure_policy(causes& out, const json::value& spec, const place& at) {
  auto& rules = spec["podFailurePolicy"]["rules"];
  const place of_rules(at, "podFailurePolicy.rules");
  if (rules.size() > failure_rules_max) out.push_back(too_many(of_rules, rules.size(), failure_rules_max));
  name_set containers;
  for (auto list : {"containers", "initContainers"})
    for (std::size_t i = 0; i < spec["template"]["spec"][list].size(); ++i)
      containers.insert(spec["template"]["spec"][list][i]["name"].as_string());
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const place here(of_rules, i), of_action(here, "action");
    auto& rule = rules[i];
    auto action = rule["action"].as_string();
    if (action.empty())
      out.push_back(required(of_action, any_of({"Count", "FailIndex", "FailJob", "Ignore"})));
    else if (action == "FailIndex" && spec["backoffLimitPerIndex"].is_null())
      out.push_back(invalid_value(of_action, action, "requires the backoffLimitPerIndex to be set"));
    else
      one_of(out, rule, here, "action", {"Count", "FailIndex", "FailJob", "Ignore"});
    const bool by_code = rule["onExitCodes"].is_object(), by_condition = !rule["onPodConditions"].empty();
    if (by_code) check_exit_codes(out, rule["onExitCodes"], place(here, "onExitCodes"), containers);
    if (by_condition) check_condition_patterns(out, rule["onPodConditions"], place(here, "onPodConditions"));
    if (by_code && by_condition)
      out.push_back(invalid_whatever(here, "specifying both OnExitCodes and OnPodConditions is not supported"));
    if (!by_code && !by_condition)
      out.push_back(invalid_whatever(here, "specifying one of OnExitCodes and OnPodConditions is required"));
  }
}

void check_success_rule(causes& out, const json::value& rule, const place& at, std::int64_t completions) {
  auto &count = rule["succeededCount"], &indexes = rule["succeededIndexes"];
  if (count.is_null() && indexes.is_null())
    out.push_back(required(at, "at least one of succeededCount or succeededIndexes must be specified"));
  std::int64_t total = 0;
  if (indexes.is_string()) {
    const place here(at, "succeededIndexes");
    if (indexes.as_string().size() > succeeded_indexes_max) out.push_back(too_long(here, succeeded_indexes_max));
    if (auto n = count_indexes(indexes.as_string(), completions))
      total = *n;
    else
      out.push_back(invalid_value(here, indexes, fmt::format("error parsing succeededIndexes: {}", n.error())));
  }
  if (!count.is_integer()) return;
  const place here(at, "succeededCount");
  not_negative(out, rule, at, "succeededCount");
  if (count.as_integer() > completions)
    out.push_back(invalid_value(
        here, count,
        fmt::format("must be less than or equal to {} (the number of specified completions)", completions)));
  if (indexes.is_string() && count.as_integer() > total)
    out.push_back(invalid_value(
        here, count,
        fmt::format("must be less than or equal to {} (the number of indexes in the specified succeededIndexes field)",
                    total)));
}

void check_success_policy(causes& out, const json::value& spec, const place& at) {
  auto& policy = spec["successPolicy"];
  if (!policy.is_object()) return;
  const place here(at, "successPolicy"), of_rules(here, "rules");
  if (!is_indexed(spec))
    return out.push_back(
        invalid_value(here, internal_form("batch/v1.SuccessPolicy", policy), "requires indexed completion mode"));
  auto& rules = policy["rules"];
  if (rules.empty())
    out.push_back(required(of_rules, "at least one rules must be specified when the successPolicy is specified"));
  if (rules.size() > success_rules_max) out.push_back(too_many(of_rules, rules.size(), success_rules_max));
  // Without completions the rest can't be judged, and its lack is told already.
  for (std::size_t i = 0; i < rules.size() && spec["completions"].is_integer(); ++i)
    check_success_rule(out, rules[i], place(of_rules, i), spec["completions"].as_integer());
}

void check_replacement(causes& out, const json::value& spec, const place& at) {
  auto& policy = spec["podReplacementPolicy"];
  if (policy.is_null()) return;
  if (!spec["podFailurePolicy"].is_object()) {
    if (policy.as_string() != "Failed" && policy.as_string() != "TerminatingOrFailed")
      out.push_back(not_supported(place(at, "podReplacementPolicy"), policy, {"Failed", "TerminatingOrFailed"}));
  } else if (policy.as_string() != "Failed") {
    out.push_back(not_supported(place(at, "podReplacementPolicy"), policy, {"Failed"}));
  }
}

void check_restart_policy(causes& out, const json::value& spec, const place& at) {
  auto policy = spec["template"]["spec"]["restartPolicy"].as_string();
  const place here(at, "template.spec.restartPolicy");
  if (policy.empty() || policy == "Always")
    out.push_back(required(here, "valid values: \"OnFailure\", \"Never\""));
  else if (policy != "OnFailure" && policy != "Never")
    out.push_back(not_supported(here, policy, {"OnFailure", "Never"}));
  else if (spec["podFailurePolicy"].is_object() && policy != "Never")
    out.push_back(invalid_value(here, policy, "only \"Never\" is supported when podFailurePolicy is specified"));
}

}  // namespace

bool is_indexed(const json::value& spec) noexcept { return spec["completionMode"].as_string() == "Indexed"; }

void check_job_spec(causes& out, const json::value& spec, const place& at, const pod_options& options) {
  for (auto member : {"parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
                      "backoffLimitPerIndex", "maxFailedIndexes"})
    not_negative(out, spec, at, member);
  if (!spec["maxFailedIndexes"].is_null() && spec["backoffLimitPerIndex"].is_null())
    out.push_back(required(place(at, "backoffLimitPerIndex"), "when maxFailedIndexes is specified"));
  if (auto& manager = spec["managedBy"]; manager.is_string()) {
    const place here(at, "managedBy");
    check_domain_path(out, manager.as_string(), here);
    if (manager.as_string().size() > managed_by_max) out.push_back(too_long(here, managed_by_max));
  }
  if (auto& mode = spec["completionMode"]; mode.is_string()) {
    one_of(out, spec, at, "completionMode", {"NonIndexed", "Indexed"});
    if (is_indexed(spec)) check_indexed(out, spec, at);
  }
  if (spec["completionMode"].is_null() || spec["completionMode"].as_string() == "NonIndexed")
    for (auto member : {"backoffLimitPerIndex", "maxFailedIndexes"})
      if (!spec[member].is_null())
        out.push_back(invalid_value(place(at, member), spec[member], "requires indexed completion mode"));
  if (spec["podFailurePolicy"].is_object()) check_failure_policy(out, spec, at);
  check_success_policy(out, spec, at);
  check_replacement(out, spec, at);
  check_pod_template(out, spec["template"], place(at, "template"), options);
  check_restart_policy(out, spec, at);
}

void warn_job_spec(warnings& out, const json::value& spec, const place& at) {
  if (is_indexed(spec) && spec["completions"].as_integer() > many_completions &&
      spec["parallelism"].as_integer() > parallelism_of_many)
    out.push_back(
        fmt::format("{}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than "
                    "10^4, Kubernetes might not "
                    "be able to track completedIndexes when a big number of indexes fail",
                    at.text()));
  warn_pod_template(out, spec["template"], place(at, "template"));
}

}  // namespace kedge::api
