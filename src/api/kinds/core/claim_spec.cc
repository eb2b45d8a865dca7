#include "api/kinds/core/claim_spec.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/kinds/core/resources.h"
#include "base/strings.h"
#include "schema/quantity.h"

namespace kedge::api {
namespace {

void check_data_source(causes& out, const json::value& source, const place& at, bool any_api_group) {
  if (!source.is_object()) return;
  need(out, source, at, "name");
  need(out, source, at, "kind");
  auto group = source["apiGroup"].as_string(), kind = source["kind"].as_string();
  if (group.empty() && kind != "PersistentVolumeClaim")
    out.push_back(invalid_value(at, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"));
  if (!group.empty() && !any_api_group) add_problems(out, place(at, "apiGroup"), group, check_dns1123_subdomain(group));
}

void check_data_sources(causes& out, const json::value& spec, const place& at, bool any_api_group) {
  auto &source = spec["dataSource"], &reference = spec["dataSourceRef"];
  check_data_source(out, source, place(at, "dataSource"), any_api_group);
  const place of_reference(at, "dataSourceRef");
  check_data_source(out, reference, of_reference, any_api_group);
  auto ns = reference["namespace"].as_string();
  if (!ns.empty()) add_problems(out, place(of_reference, "namespace"), ns, check_dns1123_label(ns));
  if (!source.is_object() || !reference.is_object()) return;
  // The real server shows a value that its writer can't have meant: an empty object.
  if (!ns.empty())
    out.push_back(invalid_value(at, json::object(), "may not be specified when dataSourceRef.namespace is specified"));
  else if (!(source["apiGroup"] == reference["apiGroup"]) || !(source["kind"] == reference["kind"]) ||
           !(source["name"] == reference["name"]))
    out.push_back(invalid_value(at, json::object(), "must match dataSourceRef"));
}

void check_size(causes& out, const json::value& spec, const place& at) {
  const place here = place::of_key(at, "resources", "storage");
  auto size = spec["resources"]["requests"].find("storage");
  if (!size) return out.push_back(required(here));
  auto q = schema::quantity::parse(size->as_string()).value_or(schema::quantity());
  if (q.sign() <= 0) return out.push_back(invalid_value(here, q.text(), "must be greater than zero"));
  check_amount(out, "storage", *size, here);
}

}  // namespace

void check_access_modes(causes& out, const json::value& modes, const place& at) {
  constexpr std::string_view known[] = {"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"};
  bool alone = false, others = false;
  for (std::size_t i = 0; i < modes.size(); ++i) {
    auto mode = modes[i].as_string();
    if (std::find(std::begin(known), std::end(known), mode) == std::end(known))
      out.push_back(not_supported(at, mode, {std::begin(known), std::end(known)}));
    else
      (mode == "ReadWriteOncePod" ? alone : others) = true;
  }
  if (alone && others) out.push_back(forbidden_value(at, "may not use ReadWriteOncePod with other access modes"));
}

void check_claim_spec(causes& out, const json::value& spec, const place& at, const claim_options& options) {
  need(out, spec, at, "accessModes", "at least 1 access mode is required");
  if (spec["selector"].is_object())
    check_label_selector(out, spec["selector"], place(at, "selector"), options.any_label_values);
  check_access_modes(out, spec["accessModes"], place(at, "accessModes"));
  check_size(out, spec, at);
  if (auto name = spec["storageClassName"].as_string(); !name.empty())
    add_problems(out, place(at, "storageClassName"), name, check_dns1123_subdomain(name));
  one_of(out, spec, at, "volumeMode", {"Block", "Filesystem"});
  check_data_sources(out, spec, at, options.any_api_group);
  if (auto name = spec["volumeAttributesClassName"].as_string(); !name.empty())
    add_problems(out, place(at, "volumeAttributesClassName"), name, check_dns1123_subdomain(name));
}

void warn_claim_spec(std::vector<std::string>& out, const json::value& spec, const place& at) {
  for (auto list : {"requests", "limits"}) {
    auto q = schema::quantity::parse(spec["resources"][list]["storage"].as_string());
    if (q && !q->is_whole())
      out.push_back(fmt::format("{}.resources.{}[storage]: fractional byte value {} is invalid, must be an integer",
                                at.text(), list, quote(q->text())));
  }
}

}  // namespace kedge::api
