// storage_version_migration.cc: StorageVersionMigration.
#include <fmt/format.h>

#include <algorithm>

#include "api/registry/kind_rules.h"
#include "base/strings.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

void validate(causes& out, const json::value& o) {
  auto& resource = o["spec"]["resource"];
  const place at("spec.resource");
  auto group = resource["group"].as_string(), name = resource["resource"].as_string();
  if (need(out, resource, at, "resource", "resource is required to be set"))
    if (auto wrong = check_dns1035_label(name); !wrong.empty())
      out.push_back(invalid_value(place(at, "resource"), name, join(wrong, ",")));
  if (!group.empty())
    if (auto wrong = check_dns1123_subdomain(group); !wrong.empty())
      out.push_back(invalid_value(place(at, "group"), group, join(wrong, ",")));
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  validate(out, o);
  if (!(o["spec"] == old["spec"]))
    out.push_back(invalid_value("spec", internal_form("storagemigration/v1.StorageVersionMigrationSpec", o["spec"]),
                                "field is immutable"));
}

// A number without a sign or a leading zero.
bool is_resource_version(std::string_view text) {
  return !text.empty() && text[0] != '0' && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

bool is_true(const json::value& o, std::string_view type) {
  auto& conditions = o["status"]["conditions"];
  for (std::size_t i = 0; i < conditions.size(); ++i)
    if (conditions[i]["type"].as_string() == type) return conditions[i]["status"].as_string() == "True";
  return false;
}

void validate_part(causes& out, const json::value& o, const json::value& old, std::string_view) {
  auto &version = o["status"]["resourceVersion"], &before = old["status"]["resourceVersion"];
  const json::value conditions = o["status"]["conditions"].is_array() ? o["status"]["conditions"] : json::array();
  const place at("status"), of_version(at, "resourceVersion"), of_conditions(at, "conditions");
  auto text = version.as_string();
  if (!text.empty() && !is_resource_version(text))
    out.push_back(invalid_value(of_version, text, fmt::format("resource version is not well formed: {}", text)));
  check_standard_conditions(out, conditions, of_conditions);
  if (!before.as_string().empty() && before.as_string() != text)
    out.push_back(invalid_value(of_version, text, "field is immutable"));
  auto wrong = [&](std::string_view what) { out.push_back(invalid_value(of_conditions, conditions, what)); };
  if (is_true(o, "Succeeded") && is_true(o, "Failed"))
    wrong("Both success and failed conditions cannot be true at the same time");
  if (is_true(old, "Succeeded") && !is_true(o, "Succeeded"))
    wrong("Success condition cannot be set to false once it is true");
  if (is_true(old, "Failed") && !is_true(o, "Failed")) wrong("Failed condition cannot be set to false once it is true");
}

}  // namespace

const kind_rules kinds::storage_version_migrations{.group = "storagemigration.k8s.io",
                                                   .resource = "storageversionmigrations",
                                                   .unconditional_update = false,
                                                   .metadata_stands = true,
                                                   .validate = validate,
                                                   .validate_update = validate_update,
                                                   .validate_part = validate_part};

}  // namespace kedge::api
