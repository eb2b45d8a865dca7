// rollout.h: how many replicas old and new sets of a Deployment have next: surge, percentages, proportions. Pure
// arithmetic.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "json/value.h"

namespace kedge::control {

// One ReplicaSet as a rollout sees it.
struct rollout_set {
  std::string uid, created, name;
  std::int64_t replicas = 0;   // spec
  std::int64_t available = 0;  // status
  std::int64_t most_before =
      0;  // annotation max-replicas: replicas and surge of the whole when it was last scaled; 0: unknown
};

struct rollout_limits {
  std::int64_t replicas = 0;     // of the whole
  std::int64_t surge = 0;        // as asked for
  std::int64_t unavailable = 0;  // as asked for, at least 1 where both would be 0
};
// spec.strategy.rollingUpdate; zero for Recreate.
rollout_limits limits_of(const json::value& deployment);

// New replica counts, in the order of the sets given.
std::int64_t new_set_replicas(const rollout_limits& l, const std::vector<rollout_set>& all, std::int64_t current);
// What the old sets shrink to, unhealthy replicas first. `fresh` is the new set.
std::vector<std::int64_t> old_set_replicas(const rollout_limits& l, const std::vector<rollout_set>& old,
                                           const rollout_set& fresh);
// All of `active` in proportion, after the whole was scaled in the middle of a rollout.
std::vector<std::int64_t> proportional(const rollout_limits& l, std::int64_t status_replicas,
                                       std::vector<rollout_set> active);

}  // namespace kedge::control
