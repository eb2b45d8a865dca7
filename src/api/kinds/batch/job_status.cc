#include "api/kinds/batch/job_status.h"

#include <fmt/format.h>

#include <unordered_set>

#include "api/kinds/batch/job_spec.h"
#include "api/kinds/core/workload.h"
#include "base/time.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

bool has_condition(const json::value& o, std::string_view type, std::string_view status) {
  auto& list = o["status"]["conditions"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["type"].as_string() == type && list[i]["status"].as_string() == status) return true;
  return false;
}

// What the rules ask of a status, and of the one before.
struct job_state {
  const json::value& status;
  bool complete, failed, failure_target, success_met, finished;
};

job_state state_of(const json::value& o) {
  const bool complete = has_true_condition(o, "Complete"), failed = has_true_condition(o, "Failed");
  return {o["status"],
          complete,
          failed,
          has_true_condition(o, "FailureTarget"),
          has_true_condition(o, "SuccessCriteriaMet"),
          complete || failed};
}

void check_uncounted(causes& out, const json::value& status, const place& at) {
  std::unordered_set<std::string_view> seen;
  for (auto list : {"succeeded", "failed"})
    for (std::size_t i = 0; i < status["uncountedTerminatedPods"][list].size(); ++i) {
      const place of_list(at, "uncountedTerminatedPods"), here(of_list, list, i);
      auto uid = status["uncountedTerminatedPods"][list][i].as_string();
      if (uid.empty())
        out.push_back(invalid_value(here, uid, "must not be empty"));
      else if (!seen.insert(uid).second)
        out.push_back(duplicate_value(here, uid));
    }
}

bool is_before(const json::value& a, const json::value& b) {
  auto x = parse_rfc3339(a.as_string()), y = parse_rfc3339(b.as_string());
  return x && y && *x < *y;
}

void check_times(causes& out, const job_state& now, const job_state& before, const place& at) {
  auto &completion = now.status["completionTime"], &start = now.status["startTime"];
  const place of_completion(at, "completionTime");
  const bool changed = !(completion == before.status["completionTime"]),
             other = now.complete != before.complete || changed;
  if (other && !completion.is_null() && !now.complete)
    out.push_back(
        invalid_value(of_completion, completion, "cannot set completionTime when there is no Complete=True condition"));
  if (other && completion.is_null() && now.complete)
    out.push_back(required(of_completion, "completionTime is required for Complete jobs"));
  if ((changed || !(start == before.status["startTime"])) && is_before(completion, start))
    out.push_back(invalid_value(of_completion, completion, "must be equal to or after `startTime`"));
}

void check_indexes(causes& out, const json::value& spec, const job_state& now, const job_state& before,
                   const place& at) {
  auto &completed = now.status["completedIndexes"], &failed = now.status["failedIndexes"],
       &completions = spec["completions"];
  const bool other_completed = completed.as_string() != before.status["completedIndexes"].as_string();
  const bool other_failed = !(failed == before.status["failedIndexes"]);
  const place of_completed(at, "completedIndexes"), of_failed(at, "failedIndexes");
  const bool by_index = !spec["backoffLimitPerIndex"].is_null();
  if (other_completed && completions.is_integer())
    if (auto n = count_indexes(completed.as_string(), completions.as_integer()); !n)
      out.push_back(
          invalid_value(of_completed, completed, fmt::format("error parsing completedIndexes: {}", n.error())));
  if (other_failed && completions.is_integer() && by_index && failed.is_string())
    if (auto n = count_indexes(failed.as_string(), completions.as_integer()); !n)
      out.push_back(invalid_value(of_failed, failed, fmt::format("error parsing failedIndexes: {}", n.error())));
  if (other_completed && !completed.as_string().empty() && !is_indexed(spec))
    out.push_back(invalid_value(of_completed, completed,
                                "cannot set non-empty completedIndexes when non-indexed completion mode"));
  if (other_failed && !by_index && failed.is_string())
    out.push_back(
        invalid_value(of_failed, failed, "cannot set non-null failedIndexes when backoffLimitPerIndex is null"));
  if ((other_failed || other_completed) && completions.is_integer() && failed.is_string())
    if (auto both = common_index(completed.as_string(), failed.as_string(), completions.as_integer()); both >= 0)
      out.push_back(invalid_value(of_failed, failed,
                                  fmt::format("failedIndexes and completedIndexes overlap at index: {}", both)));
}

