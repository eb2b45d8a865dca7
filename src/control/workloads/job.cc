// job.cc: Jobs: pods that run to their end, each counted once (job-controller, KEP-2307).
//
//   pods ─▶ succeeded, failed, active ─▶ is it over? (policies, limits, deadline) ─▶ pods made or removed
//        ─▶ status: who has ended is noted by uid ─▶ those pods lose their finalizer ─▶ the next look counts them and
//        forgets the uids
//
// A pod keeps its finalizer until the status has its uid, and the uid until the finalizer is gone: whoever stops in
// between, none is lost and none counted twice. An indexed Job counts by index, which needs no uids for what succeeded.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "api/registry/indexes.h"
#include "base/strings.h"
#include "control/conditions.h"
#include "control/controllers.h"
#include "control/finalizers.h"
#include "control/owners.h"
#include "control/pods.h"
#include "control/resources.h"
#include "control/workloads/history.h"
#include "control/workloads/job_policy.h"
#include "control/workloads/replicas.h"

namespace kedge::control {
namespace {

const api::resource_id jobs{"batch", "v1", "jobs"};
constexpr owner_kind job_kind{"batch/v1", "Job"};
constexpr std::string_view tracking = "batch.kubernetes.io/job-tracking";
constexpr std::string_view failure_count_note = "batch.kubernetes.io/job-index-failure-count";
constexpr std::string_view ignored_count_note = "batch.kubernetes.io/job-index-ignored-failure-count";
constexpr std::string_view own_manager = "kubernetes.io/job-controller";
constexpr std::string_view pod_mark = "pod:", uid_mark = "uid:";

constexpr std::size_t burst_max = 500;      // pods made or removed by one look, as kube-controller-manager's
constexpr std::size_t uncounted_max = 500;  // uids in a status at once
constexpr std::size_t name_most = 58;       // of a generated name before its random end

bool is_tracked(const json::value& pod) { return has_finalizer(pod, tracking); }

json::value untracked(const json::value& pod) {
  auto next = pod;
  remove_finalizer(next, tracking);
  return next;
}

bool is_suspended(const json::value& job) { return job["spec"]["suspend"].as_bool(); }
bool is_over(const json::value& job) {
  return condition_status(job, "Complete") == "True" || condition_status(job, "Failed") == "True";
}
bool is_foreign(const json::value& job) {
  auto& by = job["spec"]["managedBy"];
  return by.is_string() && by.as_string() != own_manager;
}

std::set<std::string> uids(const json::value& list) {
  std::set<std::string> out;
  for (std::size_t i = 0; i < list.size(); ++i) out.emplace(list[i].as_string());
  return out;
}

// Failures of a Job since its last success, in mind: the next try waits for them. Lost with the lead, as
// kube-controller-manager's.
struct failure_record {
  std::int64_t count = 0;
  wall_time last{};
  std::set<std::string> seen;  // pods that are in the count and not yet in the status

  void see(const std::vector<const json::value*>& succeeded, const std::vector<const json::value*>& failed) {
    auto ended_last = [](auto& list) {
      wall_time out{};
      for (auto pod : list) out = std::max(out, end_of(*pod));
      return out;
    };
    const auto success = ended_last(succeeded);
    if (!succeeded.empty()) count = 0, last = {}, seen.clear();
    std::set<std::string> now;
    for (auto pod : failed) {
      now.emplace(uid_of(*pod));
      auto end = end_of(*pod);
      if ((!succeeded.empty() && end <= success) || seen.contains(std::string(uid_of(*pod)))) continue;
      ++count;
      last = std::max(last, end);
    }
    seen = std::move(now);
  }
};

// One look at a Job that isn't over.
class job_look {
 public:
  job_look(const json::value& job, const std::vector<const json::value*>& mine, failure_record& record,
           const moment& now)
      : job_(job),
        next_(job),
        now_(now),
        record_(record),
        indexed_(is_indexed(job)),
        per_index_(!job["spec"]["backoffLimitPerIndex"].is_null()),
        completions_(job["spec"]["completions"].as_integer()),
        pods_(mine) {
    if (indexed_)
      std::stable_sort(pods_.begin(), pods_.end(), [](auto a, auto b) { return index_of(*a) < index_of(*b); });
    auto& uncounted = next_.member("status").member("uncountedTerminatedPods").make_object();
    (void)uncounted;
    succeeded_uids_ = uids(job["status"]["uncountedTerminatedPods"]["succeeded"]);
    failed_uids_ = uids(job["status"]["uncountedTerminatedPods"]["failed"]);
    for (auto pod : pods_) {
      if (is_active(*pod)) active_pods_.push_back(pod), ready_ += is_ready(*pod);
      if (!is_finished(*pod) && is_deleting(*pod)) ++terminating_;
    }
    active_ = static_cast<std::int64_t>(active_pods_.size());
  }

