// ip_address.cc: IPAddress.
#include "api/kinds/networking/references.h"
#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

void validate(causes& out, const json::value& o) {
  auto& parent = o["spec"]["parentRef"];
  const place at("spec.parentRef");
  if (!parent.is_object()) return out.push_back(required(at));
  if (auto group = parent["group"].as_string(); !group.empty())
    add_problems(out, place(at, "group"), group, check_dns1123_subdomain(group));
  check_needed_segment(out, parent, at, "resource");
  check_needed_segment(out, parent, at, "name");
  if (auto ns = parent["namespace"].as_string(); !ns.empty())
    add_problems(out, place(at, "namespace"), ns, check_path_segment(ns));
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  validate(out, o);
  declared_immutable(out, o["spec"]["parentRef"], old["spec"]["parentRef"], "spec.parentRef");
}

}  // namespace

const kind_rules kinds::ip_addresses{.group = "networking.k8s.io",
                                     .resource = "ipaddresses",
                                     .name = check_canonical_ip,
                                     .validate = validate,
                                     .validate_update = validate_update};

}  // namespace kedge::api
