// node.cc: Node.
#include "api/kind_rules.h"

namespace kedge::api {
namespace {

void check_taints(causes& out, const json::value& taints) {
  for (std::size_t i = 0; i < taints.size(); ++i) {
    auto path = at("metadata.taints", i);
    auto& t = taints[i];
    add_problems(out, path + ".key", t["key"], check_qualified_name(t["key"].as_string()));
    add_problems(out, path + ".value", t["value"].is_null() ? json::value("") : t["value"], check_label_value(t["value"].as_string()));
    if (t["effect"].as_string().empty())
      out.push_back(required(path + ".effect"));
    else
      one_of(out, t, path, "effect", {"NoSchedule", "PreferNoSchedule", "NoExecute"});
    for (std::size_t j = 0; j < i; ++j)
      if (taints[j]["key"] == t["key"] && taints[j]["effect"] == t["effect"]) {
        out.push_back(duplicate_value(path, t));
        break;
      }
  }
}

void validate(causes& out, const json::value& o) {
  check_taints(out, o["spec"]["taints"]);
  auto& cidrs = o["spec"]["podCIDRs"];
  if (cidrs.size() > 2) out.push_back(invalid_value("spec.podCIDRs", cidrs, "may specify no more than one CIDR for each IP family"));
  if (cidrs.size() > 0 && !o["spec"]["podCIDR"].is_null() && !(cidrs[0] == o["spec"]["podCIDR"]))
    out.push_back(invalid_value("spec.podCIDRs[0]", cidrs[0], "must match `podCIDR`"));
  for (auto list : {"capacity", "allocatable"})
    if (auto map = o["status"][list].object())
      for (auto& m : *map) check_quantity(out, m.value, at_key(under("status", list), m.name));
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  validate(out, o);
  if (old["spec"]["podCIDRs"].size() > 0 && !(o["spec"]["podCIDRs"] == old["spec"]["podCIDRs"]))
    out.push_back(forbidden_value("spec.podCIDRs", "node updates may not change podCIDR except from \"\" to valid"));
  if (!old["spec"]["providerID"].as_string().empty() && !(o["spec"]["providerID"] == old["spec"]["providerID"]))
    out.push_back(forbidden_value("spec.providerID", "node updates may not change providerID except from \"\" to valid"));
}

}  // namespace

// A kubelet registers with its status: it stays.
const kind_rules kinds::nodes{
    .group = "", .resource = "nodes", .keeps_status_on_create = true, .validate = validate, .validate_update = validate_update};

}  // namespace kedge::api
