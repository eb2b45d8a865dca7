// cluster_view.h: what the scheduler decides on: the nodes with their pods, and what else plugins ask for.
//
//   events (a snapshot's objects as added, then changes) ─▶ set_…, remove_… ─▶ node_view, pod_view
//   the scheduler's own decisions ─▶ assume ─▶ confirmed by the pod's event │ forget
//
// Invariant: the view is what folding all events gives, with the assumed pods on top; in which order events of
// different objects come doesn't matter. Pure: no store, no clock, one thread.
#pragma once

#include <map>
#include <span>
#include <unordered_map>

#include "control/scheduler/devices/devices_view.h"
#include "control/scheduler/node_view.h"
#include "control/scheduler/storage_view.h"

namespace kedge::control::scheduler {

// What about a node changed, for the hints of the plugins (kube-scheduler's ActionType).
enum node_change : unsigned {
  node_added = 1,
  node_allocatable = 2,
  node_labels = 4,
  node_taints = 8,
  node_conditions = 16,
  node_annotations = 32,
  node_features = 64
};

// A budget's part in choosing victims.
struct budget_view {
  std::string ns, name;
  api::label_selector selector;
  std::int64_t allowed = 0;            // status.disruptionsAllowed
  std::vector<std::string> disrupted;  // pods that are counted already
};

class cluster_view {
 public:
  // ---- nodes
  unsigned set_node(const json::value& node);  // what changed; 0: nothing that matters
  bool remove_node(std::string_view name);
  const node_view* find_node(std::string_view name) const noexcept;
  std::span<node_view* const> nodes() const noexcept { return listed_; }

  // ---- pods
  // Reads a pod. The view isn't changed.
  pod_ref read_pod(const json::value& pod, wall_time now);
  // Puts in its newest version; it takes room on its node when it has one. A pod that has ended must be removed.
  void set_pod(pod_ref p);
  void remove_pod(std::string_view ns, std::string_view name);
  pod_ref find_pod(std::string_view ns, std::string_view name) const;
  // Takes the pod for bound to `node` until its event says so, or forget().
  void assume(const pod_ref& p, std::string_view node);
  void forget(const pod_ref& p);
  std::size_t pods() const noexcept { return pods_.size(); }

  // Pending pods that are to get their place on `node`.
  std::span<const pod_ref> nominated(const node_view& node) const noexcept;

  // ---- what plugins ask for
  void set_namespace(std::string_view name, const json::value& labels);
  void remove_namespace(std::string_view name);
  const label_set& namespace_labels(std::string_view name) const noexcept;

  // Of Services, ReplicationControllers, ReplicaSets and StatefulSets, by which pods are spread that don't say how.
  void set_selector(std::string_view kind, std::string_view ns, std::string_view name, const json::value& selector);
  void remove_selector(std::string_view kind, std::string_view ns, std::string_view name);
  // The pods of the same service and controller; matches everything when there is none.
  api::label_selector default_selector(const pod_class& p) const;

  void set_budget(const json::value& budget);
  void remove_budget(std::string_view ns, std::string_view name);
  std::span<const budget_view> budgets() const noexcept { return budgets_; }

  const image_view* find_image(std::string_view name) const noexcept;

  storage_view& storage() noexcept { return storage_; }
  const storage_view& storage() const noexcept { return storage_; }
  devices_view& devices() noexcept { return devices_; }
  const devices_view& devices() const noexcept { return devices_; }
  // Whether a pod that has its node uses the claim.
  bool is_claim_used(std::string_view ns, std::string_view name) const;

  // For a new start after a gap in the events: what isn't told of again is gone.
  void forget_nodes();
  void forget_pods();
  void forget_namespaces() { namespaces_.clear(); }
  void forget_budgets() { budgets_.clear(); }
  void forget_services() { forget_selectors("Service/"); }
  void forget_replication_controllers() { forget_selectors("ReplicationController/"); }
  void forget_replica_sets() { forget_selectors("ReplicaSet/"); }
  void forget_stateful_sets() { forget_selectors("StatefulSet/"); }

  // Generations of everything but nodes' own: pods' terms, namespaces, selectors.
  std::uint64_t generation() const noexcept { return generation_; }

 private:
  struct place {
    node_view view;
    bool known = false;  // its Node exists
  };
  place& place_of(std::string_view name);
  void touch(node_view& n) noexcept { n.generation = ++generation_; }
  void leave_node(const pod_view& p);
  void drop_nomination(const pod_view& p);
  void count_claims(const pod_view& p, int n);
  bool set_images(node_view& n, const json::value& list);
  void drop_images(node_view& n);
  void forget_selectors(std::string_view kind);

  using name_map = std::unordered_map<std::string, pod_ref, string_hash, std::equal_to<>>;
  std::uint64_t generation_ = 0;
  std::unordered_map<std::string, std::unique_ptr<place>, string_hash, std::equal_to<>> places_;
  std::vector<node_view*> listed_;
  name_map pods_;  // by key()
  class_table classes_;
  std::unordered_map<std::string, std::vector<pod_ref>, string_hash, std::equal_to<>> nominated_;  // by node
  std::unordered_map<std::string, label_set, string_hash, std::equal_to<>> namespaces_;
  struct named_selector {
    json::value service;  // a Service's or ReplicationController's map
    api::label_selector selector;
  };
  // By namespace, then "kind/name".
  std::unordered_map<std::string, std::map<std::string, named_selector, std::less<>>, string_hash, std::equal_to<>>
      selectors_;
  std::vector<budget_view> budgets_;
  storage_view storage_;
  devices_view devices_;
  std::unordered_map<std::string, std::size_t, string_hash, std::equal_to<>> claim_users_;  // by namespace/name
  std::unordered_map<std::string, image_view, string_hash, std::equal_to<>>
      images_;  // nodes are stable under rehashing
  std::unordered_map<const node_view*, std::vector<std::string>> image_names_;
};

}  // namespace kedge::control::scheduler
