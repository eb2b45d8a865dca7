// rbac.cc: roles and bindings. Whether the writer holds what is granted is checked by admission's escalation rules.
#include "api/registry/kind_rules.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

constexpr std::string_view rbac_group = "rbac.authorization.k8s.io";

// `stand`: an older object has the same ones.
void check_rules(causes& out, const json::value& rules, bool namespaced, bool stand) {
  const place at("rules");
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const place here(at, i), of_urls(here, "nonResourceURLs");
    auto& r = rules[i];
    auto& urls = r["nonResourceURLs"];
    if (stand) need(out, r, here, "verbs", "verbs must contain at least one value");
    if (!urls.empty()) {
      if (namespaced) out.push_back(invalid_value(of_urls, urls, "namespaced rules cannot apply to non-resource URLs"));
      if (!r["apiGroups"].empty() || !r["resources"].empty() || !r["resourceNames"].empty())
        out.push_back(
            invalid_value(of_urls, urls, "rules cannot apply to both regular resources and non-resource URLs"));
      continue;
    }
    need(out, r, here, "apiGroups", "resource rules must supply at least one api group");
    need(out, r, here, "resources", "resource rules must supply at least one resource");
  }
}

// Declared with the type: it comes last, and is left to the older rule above for what stands.
void check_verbs(causes& out, const json::value& rules, bool stand) {
  const place at("rules");
  if (stand) return;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const place here(at, i);
    need(out, rules[i], here, "verbs");
  }
}

void check_role(causes& out, const json::value& o, bool stand) {
  check_rules(out, o["rules"], true, stand);
  check_verbs(out, o["rules"], stand);
}

void role(causes& out, const json::value& o) { check_role(out, o, false); }
void role_update(causes& out, const json::value& o, const json::value& old) {
  check_role(out, o, o["rules"] == old["rules"]);
}

void check_aggregation(causes& out, const json::value& rule, bool any_label_values) {
  if (!rule.is_object()) return;
  const place at("aggregationRule"), of_selectors(at, "clusterRoleSelectors");
  auto& selectors = rule["clusterRoleSelectors"];
  need(out, rule, at, "clusterRoleSelectors",
       "at least one clusterRoleSelector required if aggregationRule is non-nil");
  for (std::size_t i = 0; i < selectors.size(); ++i) {
    const place here(of_selectors, i);
    check_label_selector(out, selectors[i], here, any_label_values);
    causes wrong;
    check_label_selector(wrong, selectors[i], here);
    if (!wrong.empty()) out.push_back(invalid_value(here, nullptr, "invalid label selector."));
  }
}

void check_cluster_role(causes& out, const json::value& o, bool any_label_values, bool stand) {
  check_rules(out, o["rules"], false, stand);
  check_aggregation(out, o["aggregationRule"], any_label_values);
  check_verbs(out, o["rules"], stand);
}

void cluster_role(causes& out, const json::value& o) { check_cluster_role(out, o, false, false); }
void cluster_role_update(causes& out, const json::value& o, const json::value& old) {
  auto& selectors = old["aggregationRule"]["clusterRoleSelectors"];
  bool any = false;
  for (std::size_t i = 0; i < selectors.size(); ++i) any = any || has_bad_values(selectors[i]);
  check_cluster_role(out, o, any, o["rules"] == old["rules"]);
}

void check_subject(causes& out, const json::value& s, const place& at, bool namespaced) {
  auto kind = s["kind"].as_string(), name = s["name"].as_string(), group = s["apiGroup"].as_string();
  const place of_group(at, "apiGroup");
  if (kind == "ServiceAccount") {
    if (!name.empty()) add_problems(out, place(at, "name"), name, check_dns1123_subdomain(name));
    if (!group.empty()) out.push_back(not_supported(of_group, group, {""}));
    if (!namespaced) need(out, s, at, "namespace");
  } else if (kind == "User" || kind == "Group") {
    if (group != rbac_group) out.push_back(not_supported(of_group, group, {std::string(rbac_group)}));
  } else {
    out.push_back(not_supported(place(at, "kind"), kind, {"ServiceAccount", "User", "Group"}));
  }
}

void check_binding(causes& out, const json::value& o, bool namespaced) {
  auto& ref = o["roleRef"];
  auto& subjects = o["subjects"];
  const place of_ref("roleRef"), of_subjects("subjects");
  auto kind = ref["kind"].as_string(), name = ref["name"].as_string();
  if (auto group = ref["apiGroup"].as_string(); group != rbac_group)
    out.push_back(not_supported(place(of_ref, "apiGroup"), group, {std::string(rbac_group)}));
  if (kind != "ClusterRole" && !(namespaced && kind == "Role"))
    out.push_back(not_supported(
        place(of_ref, "kind"), kind,
        namespaced ? std::vector<std::string>{"Role", "ClusterRole"} : std::vector<std::string>{"ClusterRole"}));
  if (!name.empty()) add_problems(out, place(of_ref, "name"), name, check_path_segment(name));
  for (std::size_t i = 0; i < subjects.size(); ++i) check_subject(out, subjects[i], place(of_subjects, i), namespaced);
  // What is declared with the types comes last.
  for (std::size_t i = 0; i < subjects.size(); ++i) {
    const place here(of_subjects, i);
    need(out, subjects[i], here, "name");
  }
  need(out, ref, of_ref, "name");
}

void role_binding(causes& out, const json::value& o) { check_binding(out, o, true); }
void cluster_role_binding(causes& out, const json::value& o) { check_binding(out, o, false); }
void binding_update(causes& out, const json::value& o, const json::value& old) {
  check_binding(out, o, o["metadata"]["namespace"].is_string());
  immutable(out, internal_form("rbac/v1.RoleRef", o["roleRef"]), internal_form("rbac/v1.RoleRef", old["roleRef"]),
            "roleRef");
}

}  // namespace

const kind_rules kinds::roles{.group = rbac_group,
                              .resource = "roles",
                              .name = check_path_segment,
                              .create_by_update = true,
                              .validate = role,
                              .validate_update = role_update};
const kind_rules kinds::cluster_roles{.group = rbac_group,
                                      .resource = "clusterroles",
                                      .name = check_path_segment,
                                      .create_by_update = true,
                                      .validate = cluster_role,
                                      .validate_update = cluster_role_update};
const kind_rules kinds::role_bindings{.group = rbac_group,
                                      .resource = "rolebindings",
                                      .name = check_path_segment,
                                      .create_by_update = true,
                                      .validate = role_binding,
                                      .validate_update = binding_update};
const kind_rules kinds::cluster_role_bindings{.group = rbac_group,
                                              .resource = "clusterrolebindings",
                                              .name = check_path_segment,
                                              .create_by_update = true,
                                              .validate = cluster_role_binding,
                                              .validate_update = binding_update};

}  // namespace kedge::api