  plan make() {
    count();
    if (status()["startTime"].is_null() && !is_suspended(job_)) status().set("startTime", now_text());
    judge();
    over_.type.empty() ? go_on() : end_active();
    track();
    write();
    return std::move(plan_);
  }

 private:
  // ---- what the pods say

  bool counts(const json::value& pod) const {  // of an index that there is
    if (!indexed_) return true;
    auto i = index_of(pod);
    return i >= 0 && i < completions_;
  }

  void count() {
    std::vector<const json::value*> succeeded, failed;
    std::int64_t ignored = 0;
    for (auto pod : pods_) {
      if (!is_tracked(*pod) || !counts(*pod)) continue;
      auto uid = std::string(uid_of(*pod));
      if (phase_of(*pod) == "Succeeded" && !succeeded_uids_.contains(uid)) succeeded.push_back(pod);
      if (has_failed(*pod, job_) && !failed_uids_.contains(uid)) {
        failed.push_back(pod);
        ignored += !judge_failure(job_, *pod).counts;
      }
    }
    auto size = [](auto& c) { return static_cast<std::int64_t>(c.size()); };
    succeeded_ = counted(job_["status"]["succeeded"]) + size(succeeded) + size(succeeded_uids_);
    failed_ = counted(job_["status"]["failed"]) + size(failed) - ignored + size(failed_uids_);
    record_.see(succeeded, failed);
    if (!indexed_) return;
    before_ = index_set::parse(job_["status"]["completedIndexes"].as_string(), completions_);
    done_ = before_;
    for (auto pod : pods_)
      if (is_tracked(*pod) && counts(*pod) && phase_of(*pod) == "Succeeded") done_.add(index_of(*pod));
    succeeded_ = done_.count();
    if (!per_index_) return;
    given_up_ = index_set::parse(job_["status"]["failedIndexes"].as_string(), completions_);
    for (auto pod : pods_)
      if (is_tracked(*pod) && counts(*pod) && gives_up_index(*pod)) given_up_.add(index_of(*pod));
    find_delayed();
  }

  bool gives_up_index(const json::value& pod) const {
    if (!has_failed(pod, job_)) return false;
    auto v = judge_failure(job_, pod);
    return v.fails_index ||
           (v.counts && failures_before(pod, false) >= job_["spec"]["backoffLimitPerIndex"].as_integer());
  }

  // The last failed pod of each index that is to be tried again: it stays until the next one is made, which takes its
  // count over.
  void find_delayed() {
    std::set<std::int64_t> running;
    for (auto pod : active_pods_) running.insert(index_of(*pod));
    for (auto pod : pods_) {
      auto i = index_of(*pod);
      if (!is_tracked(*pod) || !counts(*pod) || !has_failed(*pod, job_) || done_.has(i) || given_up_.has(i) ||
          running.contains(i))
        continue;
      auto& slot = delayed_[i];
      if (!slot || (failures_before(*slot, true) <= failures_before(*pod, true) && end_of(*pod) >= end_of(*slot)))
        slot = pod;
    }
  }

  // ---- is it over?

