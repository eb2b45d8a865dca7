// custom_resource_definition.cc: which CustomResourceDefinitions may be, and what becomes of one that is deleted: it stays,
// terminating, until the controller has removed its objects.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/custom/json_path.h"
#include "api/custom/structural.h"
#include "api/kind_rules.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

constexpr std::string_view cleanup_finalizer = "customresourcecleanup.apiextensions.k8s.io";
constexpr std::string_view approval_annotation = "api-approved.kubernetes.io";
constexpr std::size_t selectable_fields_max = 8;  // kube-apiserver's, for each adds an index

const json::value* storage_version(const json::value& o) {
  for (std::size_t i = 0; i < o["spec"]["versions"].size(); ++i)
    if (o["spec"]["versions"][i]["storage"].as_bool()) return &o["spec"]["versions"][i];
  return nullptr;
}

bool holds(const json::value& list, std::string_view text) {
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i].as_string() == text) return true;
  return false;
}

void note_stored_version(json::value& o) {
  auto stored = storage_version(o);
  if (!stored) return;
  auto name = std::string((*stored)["name"].as_string());
  if (!holds(o["status"]["storedVersions"], name)) o.member("status").member("storedVersions").push_back(name);
}

void prepare_create(json::value& o, const kind_context&) {
  o.set("status", json::object{{"conditions", nullptr}, {"acceptedNames", json::object{{"plural", ""}, {"kind", ""}}}, {"storedVersions", json::array{}}});
  note_stored_version(o);
}

void prepare_update(json::value& o, const json::value&, const kind_context& c) {
  if (c.subresource.empty()) note_stored_version(o);
}

void prepare_delete(json::value& o, wall_time now) {
  if (o["metadata"]["deletionTimestamp"].is_string()) return;
  if (!holds(o["metadata"]["finalizers"], cleanup_finalizer)) o.member("metadata").member("finalizers").push_back(cleanup_finalizer);
  auto& list = o.member("status").member("conditions").make_array();
  std::erase_if(list, [](auto& c) { return c["type"].as_string() == "Terminating"; });
  list.push_back(json::object{{"type", "Terminating"},
                              {"status", "True"},
                              {"lastTransitionTime", format_rfc3339(now)},
                              {"reason", "InstanceDeletionPending"},
                              {"message", "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"}});
}

bool is_protected(std::string_view group) {
  return group == "k8s.io" || group == "kubernetes.io" || group.ends_with(".k8s.io") || group.ends_with(".kubernetes.io");
}

void check_names(causes& out, const json::value& names, const std::string& path) {
  for (auto member : {"plural", "singular", "kind", "listKind"}) {
    auto text = names[member].as_string();
    if (text.empty()) {
      out.push_back(required(under(path, member)));
      continue;
    }
    add_problems(out, under(path, member), text, check_dns1035_label(lower(text)));
  }
  for (auto list : {"shortNames", "categories"})
    for (std::size_t i = 0; i < names[list].size(); ++i) add_problems(out, at(under(path, list), i), names[list][i], check_dns1035_label(names[list][i].as_string()));
  if (!names["kind"].as_string().empty() && names["kind"].as_string() == names["listKind"].as_string())
    out.push_back(invalid_value(path + ".listKind", names["listKind"], "kind and listKind may not be the same"));
}

void check_columns(causes& out, const json::value& columns, const std::string& path) {
  for (std::size_t i = 0; i < columns.size(); ++i) {
    auto here = at(path, i);
    auto& c = columns[i];
    need(out, c, here, "name");
    if (need(out, c, here, "type")) one_of(out, c, here, "type", {"boolean", "date", "integer", "number", "string"});
    one_of(out, c, here, "format", {"", "binary", "byte", "date", "date-time", "double", "float", "int32", "int64", "password"});
    auto text = c["jsonPath"].as_string();
    if (text.empty())
      out.push_back(required(here + ".JSONPath"));
    else if (auto p = custom::json_path::parse(text); !p)
      out.push_back(invalid_value(here + ".JSONPath", text, "illegal JSONPath: " + p.error().message));
  }
}

