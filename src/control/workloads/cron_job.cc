// cron_job.cc: CronJobs: a Job at each time of a schedule (cronjob-controller).
//
//   its Jobs ─▶ finished ones beyond the limits go ─▶ those that run are in status.active ─▶ is a time due?
//        ─▶ too late │ one runs and may not have company │ the one that runs is replaced ─▶ the Job of that time, by
//        its name
//
// A Job is noted in the status by the look that sees it: its name and its annotation say which time it is of.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/registry/indexes.h"
#include "base/strings.h"
#include "control/conditions.h"
#include "control/controllers.h"
#include "control/owners.h"
#include "control/workloads/history.h"
#include "meta/cron.h"
#include "meta/time_zones.h"

namespace kedge::control {
namespace {

const api::resource_id cron_jobs{"batch", "v1", "cronjobs"};
const api::resource_id jobs{"batch", "v1", "jobs"};
constexpr owner_kind cron_job_kind{"batch/v1", "CronJob"};
constexpr std::string_view time_note = "batch.kubernetes.io/cronjob-scheduled-timestamp";

constexpr auto a_little_later = std::chrono::milliseconds(100);  // than the time, so that it is surely due
constexpr std::int64_t many_missed = 100;

std::string_view ended_as(const json::value& job) {
  for (auto type : {"Complete", "Failed"})
    if (condition_status(job, type) == "True") return type;
  return {};
}

std::optional<wall_time> time_at(const json::value& field) {
  auto t = parse_rfc3339(field.as_string());
  return t ? std::optional(*t) : std::nullopt;
}

// With the offset of the zone.
std::string local_text(wall_time t, const time_zone& zone) {
  auto offset = zone.offset_at(std::chrono::floor<std::chrono::seconds>(t.time_since_epoch()));
  auto text = format_rfc3339(t + offset);
  if (offset == std::chrono::seconds(0)) return text;
  auto minutes = std::abs(std::chrono::duration_cast<std::chrono::minutes>(offset).count());
  text.back() = offset < std::chrono::seconds(0) ? '-' : '+';
  return text + fmt::format("{:02}:{:02}", minutes / 60, minutes % 60);
}

// Which of a schedule's times are due.
struct due_times {
  wall_time since;                // what the next one is counted from
  std::optional<wall_time> last;  // the last that is due
  bool any_missed = false, many = false, too_dense = false;
};
due_times times_of(const json::value& cron, const api::cron_schedule& schedule, wall_time now, bool with_deadline) {
  due_times out{.since = time_at(cron["metadata"]["creationTimestamp"]).value_or(now)};
  if (auto last = time_at(cron["status"]["lastScheduleTime"])) out.since = *last;
  if (auto& deadline = cron["spec"]["startingDeadlineSeconds"]; with_deadline && deadline.is_integer())
    out.since = std::max(out.since, now - std::chrono::seconds(deadline.as_integer()));
  auto first = schedule.next(out.since);
  auto second = first ? schedule.next(*first) : std::nullopt;
  if (!second) {
    out.too_dense = true;  // it never comes, and Go's zero time is before everything
    return out;
  }
  if (now < *first) return out;
  if (now < *second) {
    out.last = first;
    return out;
  }
  auto between = std::chrono::round<std::chrono::seconds>(*second - *first).count();
  auto missed = std::chrono::duration_cast<std::chrono::seconds>(now - *first).count() / between + 1;
  for (auto t = schedule.next(*first + std::chrono::seconds((missed - 2) * between)); t && *t <= now;
       t = schedule.next(*t))
    out.last = t;
  out.any_missed = missed > 0;
  out.many = missed > many_missed;
  return out;
}

duration until_next(const json::value& cron, const api::cron_schedule& schedule, wall_time now) {
  auto due = times_of(cron, schedule, now, false);
  auto from = due.too_dense ? now : due.last ? *due.last : due.any_missed ? now : due.since;
  auto next = schedule.next(from);
  return next ? std::max(duration(*next - now), duration::zero()) + a_little_later : std::chrono::hours(24);
}

std::shared_ptr<const time_zone> zone_of(const json::value& cron) {
  return api::find_time_zone(cron["spec"]["timeZone"].as_string());
}

class cron_look {
 public:
  cron_look(const view& cluster, const json::value& cron, std::vector<const json::value*> mine, const moment& now)
      : cluster_(cluster),
        cron_(cron),
        next_(cron),
        mine_(std::move(mine)),
        now_(now),
        ns_(cron["metadata"]["namespace"].as_string()) {
    auto& active = cron["status"]["active"];
    for (std::size_t i = 0; i < active.size(); ++i) active_.push_back(active[i]);
  }

  plan make() {
    clean_up("Complete", cron_["spec"]["successfulJobsHistoryLimit"]);
    clean_up("Failed", cron_["spec"]["failedJobsHistoryLimit"]);
    for (auto job : mine_) see(*job);
    drop_missing();
    if (!now_.refused && !is_deleting(cron_)) start();
    write();
    return std::move(plan_);
  }

