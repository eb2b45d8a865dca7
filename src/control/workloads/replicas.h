// replicas.h: pods as workloads count, choose and make them. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "control/plan.h"
#include "control/view.h"
#include "control/workloads/members.h"

namespace kedge::control {

bool is_active(const json::value& pod) noexcept;  // neither ended nor being deleted
bool is_ready(const json::value& pod) noexcept;   // condition Ready is True
// Ready for at least so long; `next`, where it isn't yet, is when it will be.
bool is_available(const json::value& pod, std::int64_t min_ready_seconds, wall_time now,
                  std::optional<duration>* next = nullptr);

// An integer, or a percentage of `whole`. Nothing (null): `otherwise`.
std::int64_t int_or_percent(const json::value& amount, std::int64_t whole, bool round_up, std::int64_t otherwise = 0);

// A pod of a workload's template, named after it (generateName).
json::value pod_of_template(const json::value& pod_template, const owner_kind& k, const json::value& owner);

// Of `pods`, those that go first when there are `too_many` of them (kube-controller-manager's ActivePodsWithRanks): not
// yet placed, not running, not ready, cheap (annotation pod-deletion-cost), on nodes with many of `related`, young.
std::vector<const json::value*> to_delete(std::vector<const json::value*> pods,
                                          const std::vector<const json::value*>& related, std::size_t too_many,
                                          wall_time now);

// "fnv32a" of the object's JSON and the count, in the alphabet of generated names (KEP-… pod-template-hash).
std::string hash_of(const json::value& object, std::optional<std::int64_t> collisions);

std::int64_t counted(const json::value& field);  // a member of status that may be absent: 0

}  // namespace kedge::control
