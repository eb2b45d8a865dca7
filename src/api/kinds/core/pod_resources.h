// pod_resources.h: what a pod asks for as a whole (spec.resources), beside its containers.
#pragma once

#include "pod/amounts.h"

namespace kedge::api {

// What the containers of a spec ask for together.
pod::amounts amounts_of_containers(const json::value& spec, std::string_view which);
// Fills in what follows from the containers, of a pod that asks for anything itself.
void default_pod_resources(json::value& spec);
bool has_pod_resources(const json::value& spec);

}  // namespace kedge::api
