// helm_charts.cc: HelmCharts are installed, upgraded and uninstalled by Jobs (helm-controller), as K3s's
// helm-controller has them.
//
//   chart ─▶ claimed, finalizer ─▶ Job made, suspended ─▶ seen by the job controller: resumed ─▶ complete: the release
//   has
//     ▲                                                                                           the configuration's
//     hash └── chart, its HelmChartConfig, its Secrets change: the Job is suspended, removed, and made anew ◀──────┘
//
// A chart that is deleted waits for the Job that uninstalls it. What is made is a set of wrangler's (object_set.h), so
// a K3s server that takes over finds its own.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/log.h"
#include "base/strings.h"
#include "control/charts/chart_job.h"
#include "control/conditions.h"
#include "control/controllers.h"
#include "control/finalizers.h"
#include "control/object_set.h"
#include "control/owners.h"
#include "control/resources.h"
#include "control/settings.h"

namespace kedge::control {
namespace {

using namespace charts;

const api::resource_id helm_charts{"helm.cattle.io", "v1", "helmcharts"};
const api::resource_id helm_chart_configs{"helm.cattle.io", "v1", "helmchartconfigs"};
const api::resource_id jobs{"batch", "v1", "jobs"};

constexpr std::string_view managed_by = "helmcharts.cattle.io/managed-by";
constexpr std::string_view unmanaged = "helmcharts.helm.cattle.io/unmanaged";
constexpr std::string_view finalizer = "wrangler.cattle.io/on-helm-chart-remove";
constexpr std::string_view chart_label = "helmcharts.helm.cattle.io/chart";
constexpr std::string_view release_type = "helm.sh/release.v1";
// The set of an uninstallation: what it made goes when it is done.
constexpr auto removal_set = "helm-chart-registration";
constexpr auto failed_message = "Job has reached configured number of retries without succeeding";
constexpr auto retry_time = std::chrono::seconds(5);  // of what the Job's own changes bring back sooner

std::string text(const json::value& v) { return std::string(v.as_string()); }
bool is_true(const json::value* job, std::string_view condition) {
  return job && condition_status(*job, condition) == "True";
}
// Seen by the job controller, and never begun.
bool is_ready_to_begin(const json::value* job) {
  return is_true(job, "Suspended") && (*job)["metadata"]["generation"].as_integer() == 1 &&
         (*job)["spec"]["suspend"].as_bool();
}

class helm_controller final : public controller {
 public:
  explicit helm_controller(const settings& s) : settings_(s.helm) {}

  std::vector<source> sources() override {
    return {{helm_charts, own_key, true},
            {helm_chart_configs, own_key, true},
            {jobs,
             [](const seen& s, keys& k) {
               auto& m = s.value()["metadata"];
               if (auto name = m["labels"][chart_label].as_string(); !name.empty())
                 k.add(text(m["namespace"]) + "/" + std::string(name));
             }},
            {secrets, [this](const seen& s, keys& k) {
               if (auto of = by_secret_.find(s.name()); of != by_secret_.end())
                 for (auto& chart : of->second) k.add(chart);
             }}};
  }

  task<api::api_result<void>> work(shell& s, std::string key) override {
    const auto now = s.now();
    auto* found = now.get(helm_charts, key);
    if (!found) {
      watch_secrets(key, {});
      co_return api::api_result<void>();
    }
    auto chart = *found;
    const auto& version = chart["spec"]["helmVersion"];
    const bool supported = version.as_string().empty() || version.as_string() == "v3";
    if (!manages(chart)) co_return api::api_result<void>();
    if (is_deleting(chart)) {
      if (!has_finalizer(chart, finalizer)) co_return api::api_result<void>();
      if (!supported || is_ending(now, chart)) co_return co_await let_go(s, std::move(chart));
      co_return co_await uninstall(s, key, std::move(chart));
    }
    if (!chart["metadata"]["annotations"].find(managed_by) || !has_finalizer(chart, finalizer))
      co_return co_await claim(s, std::move(chart));
    if (!supported) co_return co_await refuse(s, std::move(chart));
    co_return co_await install(s, key, std::move(chart));
  }

 private:
  bool manages(const json::value& chart) const {
    auto& m = chart["metadata"];
    if (!settings_.only_namespace.empty() && m["namespace"].as_string() != settings_.only_namespace) return false;
    if (chart["spec"]["chart"].as_string().empty() && chart["spec"]["chartContent"].as_string().empty()) return false;
    if (m["annotations"].find(unmanaged)) return false;
    auto* by = m["annotations"].find(managed_by);
    return !by || by->as_string() == settings_.controller_name;
  }

  static bool is_ending(const view& now, const json::value& chart) {
    auto* ns = now.get(namespaces, {}, chart["metadata"]["namespace"].as_string());
    return !ns || is_deleting(*ns);
  }

  task<api::api_result<void>> claim(shell& s, json::value chart) {
    auto& m = chart.member("metadata");
    m.member("annotations").set(managed_by, settings_.controller_name);
    if (!has_finalizer(chart, finalizer)) m.member("finalizers").push_back(finalizer);
    co_return co_await written(s.client().update(helm_charts, text(m["namespace"]), std::move(chart)));
  }

