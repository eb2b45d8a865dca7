#include "control/workloads/job_policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/strings.h"
#include "control/conditions.h"
#include "control/owners.h"
#include "control/pods.h"

namespace kedge::control {
namespace {

constexpr std::chrono::seconds wait_first{10}, wait_most{600};

std::int64_t counted_note(const json::value& pod, std::string_view note) {
  auto n = parse_int(pod["metadata"]["annotations"][note].as_string()).value_or(0);
  return n < 0 || n > std::numeric_limits<std::int32_t>::max() ? 0 : n;
}

// The container that ended with a code that the rule means.
const json::value* ended_like(const json::value& statuses, const json::value& rule) {
  auto& values = rule["values"];
  for (std::size_t i = 0; i < statuses.size(); ++i) {
    auto& ended = statuses[i]["state"]["terminated"];
    auto code = ended["exitCode"].as_integer();
    if (ended.is_null() || code == 0) continue;
    if (auto& only = rule["containerName"]; !only.is_null() && only.as_string() != statuses[i]["name"].as_string())
      continue;
    bool listed = false;
    for (std::size_t v = 0; v < values.size(); ++v) listed |= values[v].as_integer() == code;
    if (rule["operator"].as_string() == "In" ? listed : rule["operator"].as_string() == "NotIn" && !listed)
      return &statuses[i];
  }
  return nullptr;
}

const json::value* condition_like(const json::value& pod, const json::value& patterns) {
  auto& conditions = pod["status"]["conditions"];
  for (std::size_t c = 0; c < conditions.size(); ++c)
    for (std::size_t p = 0; p < patterns.size(); ++p)
      if (conditions[c]["type"].as_string() == patterns[p]["type"].as_string() &&
          conditions[c]["status"].as_string() == patterns[p]["status"].as_string("True"))
        return &conditions[c];
  return nullptr;
}

}  // namespace

bool is_indexed(const json::value& job) noexcept { return job["spec"]["completionMode"].as_string() == "Indexed"; }
bool replaces_only_failed(const json::value& job) noexcept {
  return job["spec"]["podReplacementPolicy"].as_string() == "Failed";
}

bool has_failed(const json::value& pod, const json::value& job) noexcept {
  if (phase_of(pod) == "Failed") return true;
  return !replaces_only_failed(job) && is_deleting(pod) && phase_of(pod) != "Succeeded";
}

std::int64_t index_of(const json::value& pod) noexcept {
  auto n = parse_int(pod["metadata"]["annotations"][index_note].as_string());
  return n && *n >= 0 ? *n : -1;
}

std::int64_t failures_before(const json::value& pod, bool all) noexcept {
  return counted_note(pod, "batch.kubernetes.io/job-index-failure-count") +
         (all ? counted_note(pod, "batch.kubernetes.io/job-index-ignored-failure-count") : 0);
}

failure_verdict judge_failure(const json::value& job, const json::value& pod) {
  auto& rules = job["spec"]["podFailurePolicy"]["rules"];
  for (std::size_t i = 0; i < rules.size(); ++i) {
    auto& rule = rules[i];
    auto action = rule["action"].as_string();
    auto& codes = rule["onExitCodes"];
    auto ended = codes.is_null() ? nullptr : ended_like(pod["status"]["containerStatuses"], codes);
    if (!ended && !codes.is_null()) ended = ended_like(pod["status"]["initContainerStatuses"], codes);
    auto condition = codes.is_null() ? condition_like(pod, rule["onPodConditions"]) : nullptr;
    if (!ended && !condition) continue;
    if (action == "Ignore") return {.counts = false};
    if (action == "FailIndex") return {.fails_index = true};
    if (action == "Count") return {};
    auto& m = pod["metadata"];
    if (action == "FailJob" && ended)
      return {.fails_job =
                  fmt::format("Container {} for pod {}/{} failed with exit code {} matching FailJob rule at index {}",
                              (*ended)["name"].as_string(), m["namespace"].as_string(), m["name"].as_string(),
                              (*ended)["state"]["terminated"]["exitCode"].as_integer(), i)};
    if (action == "FailJob")
      return {.fails_job =
                  fmt::format("Pod {}/{} has condition {} matching FailJob rule at index {}",
                              m["namespace"].as_string(), m["name"].as_string(), (*condition)["type"].as_string(), i)};
  }
  return {};
}

std::optional<std::string> success_met(const json::value& job, const index_set& succeeded) {
  auto& rules = job["spec"]["successPolicy"]["rules"];
  if (succeeded.empty()) return std::nullopt;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    auto& rule = rules[i];
    auto& count = rule["succeededCount"];
    bool met = false;
    if (auto& indexes = rule["succeededIndexes"]; indexes.is_string()) {
      auto required = index_set::parse(indexes.as_string(), job["spec"]["completions"].as_integer());
      auto n = required.in_common(succeeded);
      met = !required.empty() && (n == required.count() || (count.is_integer() && n >= count.as_integer()));
    } else {
      met = count.is_integer() && succeeded.count() >= count.as_integer();
    }
    if (met) return fmt::format("Matched rules at index {}", i);
  }
  return std::nullopt;
}

