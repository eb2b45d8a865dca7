// evaluate.h: what one policy says of one request, for one param. Pure but for questions to the authorizer; bounded by
// the budgets of expressions, and others have their turn between two of these. All that is given outlives the task.
#pragma once

#include <expected>
#include <functional>
#include <string>
#include <vector>

#include "api/admission/policy/compiled.h"
#include "reactor/task.h"

namespace kedge::api::policy {

// Whether a policy's matchConditions let the request through to it; an error's text when that can't be told. Ignored
// failures are a no.
task<std::expected<bool, std::string>> meets_conditions(const policy_head& p,
                                                        const expressions::admission_values& values);

// What one validation came to.
struct verdict {
  bool denies = false;
  std::string message, reason;  // reason: empty for an expression that failed
};
struct note {
  std::string key, value;
};
struct validated {
  std::vector<verdict> verdicts;  // of each validation, in order; or one that speaks for all
  std::vector<note> notes;
  std::vector<std::string> failed_notes;  // texts; each denies the request, whatever the binding's actions are
};
task<validated> evaluate(const validating_policy& p, const expressions::admission_values& values);

// What a mutation's expression gives as JSON: an object of fields to apply, or a JSON patch.
task<std::expected<json::value, std::string>> evaluate(const mutating_policy& p, const mutation& m,
                                                       const expressions::admission_values& values);

}  // namespace kedge::api::policy
