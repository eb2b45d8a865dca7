// csi_storage_capacity.cc: CSIStorageCapacity.
#include <fmt/format.h>

#include "api/kinds/core/warnings.h"
#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

void check(causes& out, const json::value& o, bool any_label_values) {
  if (o["nodeTopology"].is_object()) check_label_selector(out, o["nodeTopology"], "nodeTopology", any_label_values);
  auto name = o["storageClassName"].as_string();
  add_problems(out, "storageClassName", name, check_dns1123_subdomain(name));
  if (!o["capacity"].is_null()) check_quantity(out, o["capacity"], "capacity");
}

void validate(causes& out, const json::value& o) { check(out, o, false); }

void validate_update(causes& out, const json::value& o, const json::value& old) {
  check(out, o, has_bad_values(old["nodeTopology"]));
  immutable(out, o["nodeTopology"], old["nodeTopology"], "nodeTopology");
  if (o["storageClassName"].as_string() != old["storageClassName"].as_string())
    out.push_back(invalid_value("storageClassName", o["storageClassName"].as_string(), "field is immutable"));
}

void warn(warnings& out, const json::value& o, const json::value*) {
  auto& topology = o["nodeTopology"];
  warn_node_selector_term(out, topology, "nodeTopology", false);
  if (auto labels = topology["matchLabels"].object())
    for (auto& m : *labels)
      if (auto text = deprecated_node_label(m.name); !text.empty())
        out.push_back(fmt::format("nodeTopology.matchLabels.{}: {}", m.name, text));
}

}  // namespace

const kind_rules kinds::csi_storage_capacities{.group = "storage.k8s.io",
                                               .resource = "csistoragecapacities",
                                               .unconditional_update = false,
                                               .validate = validate,
                                               .validate_update = validate_update,
                                               .warn = warn};

}  // namespace kedge::api
