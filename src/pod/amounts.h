// amounts.h: what containers and pods ask for, and what they may use, as exact quantities.
//
// The one place where a pod is counted: quota, limits, scheduler, controllers and node must come to the same sum
// (k8s.io/component-helpers/resource; KEP-753 sidecars, KEP-1287 resize in place, KEP-2837 resources of a pod).
#pragma once

#include <map>
#include <string>

#include "json/value.h"
#include "schema/quantity.h"

namespace kedge::pod {

using amounts = std::map<std::string, schema::quantity, std::less<>>;

// A quantity field (text, or a plain number); zero for what is none.
schema::quantity amount_of(const json::value& field);
// A ResourceList: {"cpu": "500m", …}.
amounts amounts_of(const json::value& list);
void add(amounts& to, const amounts& more);

struct amounts_options {
  // What a container counts for that names no request of its own, for each resource named here.
  const amounts* missing = nullptr;
  // While containers are resized in place: the greatest of what is asked for, allocated and in use (of pod.status).
  bool use_status = false;
  // The same of what the pod asks for as a whole; quotas look at its containers alone.
  bool use_status_of_whole = false;
  // The sum of the containers, whatever the pod asks for as a whole.
  bool of_containers_alone = false;
};

// What a pod takes of a node: its containers together, or its greatest init container beside the sidecars started
// before it where that is more, and its overhead. `which` is "requests" or "limits".
amounts amounts_of_pod(const json::value& pod, std::string_view which, const amounts_options& options = {});

// "cpu=1,memory=1Gi", as messages name them.
std::string text_of(const amounts& list);

}  // namespace kedge::pod