  void judge() {
    auto& met = condition_of(job_, "SuccessCriteriaMet");
    auto& target = condition_of(job_, "FailureTarget");
    auto told = [](const json::value& c) {
      return condition{std::string(c["type"].as_string()), "True", std::string(c["reason"].as_string()),
                       std::string(c["message"].as_string())};
    };
    if (met["status"].as_string() == "True")
      over_ = told(met);
    else if (target["status"].as_string() == "True")
      over_ = told(target), over_.type = "Failed";
    else if (auto message = fails_job())
      over_ = {"FailureTarget", "True", "PodFailurePolicy", *message};
    if (over_.type.empty()) judge_limits();
    if (indexed_ && per_index_ && over_.type.empty()) judge_indexes();
    if (indexed_ && over_.type.empty())
      if (auto message = success_met(job_, done_)) over_ = {"SuccessCriteriaMet", "True", "SuccessPolicy", *message};
  }

  std::optional<std::string> fails_job() const {
    if (job_["spec"]["podFailurePolicy"].is_null()) return std::nullopt;
    for (auto pod : pods_)
      if (has_failed(*pod, job_))
        if (auto v = judge_failure(job_, *pod); v.fails_job) return v.fails_job;
    return std::nullopt;
  }

  void judge_limits() {
    auto& deadline = job_["spec"]["activeDeadlineSeconds"];
    auto since = parse_rfc3339(status()["startTime"].as_string());
    if (failed_ > job_["spec"]["backoffLimit"].as_integer() || too_many_restarts(job_, pods_)) {
      over_ = {"FailureTarget", "True", "BackoffLimitExceeded", "Job has reached the specified backoff limit"};
    } else if (deadline.is_integer() && since && !is_suspended(job_)) {
      auto end = *since + std::chrono::seconds(deadline.as_integer());
      if (end <= now_.wall)
        over_ = {"FailureTarget", "True", "DeadlineExceeded", "Job was active longer than specified deadline"};
      else
        plan_.look_after(end - now_.wall);
    }
  }

  void judge_indexes() {
    auto& most = job_["spec"]["maxFailedIndexes"];
    if (most.is_integer() && given_up_.count() > most.as_integer())
      over_ = {"FailureTarget", "True", "MaxFailedIndexesExceeded",
               "Job has exceeded the specified maximal number of failed indexes"};
    else if (given_up_.count() > 0 && given_up_.count() + done_.count() >= completions_)
      over_ = {"FailureTarget", "True", "FailedIndexes", "Job has failed indexes"};
  }

  // ---- pods made and removed

  // Those that lose their finalizer too aren't counted.
  void take_away(const std::vector<const json::value*>& which, bool uncounted) {
    for (auto pod : which) {
      if (uncounted && is_tracked(*pod)) released_.push_back(pod);
      auto c = removal_of_any_version(pods, *pod);
      c.on_done = notice{reference_to(job_), false, "SuccessfulDelete", "Deleted pod: " + std::string(name_of(*pod))};
      c.on_refused = notice{reference_to(job_), true, "FailedDelete", "Error deleting: "};
      removed_.push_back(std::move(c));
      --active_;
      ++terminating_;
      ready_ -= is_ready(*pod);
    }
  }

  void end_active() { take_away(active_pods_, false); }

  void go_on() {
    const bool managed = !is_deleting(job_);
    if (managed && !now_.refused) manage();
    auto& completions = job_["spec"]["completions"];
    const bool complete = active_ == 0 && (completions.is_null() ? succeeded_ > 0 : succeeded_ >= completions_);
    if (complete)
      over_ = {"SuccessCriteriaMet", "True", "CompletionsReached", "Reached expected number of succeeded pods"};
    else if (managed)
      tell_suspension();
  }

  void tell_suspension() {
    const bool suspended = is_suspended(job_);
    if (!set_job_condition({"Suspended", suspended ? "True" : "False", suspended ? "JobSuspended" : "JobResumed",
                            suspended ? "Job suspended" : "Job resumed"}))
      return;
    plan_.tell(reference_to(job_), suspended ? "Suspended" : "Resumed", suspended ? "Job suspended" : "Job resumed");
    suspended ? void(status().erase("startTime")) : status().set("startTime", now_text());
  }

