// profile.h: which plugins place the pods of one spec.schedulerName, and with which weights.
#pragma once

#include <chrono>

#include "control/scheduler/plugin.h"

namespace kedge::control::scheduler {

struct profile {
  struct scorer {
    const plugin* of;
    std::int64_t weight;
  };
  std::string scheduler_name = "default-scheduler";
  std::vector<std::unique_ptr<plugin>> plugins;  // that this profile has, in order
  std::vector<const plugin*> filters;
  std::vector<scorer> scorers;
  // Of a cluster's nodes, on how many a pod must be found to fit before the best is chosen; 0: by the cluster's size.
  std::int64_t percent_of_nodes = 0;
  bool binds_volumes = true;                                     // VolumeBinding is on
  std::chrono::seconds bind_timeout{600};                        // its argument: for a pod's volumes to be bound
  const plugin* devices = nullptr;                               // DynamicResources, when it is on
  std::chrono::seconds device_timeout{600};                      // its argument: for devices to be bound
  bool preempts = true;                                          // DefaultPreemption is on
  std::int64_t candidates_percent = 10, candidates_least = 100;  // its arguments: nodes looked at for victims
};

// Of a KubeSchedulerProfile whose fields are checked; null: the default one. `where` is its place in the file; what has
// no meaning here is added to `without_effect`. errc::invalid names what is wrong, and where.
result<profile> make_profile(const json::value& given, std::string_view where,
                             std::vector<std::string>& without_effect);

// A percentageOfNodesToScore; null leaves `into`.
result<void> read_percent(const json::value& given, std::string_view where, std::int64_t& into);

}  // namespace kedge::control::scheduler