bool too_many_restarts(const json::value& job, const std::vector<const json::value*>& pods) {
  if (job["spec"]["template"]["spec"]["restartPolicy"].as_string() != "OnFailure") return false;
  std::int64_t restarts = 0;
  for (auto pod : pods) {
    if (phase_of(*pod) != "Running" && phase_of(*pod) != "Pending") continue;
    for (auto list : {"initContainerStatuses", "containerStatuses"})
      for (std::size_t i = 0; i < (*pod)["status"][list].size(); ++i)
        restarts += (*pod)["status"][list][i]["restartCount"].as_integer();
  }
  auto limit = job["spec"]["backoffLimit"].as_integer();
  return limit == 0 ? restarts > 0 : restarts >= limit;
}

wall_time end_of(const json::value& pod) {
  auto& status = pod["status"];
  std::optional<wall_time> last;
  bool all = true;
  auto see = [&](const json::value& container) {
    auto t = parse_rfc3339(container["state"]["terminated"]["finishedAt"].as_string());
    t ? void(last = last ? std::max(*last, *t) : *t) : void(all = false);
  };
  for (std::size_t i = 0; i < status["containerStatuses"].size(); ++i) see(status["containerStatuses"][i]);
  auto& init = pod["spec"]["initContainers"];
  for (std::size_t i = 0; i < init.size(); ++i)
    if (init[i]["restartPolicy"].as_string() == "Always")
      for (std::size_t s = 0; s < status["initContainerStatuses"].size(); ++s)
        if (status["initContainerStatuses"][s]["name"] == init[i]["name"]) see(status["initContainerStatuses"][s]);
  if (all && last) return *last;
  auto& ready = condition_of(pod, "Ready");
  if (auto t = parse_rfc3339(ready["lastTransitionTime"].as_string()); t && ready["status"].as_string() == "False")
    return *t;
  auto& m = pod["metadata"];
  if (auto t = parse_rfc3339(m["deletionTimestamp"].as_string()))
    return *t - std::chrono::seconds(m["deletionGracePeriodSeconds"].as_integer());
  auto created = parse_rfc3339(m["creationTimestamp"].as_string());
  return created ? *created : wall_time();
}

duration wait_after(std::int64_t failures, wall_time last, wall_time now) {
  if (failures <= 0) return duration::zero();
  auto wait = wait_first;
  for (std::int64_t i = 1; i < failures && wait < wait_most; ++i) wait = std::min(2 * wait, wait_most);
  auto left = last + wait - now;
  return left > wall_time::duration::zero() ? duration(left) : duration::zero();
}

}  // namespace kedge::control