void check_scale(causes& out, const json::value& scale, const std::string& path) {
  auto simple = [&](const char* member, std::string_view prefix, bool must) {
    auto text = scale[member].as_string();
    auto here = under(path, member);
    if (text.empty()) {
      if (must) out.push_back(required(here));
      return;
    }
    auto p = custom::json_path::parse(text);
    if (!p || p->members().empty())
      out.push_back(invalid_value(here, text, "should be a json path under " + std::string(prefix)));
    else if (!text.starts_with(prefix) && !(must && prefix == ".spec"))
      out.push_back(invalid_value(here, text, "should be a json path under " + std::string(prefix)));
  };
  simple("specReplicasPath", ".spec", true);
  simple("statusReplicasPath", ".status", true);
  simple("labelSelectorPath", ".", false);
}

// kube-apiserver holds a schema that all versions have once, and names its place so.
bool one_schema(const json::value& versions) {
  for (std::size_t i = 1; i < versions.size(); ++i)
    if (!(versions[i]["schema"] == versions[0]["schema"])) return false;
  return true;
}

void check_versions(causes& out, const json::value& o) {
  auto& versions = o["spec"]["versions"];
  std::set<std::string_view> names;
  std::size_t stored = 0;
  const bool hoisted = one_schema(versions);
  bool schema_told = false, repeated = false;  // said once: each would tell the whole list
  for (std::size_t i = 0; i < versions.size(); ++i) {
    auto& v = versions[i];
    auto here = at("spec.versions", i);
    auto name = v["name"].as_string();
    add_problems(out, here + ".name", name, check_dns1035_label(name));
    if (!names.insert(name).second && !std::exchange(repeated, true)) out.push_back(invalid_value("spec.versions", versions, "must contain unique version names"));
    stored += v["storage"].as_bool();
    if (!v["deprecated"].as_bool() && v["deprecationWarning"].is_string())
      out.push_back(invalid_value(here + ".deprecationWarning", v["deprecationWarning"], "can only be set for deprecated versions"));
    auto& schema = v["schema"]["openAPIV3Schema"];
    if (!schema.is_object()) {
      out.push_back(required(here + ".schema.openAPIV3Schema", "schemas are required"));
    } else if (!hoisted || !schema_told) {
      custom::check_schema(out, schema, hoisted ? "spec.validation.openAPIV3Schema" : here + ".schema.openAPIV3Schema");
      schema_told = true;
    }
    check_columns(out, v["additionalPrinterColumns"], here + ".additionalPrinterColumns");
    if (v["subresources"]["scale"].is_object()) check_scale(out, v["subresources"]["scale"], here + ".subresources.scale");
    auto& fields = v["selectableFields"];
    if (fields.size() > selectable_fields_max) out.push_back(too_many(here + ".selectableFields", fields.size(), selectable_fields_max));
    for (std::size_t f = 0; f < fields.size(); ++f) {
      auto text = fields[f]["jsonPath"].as_string();
      auto p = custom::json_path::parse(text);
      if (!p || p->members().empty()) out.push_back(invalid_value(at(here + ".selectableFields", f) + ".jsonPath", text, "is an invalid path"));
    }
  }
  if (stored != 1) out.push_back(invalid_value("spec.versions", versions, "must have exactly one version marked as storage version"));
}

