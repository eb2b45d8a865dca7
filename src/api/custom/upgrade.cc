#include "api/custom/upgrade.h"

#include "api/registry/stored.h"
#include "json/parse.h"

namespace kedge::api::custom {
namespace {

constexpr std::string_view old_version = "\"apiextensions.k8s.io/v1beta1\"";

const served& definitions() {
  static const auto& one = *builtin_registry().find("apiextensions.k8s.io", "v1", "customresourcedefinitions");
  return one;
}

// Moves a member; nothing when it isn't there.
void move_member(json::value& from, std::string_view name, json::value& to, std::string_view as) {
  auto v = from.find(name);
  if (!v) return;
  if (!v->is_null() && !to.find(as)) to.set(as, *v);
  from.erase(name);
}

void upgrade_columns(json::value& version) {
  auto list = version.find("additionalPrinterColumns");
  if (!list || !list->array()) return;
  for (auto& column : *list->array()) move_member(column, "JSONPath", column, "jsonPath");
}

void upgrade_conversion(json::value& spec) {
  auto c = spec.find("conversion");
  if (!c || !c->is_object()) return;
  json::value webhook = json::object{};
  move_member(*c, "webhookClientConfig", webhook, "clientConfig");
  move_member(*c, "conversionReviewVersions", webhook, "conversionReviewVersions");
  if ((*c)["strategy"].as_string() == "Webhook") c->set("webhook", std::move(webhook));
}

}  // namespace

void upgrade_definition(json::value& crd) {
  crd.set("apiVersion", "apiextensions.k8s.io/v1");
  auto& spec = crd.member("spec");
  if (spec["versions"].empty() && spec["version"].is_string())
    spec.set("versions", json::array{json::object{{"name", spec["version"]}, {"served", true}, {"storage", true}}});
  spec.erase("version");
  auto versions = spec.find("versions");
  if (versions && versions->array())
    for (auto& v : *versions->array()) {
      // What stands at the top is every version's.
      if (spec["validation"].is_object() && !v.find("schema")) v.set("schema", spec["validation"]);
      for (auto name : {"subresources", "additionalPrinterColumns", "selectableFields"})
        if (!spec[name].is_null() && !v.find(std::string_view(name))) v.set(name, spec[name]);
      upgrade_columns(v);
    }
  for (auto name : {"validation", "subresources", "additionalPrinterColumns", "selectableFields"}) spec.erase(name);
  if (!spec["preserveUnknownFields"].as_bool()) spec.erase("preserveUnknownFields");
  upgrade_conversion(spec);
}

std::optional<std::string> upgrade_stored(std::string_view key, std::string_view text) {
  if (!key.starts_with(definitions().key_prefix) || text.substr(0, 256).find(old_version) == text.npos)
    return std::nullopt;
  auto v = json::parse(text);
  if (!v || (*v)["apiVersion"].as_string() != "apiextensions.k8s.io/v1beta1") return std::nullopt;
  upgrade_definition(*v);
  return stored_text(definitions(), *v);
}

}  // namespace kedge::api::custom
