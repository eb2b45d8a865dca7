// traefik.h: Traefik as K3s packages it, for who asks for it (--with traefik): HelmCharts by K3s's names, so that
// HelmChartConfigs for them, --disable traefik, and what uninstalls them, mean the same.
//
//   <data dir>/server/static/charts/traefik-VERSION.tgz     served to Helm's Job by the servers themselves
//   …/traefik-crd-VERSION.tgz                               beside it, as K3s's own charts are cut in two
//   neither: Traefik's repository of charts
#pragma once

#include <string>
#include <vector>

#include "json/value.h"

namespace kedge::control::addons {

struct traefik_charts {
  std::string chart, definitions;  // names of files in static/charts; empty: there is none
};
// The newest of each in that folder. Blocking.
traefik_charts find_traefik(const std::string& charts_folder);

// The HelmCharts. `registry`: --system-default-registry.
std::vector<json::value> traefik(const traefik_charts& found, const std::string& registry);

}  // namespace kedge::control::addons
