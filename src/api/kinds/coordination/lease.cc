// lease.cc: Lease.
#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

void validate(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  if (spec["leaseDurationSeconds"].is_integer() && spec["leaseDurationSeconds"].as_integer() <= 0)
    out.push_back(invalid_value("spec.leaseDurationSeconds", spec["leaseDurationSeconds"], "must be greater than 0"));
  if (spec["leaseTransitions"].is_integer() && spec["leaseTransitions"].as_integer() < 0)
    out.push_back(
        invalid_value("spec.leaseTransitions", spec["leaseTransitions"], "must be greater than or equal to 0"));
}

}  // namespace

const kind_rules kinds::leases{.group = "coordination.k8s.io",
                               .resource = "leases",
                               .create_by_update = true,
                               .unconditional_update = false,
                               .validate = validate};

}  // namespace kedge::api
