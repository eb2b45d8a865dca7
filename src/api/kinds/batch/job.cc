// job.cc: Job and CronJob.
#include <fmt/format.h>

#include "api/cron.h"
#include "api/kind_rules.h"
#include "api/kinds/core/pod_spec.h"

namespace kedge::api {
namespace {

// The selector that a Job gets from its own uid, which the pods' labels carry too.
void prepare_create(json::value& o, const kind_context& c) {
  if (o["spec"]["manualSelector"].as_bool()) return;
  // Labels and selector carry the uid, so it is chosen here instead of later with the rest of the system metadata.
  auto uid = c.random.uuid();
  o.member("metadata").set("uid", uid);
  auto& spec = o.member("spec");
  auto& labels = spec.member("template").member("metadata").member("labels");
  auto name = o["metadata"]["name"];
  for (auto key : {"controller-uid", "batch.kubernetes.io/controller-uid"}) labels.set(key, uid);
  for (auto key : {"job-name", "batch.kubernetes.io/job-name"}) labels.set(key, name);
  if (!spec["selector"].is_object()) spec.set("selector", json::object{{"matchLabels", json::object{{"batch.kubernetes.io/controller-uid", uid}}}});
}

void check_job_spec(causes& out, const json::value& spec, const std::string& path, bool with_selector) {
  for (auto name : {"parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished", "backoffLimitPerIndex", "maxFailedIndexes"})
    not_negative(out, spec, path, name);
  one_of(out, spec, path, "completionMode", {"Indexed", "NonIndexed"});
  if (spec["completionMode"].as_string() == "Indexed" && !spec["completions"].is_integer())
    out.push_back(required(path + ".completions", "when completion mode is Indexed"));
  if (with_selector) {
    if (!spec["selector"].is_object())
      out.push_back(required(path + ".selector"));
    else
      check_label_selector(out, spec["selector"], path + ".selector");
  }
  check_pod_template(out, spec["template"], path + ".template", with_selector && spec["selector"].is_object() ? &spec["selector"] : nullptr);
  auto policy = spec["template"]["spec"]["restartPolicy"].as_string();
  if (policy == "Always")
    out.push_back(required(path + ".template.spec.restartPolicy", "valid values: \"OnFailure\", \"Never\""));
  else if (policy != "OnFailure" && policy != "Never")
    out.push_back(not_supported(path + ".template.spec.restartPolicy", policy, {"Never", "OnFailure"}));
  if (spec["podFailurePolicy"].is_object() && policy != "Never")
    out.push_back(invalid_value(path + ".template.spec.restartPolicy", policy, "only \"Never\" is supported when podFailurePolicy is specified"));
}

void job(causes& out, const json::value& o) { check_job_spec(out, o["spec"], "spec", true); }

void job_update(causes& out, const json::value& o, const json::value& old) {
  for (auto name : {"selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"})
    immutable(out, o["spec"][name], old["spec"][name], under("spec", name));
  if (o["spec"]["completionMode"].as_string() != "Indexed") immutable(out, o["spec"]["completions"], old["spec"]["completions"], "spec.completions");
  // A suspended job that never started may still be moved to other nodes.
  auto now = o["spec"]["template"], before = old["spec"]["template"];
  if (old["spec"]["suspend"].as_bool() && old["status"]["startTime"].is_null()) {
    for (auto t : {&now, &before}) {
      t->erase("metadata");
      for (auto name : {"nodeSelector", "affinity", "tolerations", "schedulingGates"}) t->member("spec").erase(name);
    }
  }
  if (!(now == before)) out.push_back(invalid_value("spec.template", o["spec"]["template"], "field is immutable"));
}

void cron_job(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  auto schedule = spec["schedule"].as_string();
  if (o["metadata"]["name"].as_string().size() > 52)
    out.push_back(invalid_value("metadata.name", o["metadata"]["name"], "must be no more than 52 characters"));
  if (schedule.empty()) {
    out.push_back(required("spec.schedule"));
  } else {
    if (schedule.find("TZ") != std::string_view::npos)
      out.push_back(invalid_value("spec.schedule", schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"));
    else if (auto bad = cron_problem(schedule); !bad.empty())
      out.push_back(invalid_value("spec.schedule", schedule, bad));
  }
  if (auto zone = spec["timeZone"].string(); zone && zone->empty()) out.push_back(invalid_value("spec.timeZone", *zone, "timeZone must be nil or non-empty string"));
  one_of(out, spec, "spec", "concurrencyPolicy", {"Allow", "Forbid", "Replace"});
  for (auto name : {"startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"}) not_negative(out, spec, "spec", name);
  check_job_spec(out, spec["jobTemplate"]["spec"], "spec.jobTemplate.spec", false);
}

void warn(std::vector<std::string>& out, const json::value& o) { warn_pod_spec(out, o["spec"]["template"]["spec"], "spec.template.spec"); }

}  // namespace

const kind_rules kinds::jobs{.group = "batch", .resource = "jobs", .generation = true, .orphan_by_default = true, .prepare_create = prepare_create, .validate = job, .validate_update = job_update, .warn = warn};
const kind_rules kinds::cron_jobs{.group = "batch", .resource = "cronjobs", .generation = true, .validate = cron_job};

}  // namespace kedge::api
