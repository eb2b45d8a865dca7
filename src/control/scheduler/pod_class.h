// pod_class.h: all that the scheduler must know of a pod but for its name, place and age. Pods of one template are of
// one class: it is parsed once and shared, and what was found out for one of them holds for the others.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/strings.h"
#include "control/scheduler/placement.h"
#include "control/scheduler/resources.h"

namespace kedge::control::scheduler {

// A term of pod affinity or anti-affinity.
struct affinity_term {
  std::int64_t weight = 0;  // of a preferred one
  std::string topology_key;
  std::vector<std::string> namespaces;
  api::label_selector namespace_selector;  // selects nothing when there is none
  api::label_selector selector;
};

struct spread_constraint {
  std::int64_t max_skew = 1, min_domains = 1;
  std::string topology_key;
  api::label_selector selector;
  bool honor_affinity = true, honor_taints = false;
};

struct host_port {
  std::string ip, protocol;  // never empty
  std::int64_t port = 0;
  bool clashes(const host_port& o) const noexcept;
  friend bool operator==(const host_port&, const host_port&) = default;
};

// A disk that a pod names itself, and that may not be in two pods of a node (in-tree volumes).
struct disk {
  std::string kind, id;
  bool read_only = false;
  bool clashes(const disk& o) const noexcept {
    return kind == o.kind && id == o.id && !(shares() && read_only && o.read_only);
  }
  bool shares() const noexcept { return kind != "awsElasticBlockStore"; }  // read-only in two pods is fine
};

struct volume_claim {
  std::string name;
  bool ephemeral = false;  // made for this pod, and owned by it
};

// Of spec.resourceClaims: a claim by its name, or one that is made for the pod.
struct device_claim_source {
  std::string name, claim;
  bool from_template = false;
};

// A container of a pod that asks for extended resources, in the order of the spec: init containers first.
struct resource_container {
  std::string name;
  bool passes = false;                                         // it ends before those behind it begin
  std::vector<std::string> requests;                           // all that it names, sorted
  std::vector<std::pair<std::string, std::int64_t>> extended;  // of them, with how many
  std::int64_t asks_for(std::string_view resource) const noexcept;
};

struct pod_class {
  std::string ns;
  label_set labels;
  std::string scheduler_name;
  std::int64_t priority = 0;
  bool never_preempts = false;
  resources requests;
  // What scores count: as if containers that ask for nothing asked for a little (kube-scheduler's 100m and 200 MiB).
  std::int64_t nonzero_cpu = 0, nonzero_memory = 0;  // as part of a node's sum
  std::int64_t scored_cpu = 0, scored_memory = 0;    // as the pod to place
  node_demand nodes;
  std::vector<preferred_term> preferred_nodes;
  std::vector<toleration> tolerations;
  std::vector<host_port> ports;
  std::vector<affinity_term> affinity, anti_affinity, preferred_affinity, preferred_anti_affinity;
  bool has_spread = false;                             // spec.topologySpreadConstraints isn't empty
  std::vector<spread_constraint> spread, soft_spread;  // DoNotSchedule, ScheduleAnyway
  std::vector<std::string> images;                     // of containers, init containers, image volumes; with their tags
  std::size_t image_count = 0;
  std::vector<std::string> gates;
  std::vector<std::string> features;  // that its node must declare, sorted
  std::vector<device_claim_source> device_claims;
  std::vector<resource_container> containers;  // empty: none asks for an extended resource
  std::vector<disk> disks;
  std::vector<volume_claim> claims;
  std::vector<std::string> inline_drivers;  // CSI drivers of volumes inside of the pod
  std::string owner_kind, owner_name;       // the controller, when it is one whose selector spreads its pods

  bool has_affinity() const noexcept {
    return !affinity.empty() || !anti_affinity.empty() || !preferred_affinity.empty() ||
           !preferred_anti_affinity.empty();
  }
};
using pod_class_ref = std::shared_ptr<const pod_class>;

// Whether `term` means pods of `other`, whose namespace has `namespace_labels`.
bool means(const affinity_term& term, const pod_class& other, const label_set& namespace_labels) noexcept;
bool means_all(const std::vector<affinity_term>& terms, const pod_class& other,
               const label_set& namespace_labels) noexcept;

// "docker.io/x" → "docker.io/x:latest".
std::string image_with_tag(std::string_view image);

// The classes of the pods that exist, by content. One thread.
class class_table {
 public:
  pod_class_ref of(const json::value& pod);
  std::size_t size() const noexcept { return known_.size(); }

 private:
  void sweep();
  std::unordered_map<std::string, std::weak_ptr<const pod_class>, string_hash, std::equal_to<>> known_;
  std::size_t sweep_at_ = 64;
};

}  // namespace kedge::control::scheduler