void validate(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  auto group = spec["group"].as_string();
  auto expected = fmt::format("{}.{}", spec["names"]["plural"].as_string(), group);
  if (o["metadata"]["name"].as_string() != expected)
    out.push_back(invalid_value("metadata.name", o["metadata"]["name"], "must be spec.names.plural+\".\"+spec.group"));
  if (group.empty()) {
    out.push_back(required("spec.group"));
  } else if (auto wrong = check_dns1123_subdomain(group); !wrong.empty()) {
    add_problems(out, "spec.group", group, wrong);
  } else if (group.find('.') == group.npos) {
    out.push_back(invalid_value("spec.group", group, "should be a domain with at least one dot"));
  }
  if (is_protected(group)) {
    auto approval = o["metadata"]["annotations"][approval_annotation].as_string();
    if (!approval.starts_with("https://") && !approval.starts_with("http://") && !approval.starts_with("unapproved"))
      out.push_back(required("metadata.annotations[api-approved.kubernetes.io]",
                             "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111"));
  }
  if (auto scope = spec["scope"].as_string(); scope.empty())
    out.push_back(required("spec.scope"));
  else if (scope != "Cluster" && scope != "Namespaced")
    out.push_back(not_supported("spec.scope", scope, {"Cluster", "Namespaced"}));
  if (spec["preserveUnknownFields"].as_bool())
    out.push_back(invalid_value("spec.preserveUnknownFields", true, "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"));
  check_names(out, spec["names"], "spec.names");
  if (spec["versions"].empty())
    out.push_back(required("spec.versions", "must have at least one version"));
  else
    check_versions(out, o);
  auto strategy = spec["conversion"]["strategy"].as_string();
  if (strategy != "None" && strategy != "Webhook") out.push_back(not_supported("spec.conversion.strategy", strategy, {"None", "Webhook"}));
  if (strategy == "Webhook" && !spec["conversion"]["webhook"]["clientConfig"].is_object())
    out.push_back(required("spec.conversion.webhook.clientConfig", "required when strategy is set to Webhook"));
  if (strategy == "Webhook" && spec["conversion"]["webhook"]["conversionReviewVersions"].empty())
    out.push_back(required("spec.conversion.webhook.conversionReviewVersions"));
}

void check_stored_versions(causes& out, const json::value& o) {
  auto& stored = o["status"]["storedVersions"];
  if (stored.empty()) {
    out.push_back(invalid_value("status.storedVersions", stored, "must have at least one stored version"));
    return;
  }
  if (auto v = storage_version(o); v && !holds(stored, (*v)["name"].as_string()))
    out.push_back(invalid_value("status.storedVersions", stored, fmt::format("must have the storage version {}", (*v)["name"].as_string())));
  std::set<std::string_view> known;
  for (std::size_t v = 0; v < o["spec"]["versions"].size(); ++v) known.insert(o["spec"]["versions"][v]["name"].as_string());
  for (std::size_t i = 0; i < stored.size(); ++i)
    if (auto name = stored[i].as_string(); !known.contains(name))
      out.push_back(invalid_value(at("status.storedVersions", i), stored[i],
                                  fmt::format("missing from spec.versions; {0} was previously a storage version, and must remain in spec.versions until a "
                                              "storage migration ensures no data remains persisted in {0} and removes {0} from status.storedVersions",
                                              name)));
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  validate(out, o);
  immutable(out, o["spec"]["group"], old["spec"]["group"], "spec.group");
  immutable(out, o["spec"]["names"]["plural"], old["spec"]["names"]["plural"], "spec.names.plural");
  bool established = false;
  auto& conditions = old["status"]["conditions"];
  for (std::size_t i = 0; i < conditions.size(); ++i)
    established = established || (conditions[i]["type"].as_string() == "Established" && conditions[i]["status"].as_string() == "True");
  if (established) {
    immutable(out, o["spec"]["scope"], old["spec"]["scope"], "spec.scope");
    immutable(out, o["spec"]["names"]["kind"], old["spec"]["names"]["kind"], "spec.names.kind");
  }
  check_stored_versions(out, o);
}

void validate_part(causes& out, const json::value& o, const json::value&, std::string_view) { check_stored_versions(out, o); }

}  // namespace

const kind_rules kinds::custom_resource_definitions{.group = "apiextensions.k8s.io", .resource = "customresourcedefinitions", .generation = true,
    .unconditional_update = false, .answers_deleted_object = true, .prepare_create = prepare_create, .prepare_update = prepare_update,
    .validate = validate, .validate_update = validate_update, .validate_part = validate_part, .prepare_delete = prepare_delete};

}  // namespace kedge::api
