// node_view.h: one node as the scheduler sees it: what it has, and the pods that are bound or assumed to be there,
// summed up.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "control/scheduler/pod_class.h"

namespace kedge::control::scheduler {

struct node_view;

// A pod that exists and hasn't ended.
struct pod_view {
  std::string ns, name, uid;
  pod_class_ref is;
  std::string node;                // bound or assumed there; empty: pending
  std::string nominated;           // status.nominatedNodeName
  wall_time created{}, started{};  // started: status.startTime, else now
  // status.resourceClaimStatuses: the claims that were made for it, by its names for them; nothing: none is needed.
  std::map<std::string, std::optional<std::string>, std::less<>> made_claims;
  bool terminating = false;
  bool preempted = false;  // condition DisruptionTarget of the scheduler's own doing
  bool assumed = false;    // bound here, and not yet seen bound

  std::string key() const { return ns + "/" + name; }
};
using pod_ref = std::shared_ptr<pod_view>;

// What an image is to the cluster.
struct image_view {
  std::int64_t size = 0;  // bytes, as the first node with it said
  std::size_t nodes = 0;  // that have it
};

struct node_view {
  std::string name;
  std::uint64_t generation = 0;  // grows with every change
  label_set labels;
  std::vector<taint> taints;
  bool unschedulable = false;
  resources allocatable;
  std::int64_t pods_max = 0;
  std::vector<const image_view*> images;  // sorted
  std::vector<std::string> features;      // status.declaredFeatures, sorted

  struct of_class {
    pod_class_ref is;
    std::int64_t count = 0, terminating = 0;  // terminating ones are among count
  };
  std::vector<pod_ref> pods;
  std::vector<of_class> classes;  // of `pods`
  resources requested;
  std::int64_t nonzero_cpu = 0, nonzero_memory = 0;
  std::vector<host_port> ports;

  void add(const pod_ref& p);
  // True when it was there.
  bool remove(const pod_view& p);
};

}  // namespace kedge::control::scheduler
