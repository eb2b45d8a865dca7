// resize.h: containers that run and are to have other resources than they have (the resize subresource, KEP-1287): what
// differs, and what is done about it in which order. Pure.
//
//   asked for (spec, by the API) ─ fits (admit.h) ─▶ allocated (allocations.h) ─ plan_resize ─▶ what a container has
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json/value.h"
#include "node/pods/seen.h"

namespace kedge::node {

// A container's resources with the limits of its pod as a whole where it has none of its own.
json::value resources_in_pod(const json::value& pod, const json::value& container);
// Kept with a container: the resources that it is made with (resources_in_pod).
std::string resources_note(const json::value& pod, const json::value& container);

// What a pod asks for, as allocations are kept (allocation_ledger::find): of its containers and of it as a whole.
json::value resources_of_pod(const json::value& pod);
// The pod with what was allocated to it in the place of what it asks for; the same object when that is the same, or
// nothing is known (null).
std::shared_ptr<const json::value> as_allocated(std::shared_ptr<const json::value> pod, const json::value* allocated);
// The pod with what it and its containers have (`given`, as it was seen) in the place of what they are to have.
json::value as_given(const json::value& pod, const pod_seen& seen);
// Resources with the CPU, or memory, of others.
json::value with_amount_of(json::value resources, const json::value& others, const char* name);

// What the runtime is told that a pod's sandbox has, of what its group has: the overhead is told beside.
container_resources without_overhead(container_resources of_group, const json::value& pod);

// Whether a running container has to be started anew to get what it is to have (resizePolicy).
bool resize_restarts(const json::value& pod, const json::value& container, const container_seen& c);
// Whether containers run, or a pod as a whole, that have something else than they are to have.
bool resize_in_progress(const json::value& pod, const pod_seen& seen);

struct container_update {
  std::string id, name;
  json::value resources;  // that it has from then on (resources_in_pod)
};

// In this order; who gets less comes before who gets more.
struct resize_plan {
  std::vector<container_update> memory, cpu;
  bool of_memory = false, of_cpu = false;  // the pod as a whole gets another amount of it
  bool of_whole = false;                   // it says so itself

  bool nothing() const { return !of_memory && !of_cpu; }
};
// `starting`: containers that are about to be started.
resize_plan plan_resize(const json::value& pod, const pod_seen& seen, const std::vector<std::string>& starting);

// The kubelet's error for containers and a pod that use more memory than they are to have; empty: none does.
struct memory_limits {
  std::int64_t pod_limit = 0;  // 0: it doesn't get less
  std::int64_t pod_uses = 0;
  struct one {
    std::string container;
    std::int64_t limit = 0, uses = 0;
  };
  std::vector<one> containers;  // that get less
};
std::string why_not_less_memory(const memory_limits& all);

// "Pod resize started: {"containers":…}", with the error when there is one.
std::string resize_message(std::string_view what, const json::value& pod, std::int64_t generation,
                           std::string_view error = {});

}  // namespace kedge::node
