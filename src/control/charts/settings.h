// settings.h: what the Helm controller can be told: K3s's --helm-controller-arg and --helm-job-image, with K3s's
// defaults.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "json/value.h"

namespace kedge::control::charts {

struct helm_settings {
  bool enabled = true;                              // --disable-helm-controller takes it away
  std::string controller_name = "helm-controller";  // whose charts it manages, by their annotation
  std::string job_image = "rancher/klipper-helm:v0.13.3-build20260727";
  std::string job_cluster_role = "cluster-admin";
  std::string only_namespace;     // of charts; empty: all
  std::uint16_t api_port = 6443;  // of this server, for jobs on the hosts' network
  json::value job_resources = json::object{{"limits", json::object{{"cpu", "32"}, {"memory", "32G"}}},
                                           {"requests", json::object{{"cpu", "100m"}, {"memory", "10M"}}}};
  json::array job_tolerations;                               // beside the charts' own
  std::vector<std::pair<std::string, std::string>> proxies;  // the server's own HTTP_PROXY …, for the jobs
};

}  // namespace kedge::control::charts