  static task<api::api_result<void>> let_go(shell& s, json::value chart) {
    remove_finalizer(chart, finalizer);
    auto ns = text(chart["metadata"]["namespace"]);
    co_return co_await written(s.client().update(helm_charts, std::move(ns), std::move(chart)));
  }

  static task<api::api_result<void>> written(task<api::api_result<json::value>> write) {
    auto done = co_await std::move(write);
    if (!done) co_return api::fail(std::move(done).error());
    co_return api::api_result<void>();
  }

  static json::array conditions(bool created, std::string_view created_message, bool failed, std::string_view reason,
                                std::string_view message) {
    json::object of_job{{"type", "JobCreated"}, {"status", created ? "True" : "False"}};
    if (created) {
      of_job.set("reason", "Job created");
      of_job.set("message", created_message);
    }
    json::object of_failure{{"type", "Failed"}, {"status", failed ? "True" : "False"}};
    if (failed) {
      of_failure.set("reason", reason);
      of_failure.set("message", message);
    }
    return {std::move(of_job), std::move(of_failure)};
  }

  static task<api::api_result<void>> set_status(shell& s, json::value& chart, std::string job, json::array conditions) {
    auto status = chart["status"];
    if (!job.empty()) status.set("jobName", std::move(job));
    if (!conditions.empty()) status.set("conditions", std::move(conditions));
    if (status == chart["status"]) co_return api::api_result<void>();
    chart.set("status", std::move(status));
    auto done = co_await s.client().update(helm_charts, text(chart["metadata"]["namespace"]), chart, "status");
    if (!done) co_return api::fail(std::move(done).error());
    chart = *std::move(done);
    co_return api::api_result<void>();
  }

  static task<api::api_result<void>> refuse(shell& s, json::value chart) {
    s.recorder().tell({reference_to(chart), true, "UnsupportedVersion",
                       fmt::format("Unsupported Helm version {}: only v3 charts are supported",
                                   chart["spec"]["helmVersion"].as_string())});
    co_return co_await set_status(
        s, chart, {}, conditions(false, {}, true, "Unsupported version", "Only Helm v3 charts are supported"));
  }

  // Whether it was the other way before.
  static task<bool> suspend(shell& s, const json::value& chart, bool on) {
    auto ns = text(chart["metadata"]["namespace"]), name = job_name(chart);
    auto done = co_await s.client().patch(
        jobs, ns, name, api::patch_kind::json,
        json::array{json::object{{"op", "test"}, {"path", "/spec/suspend"}, {"value", !on}},
                    json::object{{"op", "replace"}, {"path", "/spec/suspend"}, {"value", on}}});
    if (!done) co_return false;
    s.recorder().tell({reference_to(chart), false, on ? "SuspendJob" : "ResumeJob",
                       on ? fmt::format("Suspended Job {}/{} for delete", ns, name)
                          : fmt::format("Resumed synced Job {}/{}", ns, name)});
    co_return true;
  }

  release release_of(const view& now, const json::value& chart) const {
    const bool in_maps = chart["spec"]["driver"].as_string() == "configmap";
    release latest;
    now.cluster().scan(now.prefix(in_maps ? config_maps : secrets, release_namespace(chart)), {},
                       [&](const store::object_ref& o) {
                         if (!o->labels_text().contains("\"owner\":\"helm\"")) return true;
                         auto* v = now.value(o);
                         if (!v || (*v)["metadata"]["labels"]["owner"].as_string() != "helm" ||
                             (*v)["metadata"]["labels"]["name"] != chart["metadata"]["name"])
                           return true;
                         if (in_maps || (*v)["type"].as_string() == release_type)
                           latest.see((*v)["metadata"]["labels"]);
                         return true;
                       });
    return latest;
  }

  chart_job make(const view& now, const std::string& key, const json::value& chart) {
    auto* config = now.get(helm_chart_configs, key);
    auto ns = text(chart["metadata"]["namespace"]);
    std::set<std::string> watched;
    for (auto& name : watched_secrets(chart, config)) watched.insert(ns + "/" + name);
    watch_secrets(key, std::move(watched));
    return job_of(chart, config, [&](std::string_view name) { return now.get(secrets, ns, name); }, settings_);
  }

  task<api::api_result<void>> install(shell& s, const std::string& key, json::value chart) {
    const auto now = s.now();
    auto* there = now.get(jobs, text(chart["metadata"]["namespace"]), job_name(chart));
    auto place = text(chart["metadata"]["namespace"]) + "/" + job_name(chart);
    auto applying = "Applying HelmChart using Job " + place;
    if (is_true(there, "Failed")) {
      s.recorder().tell({reference_to(chart), true, "JobFailed", failed_message});
      auto told = co_await set_status(s, chart, {}, conditions(true, applying, true, "Job failed", failed_message));
      if (!told) co_return told;
    }
    if (is_ready_to_begin(there)) {
      co_await suspend(s, chart, false);
      co_return api::api_result<void>();
    }
    auto wanted = make(now, key, chart);
    auto latest = release_of(now, chart);
    const bool complete = is_true(there, "Complete");
    if (complete ? latest.status == "deployed" && latest.hash == wanted.hash : there && !is_another(*there, wanted.job))
      co_return api::api_result<void>();
    auto told = co_await set_status(s, chart, job_name(chart), conditions(true, applying, false, {}, {}));
    if (!told) co_return told;
    co_await suspend(s, chart, true);
    s.recorder().tell({reference_to(chart), false, "ApplyJob",
                       fmt::format("Applying HelmChart from {} using Job {} ", source_of(chart), place)});
    co_await apply(s, key, chart, std::move(wanted), latest, settings_.controller_name + "-chart-registration");
    co_return api::api_result<void>();
  }

