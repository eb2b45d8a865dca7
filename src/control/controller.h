// controller.h: the frame of every controller.
//
//   store events of the prefixes it follows ─▶ keys ─▶ work queue ─▶ reconcile(key): read the snapshot, commit what is missing
//
// A controller is level-triggered: reconcile looks at what is, not at what happened, and may be called for nothing. It runs
// on one core, ends when dropped, and starts again after a lost leadership without a trace of before.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "api/objects.h"
#include "control/work_queue.h"

namespace kedge::control {

namespace scheduler {
struct configuration;
}

// What every controller is given.
struct context {
  api::objects& objects;
  std::string cluster_cidr;                  // pod addresses, "10.42.0.0/16"
  unsigned node_cidr_mask = 24;              // the part of it that each node gets
  std::string root_ca_pem;                   // for kube-root-ca.crt
  // kube-controller-manager's timings by its own names, so that tests can shorten them.
  duration node_monitor_grace_period = std::chrono::seconds(50);
  duration node_monitor_period = std::chrono::seconds(5);
  duration node_startup_grace_period = std::chrono::seconds(60);
  // How pods get their nodes; null: another scheduler does it (--disable-scheduler).
  const scheduler::configuration* scheduling = nullptr;
};

// Reads every object under `prefix` and then follows its changes until dropped: `each` sees the existing ones as added.
// After a gap (compaction, slow reader) it starts over: `each` then sees existing ones again, and `restarted` is called
// first, so that a controller can forget what it derived.
task<void> follow(store::store& s, std::string prefix, std::function<void(const store::event&)> each,
                  std::function<void()> restarted = {});

// Works the queue with that many at a time until dropped. A failed reconcile is logged and retried with backoff; one whose
// object changed meanwhile (409) or is gone (404) is simply looked at again.
task<void> work(std::string controller, work_queue& queue, unsigned at_once,
                std::function<task<api::api_result<void>>(std::string key)> reconcile);

// "default/web" for namespaced objects, "web" for others, from an etcd key under `prefix`.
std::string_view name_under(std::string_view prefix, std::string_view key);

// Each runs until dropped. One file each; what it does stands there.
task<void> run_node_ipam(context& c);
task<void> run_node_lifecycle(context& c);
task<void> run_cloud_node(context& c);
task<void> run_namespace_lifecycle(context& c);
task<void> run_role_aggregation(context& c);
task<void> run_garbage_collector(context& c);
task<void> run_service_accounts(context& c);
task<void> run_service_allocations(context& c);
task<void> run_token_cleaner(context& c);
task<void> run_custom_resources(context& c);
task<void> run_resource_quota(context& c);
task<void> run_disruption(context& c);
task<void> run_storage_protection(context& c);
task<void> run_flow_schemas(context& c);

// All of them but those of the housekeeping (housekeeping.h), until dropped.
task<void> run_controllers(context& c);

}  // namespace kedge::control
