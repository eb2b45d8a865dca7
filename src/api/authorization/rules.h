// rules.h: one RBAC rule: what it allows, what it covers, how it reads.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/request/attributes.h"
#include "json/value.h"

namespace kedge::api {

struct policy_rule {
  std::vector<std::string> verbs, api_groups, resources, resource_names, non_resource_urls;

  bool allows(const attributes& a) const noexcept;
  json::value to_json() const;  // rbac/v1 PolicyRule; authorization/v1's rules have the same members
  // As messages name it: {APIGroups:[""], Resources:["secrets"], Verbs:["get"]}
  std::string text() const;
  friend bool operator==(const policy_rule&, const policy_rule&) = default;
};

policy_rule rule_from_json(const json::value& rule);
std::vector<policy_rule> rules_from_json(const json::value& rules);

bool any_allows(const std::vector<policy_rule>& rules, const attributes& a) noexcept;

// What of `wanted` is not covered by `held`, as single permissions; empty when all is. Laws: nothing is missing from
// what one holds; more held never misses more.
std::vector<policy_rule> uncovered(const std::vector<policy_rule>& held, const std::vector<policy_rule>& wanted);

// Single permissions of the same group, resource and name joined into one rule with all their verbs, as messages show
// them.
std::vector<policy_rule> compact(std::vector<policy_rule> rules);

// Go's %q of a []string: ["a" "b"].
std::string quote_list(const std::vector<std::string>& texts);

}  // namespace kedge::api
