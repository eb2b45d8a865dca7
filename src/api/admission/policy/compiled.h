// compiled.h: policies and bindings as they are stored, ready to be asked. Immutable, shared by cores.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/admission/policy/match.h"
#include "api/admission/policy/params.h"
#include "api/expressions/composition.h"

namespace kedge::api::policy {

struct condition {
  std::string name;
  expressions::expression is;
};

// What both kinds of policy have.
struct policy_head {
  std::string name;
  bool ignores_failures = false;  // failurePolicy Ignore
  std::optional<param_kind> params;
  match_resources where;
  std::vector<condition> conditions;
  std::shared_ptr<const expressions::composition> all;
};

struct validation {
  expressions::expression is;
  std::optional<expressions::expression> tells;  // messageExpression
  std::string message, reason;
};
struct audit_annotation {
  std::string key;
  expressions::expression value;
};
struct validating_policy : policy_head {
  std::vector<validation> validations;
  std::vector<audit_annotation> annotations;

  explicit validating_policy(const json::value& v);
};

struct mutation {
  enum class form : unsigned char { apply, patch } as;
  expressions::expression is;
};
struct mutating_policy : policy_head {
  std::vector<mutation> mutations;
  bool reinvoked = false;  // reinvocationPolicy IfNeeded

  explicit mutating_policy(const json::value& v);
};

struct binding {
  std::string name, policy;
  match_resources where;
  std::optional<param_reference> params;
  std::vector<std::string> actions;  // of validating ones: Deny, Warn, Audit, in the order in which they are told

  explicit binding(const json::value& v);
};

}  // namespace kedge::api::policy
