// chart_job.h: the Job that installs a HelmChart, and what it needs, as K3s's helm-controller makes them. Pure.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "control/charts/settings.h"
#include "json/value.h"

namespace kedge::control::charts {

// A Secret of the chart's namespace by its name; null: there is none.
using secret_finder = std::function<const json::value*(std::string_view name)>;

struct chart_job {
  json::value job;                   // to be suspended first; its environment says nothing of releases yet
  std::vector<json::value> objects;  // Secret and ConfigMap (not of a removal), account, binding; to be made before it
  std::string hash;                  // names the configuration, as a label of the release has it: 63 characters
};

// `config`: the HelmChartConfig of the same name; null: there is none. A chart that is being deleted gets the Job that
// uninstalls it.
chart_job job_of(const json::value& chart, const json::value* config, const secret_finder& secret,
                 const helm_settings& s);

// The latest release that Helm has of the chart, by the labels of its Secrets (or ConfigMaps).
struct release {
  std::int64_t revision = 0;
  std::string status, hash;
  // Of several: the one with the highest number.
  void see(const json::value& labels);
};
// Tells the job which release it will find, and the hash for its own.
void expect(json::value& job, const release& now, const std::string& hash);

// Whether the Job that is there runs another configuration than this one would. What the API server filled in, and what
// expect() said, doesn't count.
bool is_another(const json::value& there, const json::value& wanted);

// "helm-install-web", or "helm-delete-web" of a chart that is being deleted.
std::string job_name(const json::value& chart);
// Where the release is: the target's namespace, or the chart's own.
std::string_view release_namespace(const json::value& chart);
// Where the chart comes from, in the words of the controller's events.
std::string source_of(const json::value& chart);
// The Secrets whose changes are changes of the chart.
std::vector<std::string> watched_secrets(const json::value& chart, const json::value* config);

}  // namespace kedge::control::charts