  task<api::api_result<void>> uninstall(shell& s, const std::string& key, json::value chart) {
    const auto now = s.now();
    auto* there = now.get(jobs, text(chart["metadata"]["namespace"]), job_name(chart));
    auto place = text(chart["metadata"]["namespace"]) + "/" + job_name(chart);
    if (is_ready_to_begin(there)) {
      co_await suspend(s, chart, false);
      co_return api::api_result<void>();
    }
    if (is_true(there, "Complete")) {
      s.recorder().tell({reference_to(chart), false, "RemoveJob",
                         fmt::format("Uninstalled HelmChart using Job {}, removing resources", place)});
      auto failed =
          co_await apply_set(s.client(), {.owner = owner_of(chart, removal_set), .objects = {}, .kinds = kinds()});
      if (!failed.empty()) co_return later(s, key, failed);
      co_return co_await let_go(s, std::move(chart));
    }
    auto wanted = make(now, key, chart);
    if (there && !is_another(*there, wanted.job)) co_return api::api_result<void>();
    co_await suspend(s, chart, true);
    s.recorder().tell(
        {reference_to(chart), false, "RemoveJob", fmt::format("Uninstalling HelmChart using Job {} ", place)});
    auto told = co_await set_status(s, chart, job_name(chart), {});
    if (!told) co_return told;
    co_await apply(s, key, chart, std::move(wanted), release_of(now, chart), removal_set);
    co_return api::api_result<void>();
  }

  // A Job can't be changed: one that is there goes when none of its pods is left, and is made anew when it has gone.
  task<void> apply(shell& s, const std::string& key, const json::value& chart, chart_job wanted, const release& latest,
                   std::string set) {
    expect(wanted.job, latest, wanted.hash);
    auto objects = std::move(wanted.objects);
    objects.push_back(std::move(wanted.job));
    auto failed = co_await apply_set(
        s.client(), {.owner = owner_of(chart, std::move(set)),
                     .objects = std::move(objects),
                     .kinds = kinds(),
                     .decide = [](const json::value& there) -> api::api_result<object_set::decision> {
                       if (there["kind"].as_string() != "Job") return object_set::decision::change;
                       auto& status = there["status"];
                       if (status["conditions"].empty())
                         return api::fail(api::bad_request("wait for job controller sync before replace"));
                       if (status["active"].as_integer() + status["terminating"].as_integer() != 0)
                         return api::fail(api::bad_request("wait for pods to terminate before replace"));
                       return object_set::decision::replace;
                     }});
    if (!failed.empty()) (void)later(s, key, failed);
  }

  static api::api_result<void> later(shell& s, const std::string& key, const std::vector<std::string>& why) {
    const bool waits =
        std::ranges::all_of(why, [](auto& w) { return w.contains("wait for ") || w.contains("Replace Wait"); });
    if (waits)
      log::debug("helm-controller: {}: {}", key, join(why, ", "));
    else
      log::warning("helm-controller: {}: {}", key, join(why, ", "));
    s.queue().add_after(key, retry_time);
    return {};
  }

  static set_owner owner_of(const json::value& chart, std::string set) {
    return {.id = std::move(set),
            .what = {"helm.cattle.io/v1", "HelmChart"},
            .ns = text(chart["metadata"]["namespace"]),
            .name = text(chart["metadata"]["name"]),
            .uid = std::string(uid_of(chart))};
  }
  static std::vector<versioned_kind> kinds() {
    return {{"batch/v1", "Job"},
            {"rbac.authorization.k8s.io/v1", "ClusterRoleBinding"},
            {"v1", "ConfigMap"},
            {"v1", "Secret"},
            {"v1", "ServiceAccount"}};
  }

  void watch_secrets(const std::string& chart, std::set<std::string> wanted) {
    auto& had = by_chart_[chart];
    for (auto& name : had)
      if (!wanted.contains(name))
        if (auto of = by_secret_.find(name); of != by_secret_.end() && of->second.erase(chart) && of->second.empty())
          by_secret_.erase(of);
    for (auto& name : wanted) by_secret_[name].insert(chart);
    had = std::move(wanted);
    if (had.empty()) by_chart_.erase(chart);
  }

  const helm_settings settings_;
  std::map<std::string, std::set<std::string>, std::less<>> by_secret_, by_chart_;  // "namespace/name" of each other
};

}  // namespace

std::unique_ptr<controller> make_helm_controller(const settings& s) { return std::make_unique<helm_controller>(s); }

}  // namespace kedge::control
