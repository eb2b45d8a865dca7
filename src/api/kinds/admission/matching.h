// matching.h: which requests a webhook or a policy of admission is for, as their validations judge it.
#pragma once

#include "api/expressions/composition.h"
#include "meta/validate.h"

namespace kedge::api {

bool is_blank(std::string_view text) noexcept;  // nothing but white space
bool holds(const json::value& list, std::string_view text);

// Operations, groups, versions and resources.
void check_rule_with_operations(causes& out, const json::value& rule, const place& at);
// matchConstraints of a policy, matchResources of a binding.
void check_match_resources(causes& out, const json::value& resources, const place& at);
// A policy that changes objects can't when they are deleted. `at`: of the resources; the place of the rule isn't told.
void check_mutating_operations(causes& out, const json::value& resources, const place& at);
// `params`: they may speak of params.
void check_match_conditions(causes& out, const json::value& list, const place& at, bool params = false);
// What an expression that can't be run is told as. `told`: the text as it was written.
void check_compiled(causes& out, const expressions::expression& e, std::string_view told, const place& at);
// matchConstraints, which a policy must have, with a rule that tells its types.
void check_match_constraints(causes& out, const json::value& spec, const place& at);

}  // namespace kedge::api