 private:
  void tell(std::string reason, std::string message, bool warning = false) {
    plan_.tell(reference_to(cron_), std::move(reason), std::move(message), warning);
  }

  bool is_active(std::string_view uid) const {
    return std::ranges::any_of(active_, [&](auto& a) { return a["uid"].as_string() == uid; });
  }
  void deactivate(std::string_view uid) {
    std::erase_if(active_, [&](auto& a) { return a["uid"].as_string() == uid; });
  }

  void remove(const json::value& job) {
    auto c = removal_of_any_version(jobs, job, {.propagation_policy = "Background"});
    c.on_done = notice{reference_to(cron_), false, "SuccessfulDelete", fmt::format("Deleted job {}", name_of(job))};
    c.on_refused = notice{reference_to(cron_), true, "FailedDelete", "Deleted job: "};
    removed_.push_back(std::move(c));
    gone_.emplace(uid_of(job));
    deactivate(uid_of(job));
  }

  void clean_up(std::string_view how, const json::value& limit) {
    if (!limit.is_integer()) return;
    std::vector<const json::value*> ended;
    for (auto job : mine_)
      if (ended_as(*job) == how) ended.push_back(job);
    std::sort(ended.begin(), ended.end(), [](auto a, auto b) {
      auto sa = (*a)["status"]["startTime"].as_string(), sb = (*b)["status"]["startTime"].as_string();
      if (sa.empty() != sb.empty()) return sb.empty();
      return sa != sb ? sa < sb : name_of(*a) < name_of(*b);
    });
    auto too_many = static_cast<std::int64_t>(ended.size()) - limit.as_integer();
    for (std::int64_t i = 0; i < too_many; ++i) remove(*ended[static_cast<std::size_t>(i)]);
  }

  // A Job of this CronJob, as it is now.
  void see(const json::value& job) {
    auto& status = next_.member("status");
    auto of = time_at(job["metadata"]["annotations"][time_note]);
    auto last = time_at(status["lastScheduleTime"]);
    const bool fresh = of && (!last || *of > *last);  // made by a look that couldn't note it yet
    if (fresh) status.set("lastScheduleTime", format_rfc3339(*of));
    const bool listed = is_active(uid_of(job));
    if (auto how = ended_as(job); how.empty()) {
      if (fresh && !listed && !gone_.contains(std::string(uid_of(job))))
        active_.emplace_back(json::object{{"kind", "Job"},
                                          {"namespace", ns_},
                                          {"name", name_of(job)},
                                          {"uid", uid_of(job)},
                                          {"apiVersion", "batch/v1"},
                                          {"resourceVersion", job["metadata"]["resourceVersion"]}});
      else if (!listed && !is_deleting(job))
        tell("UnexpectedJob", fmt::format("Saw a job that the controller did not create or forgot: {}", name_of(job)),
             true);
    } else {
      if (listed) {
        deactivate(uid_of(job));
        tell("SawCompletedJob", fmt::format("Saw completed job: {}, condition: {}", name_of(job), how));
      }
      auto ended = time_at(job["status"]["completionTime"]), before = time_at(status["lastSuccessfulTime"]);
      if (how == "Complete" && ended && (!before || *ended > *before))
        status.set("lastSuccessfulTime", job["status"]["completionTime"]);
    }
  }

  void drop_missing() {
    std::set<std::string_view> known;
    for (auto job : mine_) known.emplace(uid_of(*job));
    std::vector<std::string> missing;
    for (auto& a : active_) {
      if (known.contains(a["uid"].as_string()) || cluster_.get(jobs, ns_, a["name"].as_string())) continue;
      tell("MissingJob", fmt::format("Active job went missing: {}", a["name"].as_string()));
      missing.emplace_back(a["uid"].as_string());
    }
    for (auto& uid : missing) deactivate(uid);
  }

  void start() {
    auto& zone_name = cron_["spec"]["timeZone"];
    auto zone = zone_of(cron_);
    if (!zone)
      return tell("UnknownTimeZone",
                  fmt::format("invalid timeZone: {}: unknown time zone {}", quote(zone_name.as_string()),
                              zone_name.as_string()),
                  true);
    if (cron_["spec"]["suspend"].as_bool()) return;
    auto text = cron_["spec"]["schedule"].as_string();
    if (text.find("TZ") != text.npos)
      tell("UnsupportedSchedule",
           fmt::format("CRON_TZ or TZ used in schedule {} is not officially supported, see "
                       "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
                       quote(text)),
           true);
    auto schedule = api::cron_schedule::parse(text, zone);
    if (!schedule)
      return tell("UnparseableSchedule", fmt::format("unparseable schedule: {} : {}", quote(text), schedule.error()),
                  true);
    // What the status will be is what counts: a Job that was seen just now isn't made again.
    auto due = times_of(next_, *schedule, now_.wall, true);
    if (due.too_dense)
      return tell(
          "InvalidSchedule",
          fmt::format("invalid schedule: {} : time difference between two schedules is less than 1 second", text),
          true);
    plan_.look_after(until_next(next_, *schedule, now_.wall));
    if (!due.last) return;
    if (due.many)
      tell("TooManyMissedTimes",
           "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew", true);
    start_at(*due.last, *zone);
  }

