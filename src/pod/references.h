// references.h: what a pod's specification names: the objects that its node must be able to read.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "json/value.h"

namespace kedge::api {

struct pod_references {
  std::string node;  // spec.nodeName
  std::string uid;
  std::string service_account;
  std::vector<std::string> secrets, config_maps, volume_claims, resource_claims;
  bool mirror = false;
};

// Secrets, config maps, claims: every place of a PodSpec that can name one.
pod_references references_of(const json::value& pod);

// The first thing of the API that a pod names, as NodeRestriction's messages call it ("secrets (via secret volumes)");
// both empty when it names none. `problem`: a volume of a kind that is not known to be harmless.
struct api_reference {
  std::string what, problem;
};
api_reference first_reference(const json::value& pod);

bool is_mirror_pod(const json::value& pod) noexcept;

// Visits the containers of all three lists of a PodSpec with the list's name.
template <typename Spec, typename Visit>
void each_container(Spec& spec, Visit visit) {
  for (auto list : {"initContainers", "containers", "ephemeralContainers"}) {
    auto* found = spec.find(std::string_view(list));
    if (!found) continue;
    if (auto* items = found->array())
      for (auto& container : *items) visit(container, std::string_view(list));
  }
}

}  // namespace kedge::api
