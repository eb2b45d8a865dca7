// device_taint_rule.cc: DeviceTaintRule.
#include "api/kinds/core/volumes.h"
#include "api/kinds/devices/names.h"
#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

constexpr std::size_t conditions_max = 8;

void prepare_create(json::value& o, const kind_context& c) { date_taint(o.member("spec").member("taint"), c.now); }
void prepare_update(json::value& o, const json::value&, const kind_context& c) { prepare_create(o, c); }

void check(causes& out, const json::value& spec) {
  const place at("spec"), of_selector(at, "deviceSelector");
  auto& selector = spec["deviceSelector"];
  if (selector["driver"].is_string())
    check_csi_driver_name(out, selector["driver"].as_string(), place(of_selector, "driver"));
  if (selector["pool"].is_string()) check_pool_name(out, selector["pool"].as_string(), place(of_selector, "pool"));
  if (auto& name = selector["device"]; name.is_string())
    add_problems(out, place(of_selector, "device"), name, check_dns1123_label(name.as_string()));
  check_taint(out, spec["taint"], place(at, "taint"));
}

void validate(causes& out, const json::value& o) {
  check(out, o["spec"]);
  check_declared_taint(out, o["spec"]["taint"], "spec.taint");
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  check(out, o["spec"]);
  if (!(o["spec"]["taint"]["effect"] == old["spec"]["taint"]["effect"]))
    check_declared_taint(out, o["spec"]["taint"], "spec.taint");
}

void validate_part(causes& out, const json::value& o, const json::value&, std::string_view) {
  const place at("status.conditions");
  auto& conditions = o["status"]["conditions"];
  check_standard_conditions(out, conditions, at);
  check_declared_size(out, conditions, at, conditions_max);
}

}  // namespace

const kind_rules kinds::device_taint_rules{.group = "resource.k8s.io",
                                           .resource = "devicetaintrules",
                                           .generation = true,
                                           .unconditional_update = false,
                                           .metadata_stands = true,
                                           .prepare_create = prepare_create,
                                           .prepare_update = prepare_update,
                                           .validate = validate,
                                           .validate_update = validate_update,
                                           .validate_part = validate_part};

}  // namespace kedge::api
