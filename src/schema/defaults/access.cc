// rbac.authorization.k8s.io/v1: pkg/apis/rbac/v1/defaults.go
#include "schema/defaults/rules.h"

namespace kedge::schema::defaults {

namespace {

constexpr std::string_view group = "rbac.authorization.k8s.io";

void binding(const target& t) { t.inside("roleRef").fill_zero("apiGroup", group); }

void subject(const target& t) {
  auto kind = t["kind"].as_string();
  if (kind == "User" || kind == "Group") t.fill("apiGroup", group);
}

constexpr rule rules[] = {
    {"rbac/v1.ClusterRoleBinding", binding},
    {"rbac/v1.RoleBinding", binding},
    {"rbac/v1.Subject", subject},
};

}  // namespace

std::span<const rule> access_rules() { return rules; }

}  // namespace kedge::schema::defaults