  void manage() {
    if (is_suspended(job_)) return take_away(active_pods_, true);
    const auto parallelism = job_["spec"]["parallelism"].as_integer(1);
    std::int64_t wanted = std::clamp<std::int64_t>(completions_ - succeeded_, 0, parallelism);
    if (job_["spec"]["completions"].is_null()) wanted = succeeded_ > 0 ? active_ : parallelism;
    auto gone = surplus(static_cast<std::size_t>(std::max<std::int64_t>(0, active_ - wanted)));
    if (!gone.empty()) {
      if (gone.size() > burst_max) gone.resize(burst_max), plan_.look_after(duration::zero());
      return take_away(gone, true);
    }
    auto missing = wanted - active_ - (replaces_only_failed(job_) ? terminating_ : 0);
    if (missing > 0) make_pods(static_cast<std::size_t>(missing));
  }

  // Of an index that another has too, or that there isn't any more; then those that matter least.
  std::vector<const json::value*> surplus(std::size_t at_least) const {
    std::vector<const json::value*> gone, left;
    if (!indexed_) {
      left = active_pods_;
    } else {
      for (std::size_t i = 0; i < active_pods_.size();) {
        auto index = index_of(*active_pods_[i]);
        std::vector<const json::value*> same;
        for (; i < active_pods_.size() && index_of(*active_pods_[i]) == index; ++i) same.push_back(active_pods_[i]);
        auto spare = index < 0 || index >= completions_ ? same : to_delete(same, {}, same.size() - 1, now_.wall);
        gone.insert(gone.end(), spare.begin(), spare.end());
        for (auto pod : same)
          if (std::ranges::find(spare, pod) == spare.end()) left.push_back(pod);
      }
    }
    // One without its finalizer is half taken away: whoever began with that stopped before it was deleted.
    std::erase_if(left, [&](auto pod) {
      const bool half = gone.size() < at_least && !is_tracked(*pod);
      if (half) gone.push_back(pod);
      return half;
    });
    if (gone.size() < at_least)
      for (auto pod : to_delete(left, {}, at_least - gone.size(), now_.wall)) gone.push_back(pod);
    return gone;
  }

  void make_pods(std::size_t n) {
    if (!per_index_)
      if (auto wait = wait_after(record_.count, record_.last, now_.wall); wait > duration::zero())
        return void(plan_.look_after(wait));
    n = std::min(n, burst_max);
    if (!indexed_) {
      for (std::size_t i = 0; i < n; ++i) made_.push_back(pod(-1));
    } else {
      for (auto i : pending(n)) made_.push_back(pod(i));
    }
    active_ += static_cast<std::int64_t>(made_.size());
  }

  std::vector<std::int64_t> pending(std::size_t n) {
    auto taken = done_;
    taken.add(given_up_);
    for (auto pod : pods_)
      if (is_active(*pod) || (replaces_only_failed(job_) && !is_finished(*pod) && is_deleting(*pod)))
        if (auto i = index_of(*pod); i >= 0) taken.add(i);
    auto out = taken.missing(completions_, n);
    if (!per_index_) return out;
    std::optional<duration> wait;
    std::erase_if(out, [&](auto i) {
      auto last = delayed_.find(i);
      if (last == delayed_.end()) return false;
      auto left = wait_after(failures_before(*last->second, true) + 1, end_of(*last->second), now_.wall);
      if (left == duration::zero()) return false;
      wait = wait ? std::min(*wait, left) : left;
      return true;
    });
    if (wait) plan_.look_after(*wait);
    return out;
  }

  json::value pod(std::int64_t index) const {
    auto out = pod_of_template(job_["spec"]["template"], job_kind, job_);
    auto& meta = out.member("metadata");
    auto& finalizers = meta.member("finalizers").make_array();
    if (std::ranges::find(finalizers, json::value(tracking)) == finalizers.end()) finalizers.emplace_back(tracking);
    if (!indexed_) return out;
    auto number = std::to_string(index);
    auto& notes = meta.member("annotations").make_object();
    notes.set(index_note, number);
    meta.member("labels").set(index_note, number);
    auto end = fmt::format("-{}-", index);
    auto prefix = std::string(name_of(job_)) + end;
    if (prefix.size() > name_most) prefix = prefix.substr(0, name_most - end.size()) + end;
    meta.set("generateName", std::move(prefix));
    if (per_index_) note_failures(notes, index);
    auto& spec = out.member("spec");
    spec.set("hostname", fmt::format("{}-{}", name_of(job_), index));
    for (auto list : {"initContainers", "containers"})
      if (auto containers = spec.find(list); containers && containers->array())
        for (auto& c : *containers->array()) tell_index(c);
    return out;
  }

