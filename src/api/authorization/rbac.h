// rbac.h: the RBAC authorizer.
//
//   snapshot ─▶ changed objects only are parsed again ─▶ index by subject ─▶ decision, remembered until RBAC changes
//
// An instance belongs to one core. ClusterRoles with an aggregationRule are evaluated as the union of what their
// selectors select at that moment, together with their own rules: an answer is right also before the aggregation
// controller has run.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "api/authorization/authorizer.h"
#include "api/authorization/rules.h"
#include "base/strings.h"
#include "base/time.h"

namespace kedge::api {

// Where the rules of a user come from: for rules reviews and escalation checks.
class rule_source {
 public:
  virtual ~rule_source() = default;
  // Every rule that holds for the user in `ns` (empty: cluster-wide ones only), in binding order.
  virtual std::vector<policy_rule> rules_for(const user_info& user, std::string_view ns,
                                             const store::snapshot& cluster) = 0;
  // The rules of a role, or 404. kind is "Role" (in `ns`) or "ClusterRole".
  virtual api_result<std::vector<policy_rule>> rules_of(std::string_view kind, std::string_view ns,
                                                        std::string_view name, const store::snapshot& cluster) = 0;
};

class rbac_authorizer final : public authorizer, public rule_source {
 public:
  rbac_authorizer();
  ~rbac_authorizer() override;

  decision authorize(const attributes& a, const store::snapshot& cluster) override;
  std::vector<policy_rule> rules_for(const user_info& user, std::string_view ns,
                                     const store::snapshot& cluster) override;
  api_result<std::vector<policy_rule>> rules_of(std::string_view kind, std::string_view ns, std::string_view name,
                                                const store::snapshot& cluster) override;

 private:
  struct index;
  bool refresh(const store::snapshot& cluster, bool at_once);
  std::unique_ptr<index> index_;
  std::unordered_map<std::string, decision, string_hash, std::equal_to<>> decisions_;
  std::string question_;  // scratch for the key of decisions_
};

// The chain Node, RBAC as K3s runs it, behind system:masters (always allowed): the first allow or deny counts. When
// none has an opinion, the reasons of those that say why carry their names.
class authorizer_chain final : public authorizer {
 public:
  struct member {
    std::string_view name;
    std::unique_ptr<authorizer> asks;
  };
  explicit authorizer_chain(std::vector<member> members) : members_(std::move(members)) {}
  decision authorize(const attributes& a, const store::snapshot& cluster) override;

 private:
  std::vector<member> members_;
};

// Node, then RBAC. `rules` (may be null) gets the RBAC member, which lives as long as the chain.
std::unique_ptr<authorizer> make_authorizer(rule_source** rules = nullptr);

// Whether `who` may write this Role, ClusterRole, RoleBinding or ClusterRoleBinding without giving away more than he
// has: called in admission for create and update. `old` is null for create.
api_result<void> check_escalation(const attributes& who, std::string_view kind, const json::value& object,
                                  const json::value* old, authorizer& authz, rule_source& rules,
                                  const store::snapshot& cluster);

}  // namespace kedge::api
