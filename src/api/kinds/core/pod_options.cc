#include "api/kinds/core/pod_options.h"

#include <algorithm>

#include "api/kinds/core/affinity.h"
#include "api/kinds/core/containers.h"
#include "api/kinds/core/pod_spec.h"
#include "api/kinds/core/security.h"
#include "schema/quantity.h"

namespace kedge::api {
namespace {

const place nowhere("");

bool finds(auto check) {
  causes found;
  check(found);
  return !found.empty();
}

bool has_indivisible_huge_pages(const json::value& spec) {
  bool any = false;
  for_each_container(spec, nowhere, [&](const json::value& c, const place&) {
    for (auto list : {"limits", "requests"})
      if (auto amounts = c["resources"][list].object())
        for (auto& m : *amounts) {
          if (!is_huge_page(m.name)) continue;
          auto page = schema::quantity::parse(std::string_view(m.name).substr(10)),
               q = schema::quantity::parse(m.value.as_string());
          any = any || !page || !q || page->sign() <= 0 || q->value() % page->value() != 0;
        }
  });
  return any;
}

bool any_container(const json::value& spec, auto is) {
  bool any = false;
  for_each_container(spec, nowhere, [&](const json::value& c, const place&) { any = any || is(c); });
  return any;
}

bool any_item(const json::value& list, auto is) {
  auto a = list.array();
  return a && std::any_of(a->begin(), a->end(), is);
}

bool has_bad_token_path(const json::value& volume) {
  return any_item(volume["projected"]["sources"], [](const json::value& s) {
    return s["serviceAccountToken"].is_object() &&
           finds([&](causes& out) { check_plain_path(out, s["serviceAccountToken"]["path"].as_string(), nowhere); });
  });
}

}  // namespace

pod_options options_by(const json::value& old, const json::value& annotations) {
  pod_options o;
  if (!old.is_object()) return o;
  o.any_deletion_cost = finds([&](causes& out) { check_deletion_cost(out, annotations, nowhere); });
  o.any_label_values_in_selectors = has_bad_values_in_affinity(old["affinity"]);
  o.any_label_values_in_node_affinity = has_bad_label_values(
      old["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]);
  auto& spread = old["topologySpreadConstraints"];
  o.any_spread_selector = any_item(spread, [](auto& c) {
    return finds([&](causes& out) { check_label_selector(out, c["labelSelector"], nowhere); });
  });
  o.repeated_spread_keys =
      any_item(spread, [](auto& c) { return finds([&](causes& out) { check_label_keys(out, c, nowhere); }); });
  o.indivisible_huge_pages = has_indivisible_huge_pages(old);
  o.any_token_path = any_item(old["volumes"], has_bad_token_path);
  o.host_sysctls = any_item(old["securityContext"]["sysctls"],
                            [&](auto& s) { return !wrong_host_sysctl(s["name"].as_string(), old).empty(); });
  o.comparing_tolerations = any_item(old["tolerations"], [](auto& t) {
    return t["operator"].as_string() == "Lt" || t["operator"].as_string() == "Gt";
  });
  const bool own_users = !old["hostUsers"].as_bool(true);
  o.host_network_without_host_users = own_users && old["hostNetwork"].as_bool();
  o.devices_without_host_users = own_users && any_container(old, [](auto& c) { return !c["volumeDevices"].empty(); });
  o.restarting_init_resize = any_item(old["initContainers"], [](auto& c) {
    return !is_sidecar(c) &&
           any_item(c["resizePolicy"], [](auto& p) { return p["restartPolicy"].as_string() == "RestartContainer"; });
  });
  o.empty_image_volumes = any_item(
      old["volumes"], [](auto& v) { return v["image"].is_object() && v["image"]["reference"].as_string().empty(); });
  o.sys_admin_without_escalation = any_container(old, [](auto& c) {
    return !c["securityContext"]["allowPrivilegeEscalation"].as_bool() &&
           any_item(c["securityContext"]["capabilities"]["add"],
                    [](auto& cap) { return cap.as_string() == "CAP_SYS_ADMIN"; });
  });
  return o;
}

}  // namespace kedge::api
