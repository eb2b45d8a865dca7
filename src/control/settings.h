// settings.h: what controllers can be told: kube-controller-manager's arguments that mean something here, by its names,
// with its defaults.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "api/objects.h"
#include "base/time.h"
#include "control/charts/settings.h"

namespace kedge::api {
class metrics;
}
namespace kedge::crypto {
class authority;
class private_key;
}  // namespace kedge::crypto

namespace kedge::control {

// Of volumes on the nodes' disks.
struct local_storage_settings {
  bool enabled = true;                                        // --disable=local-storage takes it away
  std::string default_path = "/var/lib/rancher/k3s/storage";  // without a ConfigMap local-path-config
  // POST to a node's port; null: nodes can't be reached.
  std::function<task<result<api::raw_answer>>(std::string node, std::string path, std::string body)> post_to_node;
};

struct settings {
  api::metrics* measures = nullptr;        // of their queues; outlives them
  std::vector<std::string> cluster_cidrs;  // pod addresses, "10.42.0.0/16": one of a family at most
  bool allocate_node_cidrs = true;
  unsigned node_cidr_mask_size = 24, node_cidr_mask_size_v6 = 64;  // the part of each that a node gets
  std::string root_ca_pem;                                         // for kube-root-ca.crt
  // Who signs clients' and kubelets' serving certificates; null: nobody signs.
  std::shared_ptr<const crypto::authority> client_authority, server_authority;
  std::shared_ptr<const crypto::private_key> service_account_key;  // of tokens in Secrets; null: nobody makes them
  duration cluster_signing_duration = std::chrono::hours(8760);    // at most
  charts::helm_settings helm;
  local_storage_settings local_storage;
  // Takes the member of that name and address out of the cluster's own etcd; good also when it isn't in it.
  // errc::unsupported: it is all of it, and stays. null: there is none.
  std::function<task<result<void>>(std::string name, std::string address)> remove_etcd_member;
  bool service_lb = true;        // --disable=servicelb takes it away
  bool cloud_controller = true;  // K3s's --disable-cloud-controller takes it away

  std::vector<std::string> controllers = {"*", "tokencleaner"};  // K3s's
  std::map<std::string, unsigned, std::less<>> workers;          // controller's name → how many keys at once

  duration node_monitor_period = std::chrono::seconds(5);
  duration node_monitor_grace_period = std::chrono::seconds(50);
  duration node_startup_grace_period = std::chrono::seconds(60);
  double node_eviction_rate = 0.1;
  double secondary_node_eviction_rate = 0.01;
  unsigned large_cluster_size_threshold = 50;
  double unhealthy_zone_threshold = 0.55;
  std::int64_t terminated_pod_gc_threshold = 12'500;  // <= 0: never
  bool enable_garbage_collector = true;
  bool disable_force_detach_on_timeout = false;  // of volumes that a node which isn't ready doesn't let go
  duration resource_quota_sync_period = std::chrono::minutes(5);
  unsigned max_endpoints_per_slice = 100;               // of EndpointSlices
  unsigned mirroring_max_endpoints_per_subset = 1'000;  // of Endpoints
  // How long what pods change waits for more of it.
  duration endpoint_updates_batch_period{}, endpointslice_updates_batch_period{},
      mirroring_endpointslice_updates_batch_period{};

  duration hpa_sync_period = std::chrono::seconds(15);  // horizontal-pod-autoscaler-…
  duration hpa_downscale_stabilization = std::chrono::minutes(5);
  duration hpa_cpu_initialization_period = std::chrono::minutes(5);
  duration hpa_initial_readiness_delay = std::chrono::seconds(30);
  double hpa_tolerance = 0.1;
};

}  // namespace kedge::control
