// resources.h: names and amounts of what containers, quotas and volumes ask for (cpu, memory, hugepages-2Mi,
// example.com/gpu).
#pragma once

#include <string_view>
#include <unordered_set>

#include "meta/validate.h"

namespace kedge::api {

using name_set = std::unordered_set<std::string_view>;  // of texts in an object that outlives it

bool is_huge_page(std::string_view resource) noexcept;        // hugepages-2Mi
bool is_native_resource(std::string_view resource) noexcept;  // Kubernetes' own: without a domain, or in kubernetes.io/
bool is_extended_resource(std::string_view resource);         // of a device, counted in whole numbers
bool is_standard_resource(std::string_view resource) noexcept;  // known without a domain, to quotas at least
bool may_overcommit(std::string_view resource) noexcept;        // requests may be less than limits

// "must be a standard resource type or fully qualified".
void check_resource_name(causes& out, std::string_view name, const place& at);
// "requests.cpu", "pods": of quotas. The second is told "must be a standard resource for quota" of others without a
// domain.
bool is_quota_resource(std::string_view name) noexcept;
void check_quota_resource_name(causes& out, std::string_view name, const place& at);
// What a container may ask for.
void check_container_resource_name(causes& out, std::string_view name, const place& at);
// Not negative, and whole where the resource is counted.
void check_amount(causes& out, std::string_view resource, const json::value& quantity, const place& at);

struct requirement_rules {
  bool of_pod = false;                  // spec.resources: cpu, memory, huge pages alone
  bool indivisible_huge_pages = false;  // an older object has some
  const name_set* claims = nullptr;     // names in spec.resourceClaims; null: none
};
// limits, requests and claims of a container or a pod.
void check_requirements(causes& out, const json::value& requirements, const place& at, const requirement_rules& rules);

}  // namespace kedge::api