  static void tell_index(json::value& container) {
    constexpr std::string_view variable = "JOB_COMPLETION_INDEX";
    auto& env = container.member("env").make_array();
    if (std::ranges::any_of(env, [&](auto& e) { return e["name"].as_string() == variable; })) return;
    env.emplace_back(json::object{
        {"name", variable},
        {"valueFrom",
         json::object{{"fieldRef", json::object{{"apiVersion", "v1"},
                                                {"fieldPath", fmt::format("metadata.labels['{}']", index_note)}}}}}});
  }

  void note_failures(json::object& notes, std::int64_t index) const {
    std::int64_t failures = 0, ignored = 0;
    if (auto last = delayed_.find(index); last != delayed_.end()) {
      failures = failures_before(*last->second, false);
      ignored = failures_before(*last->second, true) - failures;
      ++(judge_failure(job_, *last->second).counts ? failures : ignored);
    }
    notes.set(failure_count_note, std::to_string(failures));
    if (ignored > 0) notes.set(ignored_count_note, std::to_string(ignored));
  }

  // ---- counting

  void track() {
    settle();
    std::size_t noted = succeeded_uids_.size() + failed_uids_.size();
    index_set fresh;
    for (auto pod : pods_) {
      if (!is_tracked(*pod) || !may_let_go(*pod) || std::ranges::find(released_, pod) != released_.end()) continue;
      if (noted >= uncounted_max) {
        all_tracked_ = false;
        plan_.look_after(duration::zero());
        break;
      }
      ended_.push_back(pod);
      noted += note_end(*pod, fresh);
    }
    if (!indexed_) return;
    done_ = before_;
    done_.add(fresh);
    set_or_drop("succeeded", done_.count());
    auto text = done_.text();
    text.empty() ? void(status().erase("completedIndexes")) : status().set("completedIndexes", std::move(text));
    per_index_ ? status().set("failedIndexes", given_up_.text()) : void(status().erase("failedIndexes"));
  }

  // Pods whose finalizers are gone are counted, and their uids forgotten.
  void settle() {
    std::set<std::string> tracked;
    for (auto pod : pods_)
      if (is_tracked(*pod)) tracked.emplace(uid_of(*pod));
    auto settle = [&](std::set<std::string>& list, const char* name) {
      auto n = static_cast<std::int64_t>(std::erase_if(list, [&](auto& uid) { return !tracked.contains(uid); }));
      if (n > 0) status().set(name, counted(status()[name]) + n);
    };
    settle(succeeded_uids_, "succeeded");
    settle(failed_uids_, "failed");
  }

  bool may_let_go(const json::value& pod) const {
    if (is_deleting(job_) || !over_.type.empty() || phase_of(pod) == "Succeeded") return true;
    if (!has_failed(pod, job_)) return false;
    if (!per_index_) return true;
    auto last = delayed_.find(index_of(pod));
    return last == delayed_.end() || last->second != &pod;
  }

  bool note_end(const json::value& pod, index_set& fresh) {
    auto uid = std::string(uid_of(pod));
    if (phase_of(pod) == "Succeeded" && !failed_uids_.contains(uid)) {
      if (!indexed_) return succeeded_uids_.insert(uid).second;
      if (!counts(pod) || before_.has(index_of(pod))) return false;
      fresh.add(index_of(pod));
      return true;
    }
    const bool given_up = !over_.type.empty() && over_.type != "SuccessCriteriaMet";
    if (!(has_failed(pod, job_) || given_up) || !counts(pod) || !judge_failure(job_, pod).counts) return false;
    return failed_uids_.insert(uid).second;
  }

  // ---- the plan

  json::value& status() { return next_.member("status"); }
  std::string now_text() const { return format_rfc3339(now_.wall); }
  void set_or_drop(const char* name, std::int64_t n) { n ? status().set(name, n) : void(status().erase(name)); }

