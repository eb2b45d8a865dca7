// device_class.cc: DeviceClass.
#include <fmt/format.h>

#include "api/kinds/devices/names.h"
#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

constexpr std::size_t list_max = 32;

void check_resource_name(causes& out, const json::value& value, const place& at) {
  constexpr std::string_view own_domain = "kubernetes.io/", quota_prefix = "requests.";
  if (!value.is_string()) return;
  auto name = value.as_string();
  if (name.find('/') == name.npos)
    out.push_back(invalid_value(at, name, "a name must be a domain-prefixed path, such as 'example.com/my-prop'"));
  else if (name.find(own_domain) != name.npos)
    out.push_back(invalid_value(at, name, "must not have \"kubernetes.io/\" domain"));
  if (name.starts_with(quota_prefix)) out.push_back(invalid_value(at, name, "must not have \"requests.\" prefix"));
  add_problems(out, at, name, check_qualified_name(fmt::format("{}{}", quota_prefix, name)));
}

void check(causes& out, const json::value& spec, const json::value& old) {
  const place at("spec"), of_selectors(at, "selectors"), of_config(at, "config"),
      of_resource(at, "extendedResourceName");
  auto& config = spec["config"];
  check_selectors(out, spec["selectors"], of_selectors, !old.is_null() && spec["selectors"] == old["selectors"]);
  for (std::size_t i = 0; i < config.size() && config.size() <= list_max; ++i)
    check_configuration(out, config[i], place(of_config, i));
  check_declared_size(out, spec["selectors"], of_selectors, list_max);
  check_declared_size(out, config, of_config, list_max);
  for (std::size_t i = 0; i < config.size() && config.size() <= list_max; ++i)
    check_declared_configuration(out, config[i], place(of_config, i));
  if (old.is_null() || !(spec["extendedResourceName"] == old["extendedResourceName"]))
    check_resource_name(out, spec["extendedResourceName"], of_resource);
}

void validate(causes& out, const json::value& o) { check(out, o["spec"], {}); }
void validate_update(causes& out, const json::value& o, const json::value& old) { check(out, o["spec"], old["spec"]); }

}  // namespace

const kind_rules kinds::device_classes{.group = "resource.k8s.io",
                                       .resource = "deviceclasses",
                                       .generation = true,
                                       .answers_deleted_object = true,
                                       .validate = validate,
                                       .validate_update = validate_update};

}  // namespace kedge::api
