// cron_job.cc: CronJob.
#include <fmt/format.h>

#include <algorithm>

#include "api/kinds/batch/job_spec.h"
#include "api/kinds/core/pod_spec.h"
#include "api/kinds/core/workload.h"
#include "api/registry/kind_rules.h"
#include "base/strings.h"
#include "meta/cron.h"

namespace kedge::api {
namespace {

constexpr std::size_t name_max = 52;  // the name of a Job that is made of it ends with "-" and ten digits

bool names_zone(std::string_view schedule) { return schedule.find("TZ") != schedule.npos; }

// `zone_within`: an older object's schedule names its time zone, which new ones must not.
void check_schedule(causes& out, const json::value& spec, const place& at, bool zone_within) {
  auto schedule = spec["schedule"].as_string();
  if (schedule.empty()) return;
  const place here(at, "schedule");
  if (auto wrong = cron_problem(schedule); !wrong.empty()) out.push_back(invalid_value(here, schedule, wrong));
  if (!names_zone(schedule)) return;
  if (!zone_within)
    out.push_back(invalid_value(here, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"));
  else if (!spec["timeZone"].is_null())
    out.push_back(invalid_value(here, schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule"));
}

bool is_zone_part(std::string_view part) {
  constexpr std::size_t part_max = 14;
  if (part.empty() || part.size() > part_max || part == "." || part == ".." || part.starts_with('-')) return false;
  return std::all_of(part.begin(), part.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '_' || c == '+';
  });
}

void check_time_zone(causes& out, const json::value& zone, const place& at) {
  if (!zone.is_string()) return;
  auto name = zone.as_string();
  if (name.empty()) return out.push_back(invalid_value(at, zone, "timeZone must be nil or non-empty string"));
  for (auto part : split(name, '/'))
    if (!is_zone_part(part)) return out.push_back(invalid_value(at, zone, fmt::format("unknown time zone {}", name)));
  if (lower(name) == "local")
    out.push_back(invalid_value(
        at, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"));
  if (auto wrong = time_zone_problem(name); !wrong.empty()) out.push_back(invalid_value(at, zone, wrong));
}

void check(causes& out, const json::value& o, const json::value* old, const pod_options& options) {
  const place at("spec"), of_job(at, "jobTemplate.spec");
  auto &spec = o["spec"], &job = spec["jobTemplate"]["spec"];
  check_schedule(out, spec, at, old && names_zone((*old)["spec"]["schedule"].as_string()));
  not_negative(out, spec, at, "startingDeadlineSeconds");
  if (!old || !(spec["timeZone"] == (*old)["spec"]["timeZone"]))
    check_time_zone(out, spec["timeZone"], place(at, "timeZone"));
  one_of_needed(out, spec, at, "concurrencyPolicy", {"Allow", "Forbid", "Replace"});
  check_job_spec(out, job, of_job, options);
  if (job["selector"].is_object())
    out.push_back(invalid_value(place(of_job, "selector"), job["selector"], "`selector` will be auto-generated"));
  if (job["manualSelector"].as_bool())
    out.push_back(not_supported(place(of_job, "manualSelector"), true, {"nil", "false"}));
  not_negative(out, spec, at, "successfulJobsHistoryLimit");
  not_negative(out, spec, at, "failedJobsHistoryLimit");
  if (auto& name = o["metadata"]["name"]; !old && name.as_string().size() > name_max)
    out.push_back(invalid_value("metadata.name", name, fmt::format("must be no more than {} characters", name_max)));
  need(out, spec, at, "schedule");
}

void validate(causes& out, const json::value& o) { check(out, o, nullptr, {}); }

void validate_update(causes& out, const json::value& o, const json::value& old) {
  check(out, o, &old, template_options(old["spec"]["jobTemplate"]["spec"]["template"]));
}

void warn(warnings& out, const json::value& o, const json::value* old) {
  if (!old) warn_name(out, o, "Pod names and hostnames");
  if (is_new_generation(o, old)) warn_job_spec(out, o["spec"]["jobTemplate"]["spec"], "spec.jobTemplate.spec");
  if (old && names_zone(o["spec"]["schedule"].as_string()))
    out.push_back(
        "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see "
        "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details");
}

}  // namespace

const kind_rules kinds::cron_jobs{.group = "batch",
                                  .resource = "cronjobs",
                                  .generation = true,
                                  .validate = validate,
                                  .validate_update = validate_update,
                                  .warn = warn};

}  // namespace kedge::api