  // True when it is another than before. A False that never was True isn't told.
  bool set_job_condition(const condition& c) {
    auto& list = status().member("conditions").make_array();
    auto it = std::ranges::find_if(list, [&](auto& had) { return had["type"].as_string() == c.type; });
    if (it == list.end()) {
      if (c.status == "False") return false;
      it = list.insert(it, json::value());
    } else if ((*it)["status"].as_string() == c.status && (*it)["reason"].as_string() == c.reason &&
               (*it)["message"].as_string() == c.message) {
      return false;
    }
    *it = json::object{
        {"type", c.type},     {"status", c.status},  {"lastProbeTime", now_text()}, {"lastTransitionTime", now_text()},
        {"reason", c.reason}, {"message", c.message}};
    return true;
  }

  void keep_uids(const char* name, const std::set<std::string>& list) {
    auto& uncounted = status().member("uncountedTerminatedPods");
    json::array out;
    // In the order in which they came.
    auto& before = job_["status"]["uncountedTerminatedPods"][name];
    std::set<std::string> rest = list;
    for (std::size_t i = 0; i < before.size(); ++i)
      if (rest.erase(std::string(before[i].as_string()))) out.push_back(before[i]);
    for (auto& uid : rest) out.emplace_back(uid);
    out.empty() ? void(uncounted.erase(name)) : uncounted.set(name, std::move(out));
  }

  void finish() {
    if (over_.type.empty()) return;
    const bool success = over_.type == "SuccessCriteriaMet";
    set_job_condition({success ? "SuccessCriteriaMet" : "FailureTarget", "True", over_.reason, over_.message});
    const bool noted = condition_status(job_, success ? "SuccessCriteriaMet" : "FailureTarget") == "True";
    const bool counted_all = succeeded_uids_.empty() && failed_uids_.empty() && ended_.empty() && all_tracked_;
    // What is meant comes first, and the end with the next look: both are seen by those who watch.
    if (!noted) return void(plan_.look_after(duration::zero()));
    if (!counted_all || terminating_ > 0 || !removed_.empty()) return;
    set_job_condition({success ? "Complete" : "Failed", "True", over_.reason, over_.message});
    auto about = reference_to(job_);
    if (!success) return void(plan_.tell(about, over_.reason, over_.message, true));
    status().set("completionTime", now_text());
    if (auto& c = job_["spec"]["completions"]; c.is_integer() && counted(status()["succeeded"]) > c.as_integer())
      plan_.tell(about, "TooManySucceededPods", "Too many succeeded pods running after completion count reached", true);
    plan_.tell(about, "Completed", "Job completed");
  }

  void write() {
    std::vector<change> creations;
    for (auto& p : made_) {
      auto c = creation(pods, std::string(job_["metadata"]["namespace"].as_string()), std::move(p));
      c.on_done = notice{reference_to(job_), false, "SuccessfulCreate", "Created pod: "};
      c.on_refused = notice{reference_to(job_), true, "FailedCreate", "Error creating: "};
      creations.push_back(std::move(c));
    }
    plan_.write(pace::slow_start, std::move(creations));
    set_or_drop("active", active_);
    status().set("ready", ready_);
    status().set("terminating", terminating_);
    keep_uids("succeeded", succeeded_uids_);
    keep_uids("failed", failed_uids_);
    finish();
    if (auto list = status().find("conditions"); list && list->empty()) status().erase("conditions");
    if (!(next_["status"] == job_["status"])) plan_.write(update_of(jobs, std::move(next_), "status"));
    std::vector<change> freed;
    for (auto list : {&ended_, &released_})
      for (auto pod : *list) freed.push_back(update_of(pods, untracked(*pod)));
    plan_.write(pace::together, std::move(freed));
    plan_.write(pace::together, std::move(removed_));
  }