void check_state(causes& out, const json::value& o, const job_state& now, const job_state& before, const place& at) {
  auto& spec = o["spec"];
  const place of_conditions(at, "conditions");
  const bool other_complete = now.complete != before.complete, other_failed = now.failed != before.failed,
             other_finished = now.finished != before.finished;
  auto changed = [&](std::string_view member) { return !(now.status[member] == before.status[member]); };
  auto wrong = [&](std::string_view why) { out.push_back(invalid_whatever(of_conditions, why)); };
  if ((other_complete || other_failed) && now.complete && now.failed)
    wrong("cannot set Complete=True and Failed=true conditions");
  if ((other_complete || now.failure_target != before.failure_target) && now.complete && now.failure_target)
    wrong("cannot set Complete=True and FailureTarget=true conditions");
  check_times(out, now, before, at);
  if ((other_failed || changed("failedIndexes")) && now.failed && !now.failure_target)
    wrong("cannot set Failed=True condition without the FailureTarget=true condition");
  if ((other_complete || now.success_met != before.success_met) && now.complete && !now.success_met)
    wrong("cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
  auto& active = now.status["active"];
  const bool other_active = active.as_integer() != before.status["active"].as_integer();
  if ((other_finished || other_active) && active.as_integer() > 0 && now.finished)
    out.push_back(invalid_value(place(at, "active"), active, "active>0 is invalid for finished job"));
  const bool never_ran =
      spec["suspend"].as_bool() && spec["completions"].is_integer() && spec["completions"].as_integer() == 0;
  if ((other_finished || changed("startTime")) && !never_ran && now.status["startTime"].is_null() && now.finished)
    out.push_back(required(place(at, "startTime"), "startTime is required for finished job"));
  auto& uncounted = now.status["uncountedTerminatedPods"];
  if ((other_finished || changed("uncountedTerminatedPods")) && now.finished &&
      (!uncounted["failed"].empty() || !uncounted["succeeded"].empty()))
    out.push_back(invalid_value(place(at, "uncountedTerminatedPods"),
                                internal_form("batch/v1.UncountedTerminatedPods", uncounted),
                                "must be empty for finished job"));
  check_indexes(out, spec, now, before, at);
  auto& terminating = now.status["terminating"];
  if ((other_finished || changed("terminating")) && terminating.as_integer() > 0 && now.finished)
    out.push_back(invalid_value(place(at, "terminating"), terminating, "terminating>0 is invalid for finished job"));
  auto& ready = now.status["ready"];
  if ((changed("ready") || other_active) && ready.is_integer() && ready.as_integer() > active.as_integer())
    out.push_back(invalid_value(place(at, "ready"), ready, "cannot set more ready pods than active"));
  if (now.success_met && now.failed) wrong("cannot set SuccessCriteriaMet=True and Failed=true conditions");
  if (now.success_met && now.failure_target)
    wrong("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
  if (spec["successPolicy"].is_object() && !now.success_met && now.complete)
    wrong("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True");
}

// What was said once for all.
void check_kept(causes& out, const json::value& o, const json::value& old, const job_state& now,
                const job_state& before, const place& at) {
  auto& spec = o["spec"];
  const place of_conditions(at, "conditions");
  for (auto type : {"Failed", "Complete", "FailureTarget"})
    if (has_true_condition(old, type) && !has_true_condition(o, type))
      out.push_back(
          invalid_whatever(of_conditions, fmt::format("cannot disable the terminal {}=True condition", type)));
  auto failed = now.status["failed"].as_integer(), succeeded = now.status["succeeded"].as_integer();
  if (failed < before.status["failed"].as_integer())
    out.push_back(invalid_value(place(at, "failed"), failed, "cannot decrease the failed counter"));
  // An indexed Job may become smaller.
  const bool elastic = is_indexed(spec) && spec["completions"] == spec["parallelism"];
  if (!elastic && succeeded < before.status["succeeded"].as_integer())
    out.push_back(invalid_value(place(at, "succeeded"), succeeded, "cannot decrease the succeeded counter"));
  auto &completion = now.status["completionTime"], &was = before.status["completionTime"];
  if (!completion.is_null() && !was.is_null() && !(completion == was))
    out.push_back(invalid_value(place(at, "completionTime"), completion, "field is immutable"));
  auto &start = now.status["startTime"], &started = before.status["startTime"];
  const bool resumes = has_condition(old, "Suspended", "True") && has_condition(o, "Suspended", "False");
  if (!started.is_null() && !(start == started) && !resumes && !spec["suspend"].as_bool())
    out.push_back(invalid_value(place(at, "startTime"), start, "field is immutable for unsuspended job once set"));
  if (before.success_met && !now.success_met)
    out.push_back(invalid_whatever(of_conditions, "cannot disable the SuccessCriteriaMet=True condition"));
  if (before.complete && !before.success_met && now.success_met)
    out.push_back(invalid_whatever(of_conditions,
                                   "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"));
}

}  // namespace

bool has_true_condition(const json::value& o, std::string_view type) { return has_condition(o, type, "True"); }

void check_job_status(causes& out, const json::value& o, const json::value& old) {
  const place at("status");
  const auto now = state_of(o), before = state_of(old);
  check_counts(out, now.status, at, {"active", "succeeded", "failed", "ready", "terminating"});
  check_uncounted(out, now.status, at);
  check_state(out, o, now, before, at);
  check_kept(out, o, old, now, before, at);
}

}  // namespace kedge::api
