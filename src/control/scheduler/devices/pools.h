// pools.h: the pools of devices that a node can reach. A driver replaces a pool's slices one by one, so what counts is
// its newest generation, and that only once it is whole. Pure.
#pragma once

#include <vector>

#include "control/scheduler/devices/devices_view.h"
#include "control/scheduler/node_view.h"

namespace kedge::control::scheduler {

struct device_pool {
  pool_id id;
  bool incomplete = false;                                    // slices are missing
  bool invalid = false;                                       // they contradict each other
  std::vector<slice_ref> slices;                              // with devices that the node may reach, by name
  std::vector<slice_ref> of_others;                           // the other slices with devices
  std::map<std::string, pod::amounts, std::less<>> counters;  // by set
};

// By name, those with devices that must be bound first at the end.
std::vector<device_pool> pools_of(const node_view& node, const devices_view& devices);

}  // namespace kedge::control::scheduler