  const json::value& job_;
  json::value next_;
  const moment& now_;
  failure_record& record_;
  const bool indexed_, per_index_;
  const std::int64_t completions_;
  std::vector<const json::value*> pods_, active_pods_;
  std::set<std::string> succeeded_uids_, failed_uids_;  // uncounted
  std::int64_t active_ = 0, ready_ = 0, terminating_ = 0, succeeded_ = 0, failed_ = 0;
  index_set before_, done_, given_up_;
  std::map<std::int64_t, const json::value*> delayed_;
  condition over_;  // type empty: it goes on
  std::vector<json::value> made_;
  std::vector<change> removed_;
  std::vector<const json::value*> ended_, released_;  // lose their finalizer: counted, and not
  bool all_tracked_ = true;
  plan plan_;
};

class job_controller final : public pod_owner {
 public:
  job_controller() : pod_owner(job_kind, jobs) {}

  std::vector<source> sources() override {
    auto owned = pod_source();
    return {{jobs,
             [this](const seen& s, keys& k) {
               own_key(s, k);
               if (!s.deleted()) return;
               records_.erase(std::string(s.name()));
               k.add(fmt::format("{}{}/{}", uid_mark, split_name(s.name()).ns, uid_of(s.value())));
             }},
            {pods, [names = std::move(owned.names)](const seen& s, keys& k) {
               names(s, k);
               // One whose Job is gone, perhaps: nobody else takes its finalizer away.
               const bool lost = s.modified() && controller_of(s.value_before()) && !controller_of(s.value());
               if (!s.deleted() && (s.added() || lost) && is_tracked(s.value()))
                 k.add(std::string(pod_mark) + std::string(s.name()));
             }}};
  }

  plan look(const view& cluster, const std::string& key, const moment& now) override {
    if (key.starts_with(pod_mark)) return look_at_pod(cluster, key.substr(pod_mark.size()));
    if (key.starts_with(uid_mark)) return look_at_orphans(cluster, key.substr(uid_mark.size()));
    plan p;
    auto job = cluster.get(jobs, key);
    if (!job || is_foreign(*job)) return p;
    if (is_over(*job)) {
      records_.erase(key);
      return free_pods(cluster, (*job)["metadata"]["namespace"].as_string(), uid_of(*job));
    }
    auto members = claim(cluster, pods, kind_, *job, selector_of(*job), orphan_pods_);
    if (!members.changes.empty()) {
      for (auto& c : members.changes)
        controller_of(c.object) ? add_finalizer(c.object) : remove_finalizer(c.object, tracking);
      return p.write(pace::together, std::move(members.changes)), p.look_after(duration::zero());
    }
    return job_look(*job, members.mine, records_[key], now).make();
  }

 private:
  static void add_finalizer(json::value& pod) {
    if (!is_tracked(pod)) pod.member("metadata").member("finalizers").push_back(tracking);
  }

  static plan free_pods(const view& cluster, std::string_view ns, std::string_view owner) {
    plan p;
    std::vector<change> freed;
    cluster.cluster().scan(api::objects_by_owner, owner, cluster.prefix(pods, ns), {}, [&](const store::object_ref& o) {
      if (auto pod = cluster.value(o); pod && is_tracked(*pod)) freed.push_back(update_of(pods, untracked(*pod)));
      return true;
    });
    return p.write(pace::together, std::move(freed)), p;
  }

  static plan look_at_orphans(const view& cluster, const std::string& key) {
    auto [ns, uid] = split_name(key);
    return free_pods(cluster, ns, uid);
  }

  static plan look_at_pod(const view& cluster, const std::string& key) {
    plan p;
    auto pod = cluster.get(pods, key);
    if (!pod || !is_tracked(*pod)) return p;
    if (auto owner = controller_of(*pod)) {
      if ((*owner)["kind"].as_string() != job_kind.kind || (*owner)["apiVersion"].as_string() != job_kind.api_version)
        return p;
      auto job = cluster.get(jobs, split_name(key).ns, (*owner)["name"].as_string());
      if (job && uid_of(*job) == (*owner)["uid"].as_string() && (is_foreign(*job) || !is_over(*job))) return p;
    }
    return p.write(update_of(pods, untracked(*pod))), p;
  }

  std::map<std::string, failure_record, std::less<>> records_;  // by Job
};

}  // namespace

std::unique_ptr<controller> make_job(const settings&) { return std::make_unique<job_controller>(); }

}  // namespace kedge::control
