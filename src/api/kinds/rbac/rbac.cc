// rbac.cc: roles and bindings. Whether the writer holds what is granted is checked by admission's escalation rules.
#include "api/kind_rules.h"

namespace kedge::api {
namespace {

constexpr std::string_view rbac_group = "rbac.authorization.k8s.io";

void check_rules(causes& out, const json::value& rules, bool namespaced) {
  for (std::size_t i = 0; i < rules.size(); ++i) {
    auto path = at("rules", i);
    auto& r = rules[i];
    if (r["verbs"].empty()) out.push_back(required(path + ".verbs", "verbs must contain at least one value"));
    if (!r["nonResourceURLs"].empty()) {
      if (namespaced) out.push_back(invalid_value(path + ".nonResourceURLs", r["nonResourceURLs"], "namespaced rules cannot apply to non-resource URLs"));
      if (!r["apiGroups"].empty() || !r["resources"].empty() || !r["resourceNames"].empty())
        out.push_back(invalid_value(path + ".nonResourceURLs", r["nonResourceURLs"], "rules cannot apply to both regular resources and non-resource URLs"));
      continue;
    }
    if (r["apiGroups"].empty()) out.push_back(required(path + ".apiGroups", "resource rules must supply at least one api group"));
    if (r["resources"].empty()) out.push_back(required(path + ".resources", "resource rules must supply at least one resource"));
  }
}

void role(causes& out, const json::value& o) { check_rules(out, o["rules"], true); }
void cluster_role(causes& out, const json::value& o) {
  check_rules(out, o["rules"], false);
  if (!o["aggregationRule"].is_object()) return;
  auto& selectors = o["aggregationRule"]["clusterRoleSelectors"];
  if (selectors.empty()) out.push_back(required("aggregationRule.clusterRoleSelectors", "at least one clusterRoleSelector required if aggregationRule is non-nil"));
  for (std::size_t i = 0; i < selectors.size(); ++i) check_label_selector(out, selectors[i], at("aggregationRule.clusterRoleSelectors", i));
}

void check_binding(causes& out, const json::value& o, bool namespaced) {
  auto& ref = o["roleRef"];
  if (ref["apiGroup"].as_string() != rbac_group) out.push_back(not_supported("roleRef.apiGroup", ref["apiGroup"].as_string(), {std::string(rbac_group)}));
  auto kind = ref["kind"].as_string();
  if (kind != "ClusterRole" && !(namespaced && kind == "Role"))
    out.push_back(not_supported("roleRef.kind", kind, namespaced ? std::vector<std::string>{"ClusterRole", "Role"} : std::vector<std::string>{"ClusterRole"}));
  if (ref["name"].as_string().empty())
    out.push_back(required("roleRef.name"));
  else
    add_problems(out, "roleRef.name", ref["name"], check_path_segment(ref["name"].as_string()));
  for (std::size_t i = 0; i < o["subjects"].size(); ++i) {
    auto path = at("subjects", i);
    auto& s = o["subjects"][i];
    if (s["name"].as_string().empty()) out.push_back(required(path + ".name"));
    auto k = s["kind"].as_string();
    if (k == "ServiceAccount") {
      if (!s["name"].as_string().empty()) add_problems(out, path + ".name", s["name"], check_dns1123_subdomain(s["name"].as_string()));
      if (!s["apiGroup"].as_string().empty()) out.push_back(not_supported(path + ".apiGroup", s["apiGroup"], {""}));
      if (!namespaced && s["namespace"].as_string().empty()) out.push_back(required(path + ".namespace"));
    } else if (k == "User" || k == "Group") {
      if (s["apiGroup"].as_string() != rbac_group) out.push_back(not_supported(path + ".apiGroup", s["apiGroup"].as_string(), {std::string(rbac_group)}));
    } else {
      out.push_back(not_supported(path + ".kind", k, {"ServiceAccount", "User", "Group"}));
    }
  }
}

void role_binding(causes& out, const json::value& o) { check_binding(out, o, true); }
void cluster_role_binding(causes& out, const json::value& o) { check_binding(out, o, false); }
void binding_update(causes& out, const json::value& o, const json::value& old) {
  check_binding(out, o, o["metadata"]["namespace"].is_string());
  if (!(o["roleRef"] == old["roleRef"])) out.push_back(invalid_value("roleRef", o["roleRef"], "cannot change roleRef"));
}

}  // namespace

const kind_rules kinds::roles{.group = rbac_group, .resource = "roles", .name = check_path_segment, .create_by_update = true, .validate = role};
const kind_rules kinds::cluster_roles{.group = rbac_group, .resource = "clusterroles", .name = check_path_segment, .create_by_update = true, .validate = cluster_role};
const kind_rules kinds::role_bindings{
    .group = rbac_group, .resource = "rolebindings", .name = check_path_segment, .create_by_update = true, .validate = role_binding, .validate_update = binding_update};
const kind_rules kinds::cluster_role_bindings{.group = rbac_group,
                                              .resource = "clusterrolebindings",
                                              .name = check_path_segment,
                                              .create_by_update = true,
                                              .validate = cluster_role_binding,
                                              .validate_update = binding_update};

}  // namespace kedge::api
