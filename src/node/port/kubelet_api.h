// kubelet_api.h: what the kubelet's port (10250) serves, behind kubelet_access: health, metrics, configuration,
// statistics, the machine's logs, and the pods that run here.
//
//   /healthz  /configz  /pods  /runningpods/  /logs/…
//   /metrics  /metrics/probes                             what the agent counts: kubelet_metrics.h
//   /metrics/resource  /metrics/cadvisor  /stats/summary  what the pods use: usage/
//   /localVolumes/make /localVolumes/remove               folders of volumes, for the servers: pods/local_volumes.h
//   /v2/…                                               images, for the cluster's nodes: mirror/image_mirror.h
//   /checkpoint/NAMESPACE/POD/CONTAINER                 a container as it is, into a file of the runtime's making
//   /containerLogs /exec /attach /portForward /run        of a pod: streams/pod_streams.h
#pragma once

#include <functional>
#include <string>

#include "base/exposition.h"
#include "net/http/handler.h"
#include "node/config.h"
#include "node/machine/system_info.h"
#include "node/mirror/image_mirror.h"
#include "node/port/kubelet_access.h"
#include "node/runtime/cri.h"
#include "node/runtime/runtime_state.h"
#include "node/streams/pod_streams.h"
#include "node/usage/usage.h"
#include "node/volumes/csi_volumes.h"

namespace kedge::node {

struct kubelet_parts {
  const agent_config& config;    // node_name and node_ips are resolved
  const runtime_state& runtime;  // as last looked at
  kubelet_access& access;
  const pod_manager& pods;
  pod_streams& streams;
  usage_meter& usage;
  pod_runtime& containers;
  cri_client& cri;
  const system_info& machine;
  std::string cluster_domain;
  std::vector<std::string> cluster_dns;
  const std::vector<claim_figures>& volumes;
  std::function<void(exposition&)> more_metrics;  // of the balancer, the tunnels and the runtime; null: none
  image_mirror* mirror = nullptr;                 // null: nodes share no images
  std::string logs_folder = "/var/log";
};

class kubelet_api final : public net::http::handler {
 public:
  explicit kubelet_api(kubelet_parts p) : parts_(std::move(p)) {}
  task<void> serve(net::http::exchange& e) override;

 private:
  task<void> serve_allowed(net::http::exchange& e);
  task<void> serve_images(net::http::exchange& e);
  task<void> serve_metrics(net::http::exchange& e);
  task<void> serve_probes(net::http::exchange& e);
  task<void> serve_resource_metrics(net::http::exchange& e);
  task<void> serve_cadvisor_metrics(net::http::exchange& e);
  task<void> serve_summary(net::http::exchange& e);
  task<void> serve_logs(net::http::exchange& e);
  task<void> serve_local_volumes(net::http::exchange& e);
  task<void> serve_checkpoint(net::http::exchange& e);

  kubelet_parts parts_;
};

}  // namespace kedge::node
