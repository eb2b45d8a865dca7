// job_policy.h: what a Job makes of its pods' ends: which failures count, when an index or the whole is given up, when
// enough has succeeded, how long the next try waits. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "control/workloads/indexes.h"
#include "json/value.h"

namespace kedge::control {

inline constexpr std::string_view index_note = "batch.kubernetes.io/job-completion-index";

bool is_indexed(const json::value& job) noexcept;
bool replaces_only_failed(const json::value& job) noexcept;  // not those that are being deleted
// Failed; or on its way out, where that is replaced already.
bool has_failed(const json::value& pod, const json::value& job) noexcept;
std::int64_t index_of(const json::value& pod) noexcept;  // -1: none
// Failures of the index before this pod, by its annotations; those that weren't counted too.
std::int64_t failures_before(const json::value& pod, bool all) noexcept;

struct failure_verdict {
  bool counts = true;
  bool fails_index = false;
  std::optional<std::string> fails_job;  // the message
};
// spec.podFailurePolicy on a failed pod (KEP-3329).
failure_verdict judge_failure(const json::value& job, const json::value& pod);

// spec.successPolicy (KEP-3998): the message when it is met.
std::optional<std::string> success_met(const json::value& job, const index_set& succeeded);

// Restarts of containers in pods of restartPolicy OnFailure are more than backoffLimit.
bool too_many_restarts(const json::value& job, const std::vector<const json::value*>& pods);

// When a pod's work ended: its containers, else its Ready condition, else its deletion, else its creation.
wall_time end_of(const json::value& pod);

// 10 s after one failure, doubling to 10 minutes.
duration wait_after(std::int64_t failures, wall_time last, wall_time now);

}  // namespace kedge::control