  void start_at(wall_time due, const time_zone& zone) {
    if (auto& deadline = cron_["spec"]["startingDeadlineSeconds"];
        deadline.is_integer() && due + std::chrono::seconds(deadline.as_integer()) < now_.wall)
      return tell("MissSchedule",
                  fmt::format("Missed scheduled time to start a job: {:%a, %d %b %Y %H:%M:%S} +0000",
                              std::chrono::floor<std::chrono::seconds>(due)),
                  true);
    auto name = fmt::format("{}-{}", name_of(cron_),
                            std::chrono::duration_cast<std::chrono::minutes>(due.time_since_epoch()).count());
    if (cluster_.get(jobs, ns_, name)) return;
    auto policy = cron_["spec"]["concurrencyPolicy"].as_string();
    if (policy == "Forbid" && !active_.empty())
      return tell("JobAlreadyActive",
                  "Not starting job because prior execution is running and concurrency policy is Forbid");
    if (policy == "Replace")
      for (auto& a : std::vector(active_))
        if (auto job = cluster_.get(jobs, ns_, a["name"].as_string()); job && uid_of(*job) == a["uid"].as_string())
          remove(*job);
    made_ = job_at(due, zone, name);
  }

  json::value job_at(wall_time due, const time_zone& zone, const std::string& name) const {
    auto& t = cron_["spec"]["jobTemplate"];
    json::object meta{{"name", name}, {"namespace", ns_}};
    if (auto& labels = t["metadata"]["labels"]; !labels.empty()) meta.set("labels", labels);
    json::value notes =
        t["metadata"]["annotations"].is_object() ? t["metadata"]["annotations"] : json::value(json::object{});
    notes.set(time_note, local_text(due, zone));
    meta.set("annotations", std::move(notes));
    meta.set("ownerReferences", json::array{controller_reference(cron_job_kind, cron_)});
    return json::object{
        {"kind", "Job"}, {"apiVersion", "batch/v1"}, {"metadata", std::move(meta)}, {"spec", t["spec"]}};
  }

  void write() {
    plan_.write(pace::in_order, std::move(removed_));
    auto& status = next_.member("status");
    active_.empty() ? void(status.erase("active")) : status.set("active", json::array(active_.begin(), active_.end()));
    if (!(next_["status"] == cron_["status"])) plan_.write(update_of(cron_jobs, std::move(next_), "status"));
    if (made_.is_null()) return;
    auto c = creation(jobs, ns_, std::move(made_));
    c.on_done = notice{reference_to(cron_), false, "SuccessfulCreate", fmt::format("Created job {}", c.name)};
    c.on_refused = notice{reference_to(cron_), true, "FailedCreate", "Error creating job: "};
    plan_.write(std::move(c));
  }

  const view& cluster_;
  const json::value& cron_;
  json::value next_;
  std::vector<const json::value*> mine_;
  const moment& now_;
  const std::string ns_;
  std::vector<json::value> active_;
  std::set<std::string> gone_;
  std::vector<change> removed_;
  json::value made_;
  plan plan_;
};

class cron_job final : public controller {
 public:
  std::vector<source> sources() override {
    return {{cron_jobs, cron_changed}, {jobs, controller_key("batch/v1", "CronJob")}};
  }

  plan look(const view& cluster, const std::string& key, const moment& now) override {
    auto cron = cluster.get(cron_jobs, key);
    if (!cron) return {};
    std::vector<const json::value*> mine;
    cluster.cluster().scan(
        api::objects_by_owner, uid_of(*cron), cluster.prefix(jobs, (*cron)["metadata"]["namespace"].as_string()), {},
        [&](const store::object_ref& o) {
          auto job = cluster.value(o);
          if (auto* by = job ? controller_of(*job) : nullptr; by && (*by)["uid"].as_string() == uid_of(*cron))
            mine.push_back(job);
          return true;
        });
    return cron_look(cluster, *cron, std::move(mine), now).make();
  }

 private:
  // Another schedule begins with its next time: what it would have had in the past isn't made up for.
  static void cron_changed(const seen& s, keys& k) {
    if (s.modified()) {
      auto &before = s.value_before()["spec"], &after = s.value()["spec"];
      if (!(before["schedule"] == after["schedule"]) || !(before["timeZone"] == after["timeZone"])) {
        auto schedule = api::cron_schedule::parse(after["schedule"].as_string(), zone_of(s.value()));
        if (!schedule) return;
        return k.add_after(std::string(s.name()),
                           until_next(s.value(), *schedule, reactor::loop::current().wall_now()));
      }
    }
    living_key(s, k);
  }
};

}  // namespace

std::unique_ptr<controller> make_cron_job(const settings&) { return std::make_unique<cron_job>(); }

}  // namespace kedge::control
