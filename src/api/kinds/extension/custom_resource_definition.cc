// custom_resource_definition.cc: which CustomResourceDefinitions may be, and what becomes of one that is deleted: it
// stays, terminating, until the controller has removed its objects.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/custom/field_path.h"
#include "api/custom/json_path.h"
#include "api/custom/structural.h"
#include "api/kinds/admission/webhook_client.h"
#include "api/registry/kind_rules.h"
#include "base/strings.h"
#include "meta/internal_form.h"

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
  o.set("status", json::object{{"conditions", nullptr},
                               {"acceptedNames", json::object{{"plural", ""}, {"kind", ""}}},
                               {"storedVersions", json::array{}}});
  note_stored_version(o);
}

void prepare_update(json::value& o, const json::value&, const kind_context& c) {
  if (c.subresource.empty()) note_stored_version(o);
}

void prepare_delete(json::value& o, wall_time now) {
  if (o["metadata"]["deletionTimestamp"].is_string()) return;
  if (!holds(o["metadata"]["finalizers"], cleanup_finalizer))
    o.member("metadata").member("finalizers").push_back(cleanup_finalizer);
  auto& list = o.member("status").member("conditions").make_array();
  std::erase_if(list, [](auto& c) { return c["type"].as_string() == "Terminating"; });
  list.push_back(json::object{
      {"type", "Terminating"},
      {"status", "True"},
      {"lastTransitionTime", format_rfc3339(now)},
      {"reason", "InstanceDeletionPending"},
      {"message", "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"}});
}

bool is_protected(std::string_view group) {
  return group == "k8s.io" || group == "kubernetes.io" || group.ends_with(".k8s.io") ||
         group.ends_with(".kubernetes.io");
}

// Members that kube-apiserver holds once, and names their places so, when all versions have the same: "schema" is
// spec.validation.
bool is_hoisted(const json::value& versions, std::string_view member) {
  if (versions.empty() || versions[0][member].is_null()) return false;
  for (std::size_t i = 1; i < versions.size(); ++i)
    if (!(versions[i][member] == versions[0][member])) return false;
  return true;
}

struct hoisted_members {
  bool schema, subresources, columns, selectable;
  explicit hoisted_members(const json::value& versions)
      : schema(is_hoisted(versions, "schema") && versions[0]["schema"]["openAPIV3Schema"].is_object()),
        subresources(is_hoisted(versions, "subresources")),
        columns(is_hoisted(versions, "additionalPrinterColumns")),
        selectable(is_hoisted(versions, "selectableFields")) {}
};

void check_label(causes& out, std::string_view text, const place& at, std::string_view before = {}) {
  if (text.empty()) return;
  if (auto wrong = check_dns1035_label(before.empty() ? std::string(text) : lower(text)); !wrong.empty())
    out.push_back(invalid_value(at, text, fmt::format("{}{}", before, join(wrong, ","))));
}

void check_names(causes& out, const json::value& names, const place& at) {
  constexpr std::string_view mixed = "may have mixed case, but should otherwise match: ";
  for (auto member : {"plural", "singular", "kind", "listKind"}) need(out, names, at, member);
  for (auto member : {"plural", "singular"}) check_label(out, names[member].as_string(), place(at, member));
  for (auto member : {"kind", "listKind"}) check_label(out, names[member].as_string(), place(at, member), mixed);
  auto labels = [&](std::string_view list) {
    for (std::size_t i = 0; i < names[list].size(); ++i)
      if (auto wrong = check_dns1035_label(names[list][i].as_string()); !wrong.empty())
        out.push_back(invalid_value(place(at, list, i), names[list][i], join(wrong, ",")));
  };
  labels("shortNames");
  if (auto kind = names["kind"].as_string(); !kind.empty() && kind == names["listKind"].as_string())
    out.push_back(invalid_value(place(at, "listKind"), kind, "kind and listKind may not be the same"));
  labels("categories");
}

constexpr std::string_view no_simple_path = "must be a simple json path starting with .";

void check_columns(causes& out, const json::value& columns, const place& at) {
  constexpr std::string_view types[] = {"boolean", "date", "integer", "number", "string"};
  constexpr std::string_view formats[] = {"byte", "date", "date-time", "double", "float", "int32", "int64", "password"};
  constexpr std::string_view of_types = "must be one of boolean,date,integer,number,string";
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const place here(at, i), of_path(here, "JSONPath");
    auto& c = columns[i];
    need(out, c, here, "name");
    if (auto type = c["type"].as_string();
        need(out, c, here, "type", of_types) && std::ranges::find(types, type) == std::end(types))
      out.push_back(invalid_value(place(here, "type"), type, of_types));
    if (auto format = c["format"].as_string();
        !format.empty() && std::ranges::find(formats, format) == std::end(formats))
      out.push_back(invalid_value(place(here, "format"), format,
                                  "must be one of byte,date,date-time,double,float,int32,int64,password"));
    if (auto text = c["jsonPath"].as_string(); text.empty())
      out.push_back(required(of_path));
    else if (!text.starts_with('.'))
      out.push_back(invalid_value(of_path, text, no_simple_path));
    else if (auto parsed = custom::json_path::parse(text); !parsed)
      out.push_back(invalid_value(of_path, text, "illegal JSONPath: " + parsed.error().message));
  }
}

void check_scale(causes& out, const json::value& scale, const place& at) {
  if (!scale.is_object()) return;
  auto simple = [&](std::string_view member, std::initializer_list<std::string_view> roots, std::string_view wrong,
                    bool must) {
    auto text = scale[member].as_string();
    const place here(at, member);
    if (text.empty()) {
      if (must) out.push_back(required(here));
      return;
    }
    if (!text.starts_with('.')) return out.push_back(invalid_value(here, text, no_simple_path));
    auto parsed = custom::json_path::parse(text);
    const bool good = parsed && !parsed->members().empty() &&
                      std::ranges::any_of(roots, [&](auto root) { return text.starts_with(root); });
    if (!good) out.push_back(invalid_value(here, text, wrong));
  };
  simple("specReplicasPath", {".spec."}, "should be a json path under .spec", true);
  simple("statusReplicasPath", {".status."}, "should be a json path under .status", true);
  simple("labelSelectorPath", {".spec.", ".status."}, "should be a json path under either .spec or .status", false);
}

void check_selectable(causes& out, const json::value& fields, const json::value& schema, const place& at) {
  std::set<std::string> seen;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const place of_item(at, i), here(of_item, "jsonPath");
    auto text = fields[i]["jsonPath"].as_string();
    if (text.empty()) {
      out.push_back(required(here));
      continue;
    }
    auto found = custom::find_field(text, schema, false);
    if (!found) {
      out.push_back(invalid_value(here, text, "is an invalid path: " + found.error()));
      continue;
    }
    if (found->text.substr(0, found->text.find_first_of(".[")) == "metadata")
      out.push_back(invalid_value(here, text, "must not point to fields in metadata"));
    if (auto type = found->schema["type"].as_string(); type != "string" && type != "boolean" && type != "integer")
      out.push_back(invalid_value(here, text,
                                  "must point to a field of type string, boolean or integer. Enum string fields and "
                                  "strings with formats are allowed."));
    if (!seen.insert(found->text).second) out.push_back(duplicate_value(here, text));
  }
  if (seen.size() > selectable_fields_max) out.push_back(too_many(at, seen.size(), selectable_fields_max));
}

void check_deprecation(causes& out, const json::value& v, const place& at) {
  constexpr std::size_t warning_max = 256;
  auto text = v["deprecationWarning"].as_string();
  auto wrong = [&](std::string_view what) { out.push_back(invalid_value(at, text, what)); };
  if (!v["deprecated"].as_bool()) return wrong("can only be set for deprecated versions");
  if (text.size() > warning_max) wrong("must be <= 256 characters long");
  if (text.empty()) wrong("must not be an empty string");
  for (std::size_t i = 0; i < text.size(); ++i)
    if (static_cast<unsigned char>(text[i]) < ' ' || text[i] == 0x7f)
      return wrong(
          fmt::format("must only contain printable UTF-8 characters; non-printable character found at index {}", i));
}

void check_version(causes& out, const json::value& v, const hoisted_members& once, const place& at) {
  auto name = v["name"].as_string();
  if (auto wrong = check_dns1035_label(name); !wrong.empty())
    out.push_back(invalid_value(place(at, "name"), name, join(wrong, ",")));
  if (v["deprecationWarning"].is_string()) check_deprecation(out, v, place(at, "deprecationWarning"));
  auto& schema = v["schema"]["openAPIV3Schema"];
  const place of_subresources(at, "subresources");
  if (!once.schema && schema.is_object())
    custom::check_schema(out, schema, place(at, "schema.openAPIV3Schema").text(),
                         v["subresources"]["status"].is_object());
  if (!once.subresources) check_scale(out, v["subresources"]["scale"], place(of_subresources, "scale"));
  if (!once.columns) check_columns(out, v["additionalPrinterColumns"], place(at, "additionalPrinterColumns"));
  if (once.selectable || v["selectableFields"].empty()) return;
  const place of_fields(at, "selectableFields");
  if (!schema.is_object())
    out.push_back(
        invalid_value(of_fields, "", "may only be set when `version.schema.openAPIV3Schema` is not included"));
  else
    check_selectable(out, v["selectableFields"], schema, of_fields);
}

// The versions as kube-apiserver holds them, for its messages.
json::value internal_versions(const json::value& versions, const hoisted_members& once) {
  if (!versions.is_array()) return nullptr;
  json::array out;
  for (std::size_t i = 0; i < versions.size(); ++i) {
    auto v = versions[i];
    if (once.schema) v.erase("schema");
    if (once.subresources) v.erase("subresources");
    if (once.columns) v.erase("additionalPrinterColumns");
    if (once.selectable) v.erase("selectableFields");
    out.push_back(internal_form("apiextensions/v1.CustomResourceDefinitionVersion", v));
  }
  return out;
}

void check_versions(causes& out, const json::value& versions, const hoisted_members& once, const place& at) {
  std::set<std::string_view> names;
  std::size_t stored = 0;
  for (std::size_t i = 0; i < versions.size(); ++i) {
    names.insert(versions[i]["name"].as_string());
    stored += versions[i]["storage"].as_bool();
    check_version(out, versions[i], once, place(at, i));
  }
  const bool repeated = names.size() != versions.size();
  if (!repeated && stored == 1) return;
  auto told = internal_versions(versions, once);
  if (repeated) out.push_back(invalid_value(at, told, "must contain unique version names"));
  if (stored != 1) out.push_back(invalid_value(at, told, "must have exactly one version marked as storage version"));
}

void check_hoisted(causes& out, const json::value& versions, const hoisted_members& once, const place& at) {
  auto& v = versions[0];
  auto& schema = v["schema"]["openAPIV3Schema"];
  const place of_fields(at, "selectableFields"), of_subresources(at, "subresources");
  bool with_status = false;
  for (std::size_t i = 0; i < versions.size(); ++i)
    with_status = with_status || versions[i]["subresources"]["status"].is_object();
  if (once.schema) custom::check_schema(out, schema, place(at, "validation.openAPIV3Schema").text(), with_status);
  if (once.subresources) check_scale(out, v["subresources"]["scale"], place(of_subresources, "scale"));
  if (once.columns) check_columns(out, v["additionalPrinterColumns"], place(at, "additionalPrinterColumns"));
  if (once.selectable && !v["selectableFields"].empty())
    check_selectable(out, v["selectableFields"], schema, of_fields);
}

void check_review_versions(causes& out, const json::value& versions, const place& at) {
  std::set<std::string_view> seen;
  if (versions.empty()) return out.push_back(required(at));
  for (std::size_t i = 0; i < versions.size(); ++i) {
    const place here(at, i);
    auto text = versions[i].as_string();
    if (!seen.insert(text).second)
      out.push_back(invalid_value(here, text, "duplicate version"));
    else
      add_problems(out, here, text, check_dns1035_label(text));
  }
  if (!seen.contains("v1") && !seen.contains("v1beta1"))
    out.push_back(invalid_value(at, versions, "must include at least one of v1, v1beta1"));
}

// The places are those of the real server's own form, which has no webhook member.
void check_conversion(causes& out, const json::value& conversion, const place& at) {
  if (!conversion.is_object()) return;
  const place of_client(at, "webhookClientConfig"), of_versions(at, "conversionReviewVersions");
  auto& webhook = conversion["webhook"];
  auto& client = webhook["clientConfig"];
  one_of_needed(out, conversion, at, "strategy", {"None", "Webhook"});
  if (conversion["strategy"].as_string() != "Webhook") {
    constexpr std::string_view wrong = "should not be set when strategy is not set to Webhook";
    if (client.is_object()) out.push_back(forbidden_value(of_client, wrong));
    if (!webhook["conversionReviewVersions"].empty()) out.push_back(forbidden_value(of_versions, wrong));
    return;
  }
  if (!client.is_object())
    out.push_back(required(of_client, "required when strategy is set to Webhook"));
  else
    check_webhook_client(out, client, of_client);
  check_review_versions(out, webhook["conversionReviewVersions"], of_versions);
}

bool has_default(const json::value& schema) {
  if (!schema["default"].is_null()) return true;
  if (auto members = schema["properties"].object())
    for (auto& m : *members)
      if (has_default(m.value)) return true;
  for (auto part : {"items", "additionalProperties"})
    if (schema[part].is_object() && has_default(schema[part])) return true;
  return false;
}

bool has_defaults(const json::value& versions) {
  for (std::size_t i = 0; i < versions.size(); ++i)
    if (has_default(versions[i]["schema"]["openAPIV3Schema"])) return true;
  return false;
}

void check_spec(causes& out, const json::value& spec) {
  auto group = spec["group"].as_string();
  auto& versions = spec["versions"];
  const place at("spec"), of_group(at, "group"), of_versions(at, "versions");
  const hoisted_members once(versions);
  if (group.empty())
    out.push_back(required(of_group));
  else if (auto wrong = check_dns1123_subdomain(group); !wrong.empty())
    out.push_back(invalid_value(of_group, group, join(wrong, ",")));
  else if (group.find('.') == group.npos)
    out.push_back(invalid_value(of_group, group, "should be a domain with at least one dot"));
  one_of_needed(out, spec, at, "scope", {"Cluster", "Namespaced"});
  for (std::size_t i = 0; i < versions.size() && !once.schema; ++i)
    if (!versions[i]["schema"]["openAPIV3Schema"].is_object()) {
      const place here(of_versions, i);
      out.push_back(required(place(here, "schema.openAPIV3Schema")));
    }
  if (spec["preserveUnknownFields"].as_bool() && has_defaults(versions))
    out.push_back(invalid_value(place(at, "preserveUnknownFields"), true,
                                "must be false in order to use defaults in the schema"));
  check_versions(out, versions, once, of_versions);
  check_label(out, versions[0]["name"].as_string(), place(at, "version"));
  check_names(out, spec["names"], place(at, "names"));
  check_hoisted(out, versions, once, at);
  check_conversion(out, spec["conversion"], place(at, "conversion"));
}

void check_stored_versions(causes& out, const json::value& o) {
  const place at("status.storedVersions");
  auto& stored = o["status"]["storedVersions"];
  auto& versions = o["spec"]["versions"];
  if (stored.empty()) return out.push_back(invalid_value(at, nullptr, "must have at least one stored version"));
  std::set<std::string_view> known, left;
  for (std::size_t i = 0; i < stored.size(); ++i) left.insert(stored[i].as_string());
  for (std::size_t v = 0; v < versions.size(); ++v) {
    auto name = versions[v]["name"].as_string();
    known.insert(name);
    if (left.erase(name) == 0 && versions[v]["storage"].as_bool())
      out.push_back(invalid_value(at, stored, fmt::format("must have the storage version {}", name)));
  }
  for (std::size_t i = 0; i < stored.size(); ++i)
    if (auto name = stored[i].as_string(); !known.contains(name))
      out.push_back(invalid_value(
          place(at, i), name,
          fmt::format("missing from spec.versions; {0} was previously a storage version, and must remain in "
                      "spec.versions until a storage "
                      "migration ensures no data remains persisted in {0} and removes {0} from status.storedVersions",
                      name)));
}

// Of groups of the community's, which somebody must have agreed to.
void check_approval(causes& out, const json::value& o) {
  constexpr std::string_view missing =
      "protected groups must have approval annotation \"api-approved.kubernetes.io\", see "
      "https://github.com/kubernetes/enhancements/pull/1111";
  constexpr std::string_view wrong =
      "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a reason "
      "starting with \"unapproved\", see "
      "https://github.com/kubernetes/enhancements/pull/1111";
  if (!is_protected(o["spec"]["group"].as_string())) return;
  auto approval = o["metadata"]["annotations"][approval_annotation].as_string();
  const place annotations("metadata.annotations"), at = place::of_key(annotations, approval_annotation);
  if (approval.empty())
    out.push_back(required(at, missing));
  else if (!approval.starts_with("unapproved") &&
           !(approval.find("://") != approval.npos && approval.find("://") + 3 < approval.size()))
    out.push_back(invalid_value(at, approval, wrong));
}

void check_kept_fields(causes& out, const json::value& o) {
  if (o["spec"]["preserveUnknownFields"].as_bool())
    out.push_back(invalid_value(
        "spec.preserveUnknownFields", true,
        "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"));
}

// The name follows from the spec, which is judged with it.
problems any_name(std::string_view) { return {}; }

void validate(causes& out, const json::value& o) {
  auto& names = o["spec"]["names"];
  auto& name = o["metadata"]["name"];
  if (name.as_string() != fmt::format("{}.{}", names["plural"].as_string(), o["spec"]["group"].as_string()))
    out.push_back(invalid_value("metadata.name", name, "must be spec.names.plural+\".\"+spec.group"));
  check_spec(out, o["spec"]);
  check_stored_versions(out, o);
  check_approval(out, o);
  check_kept_fields(out, o);
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  check_spec(out, o["spec"]);
  bool established = false;
  auto& conditions = old["status"]["conditions"];
  for (std::size_t i = 0; i < conditions.size(); ++i)
    established = established ||
                  (conditions[i]["type"].as_string() == "Established" && conditions[i]["status"].as_string() == "True");
  if (established) {
    immutable(out, o["spec"]["scope"], old["spec"]["scope"], "spec.scope");
    immutable(out, o["spec"]["names"]["kind"], old["spec"]["names"]["kind"], "spec.names.kind");
  }
  immutable(out, o["spec"]["group"], old["spec"]["group"], "spec.group");
  immutable(out, o["spec"]["names"]["plural"], old["spec"]["names"]["plural"], "spec.names.plural");
  check_stored_versions(out, o);
  if (!(o["metadata"]["annotations"][approval_annotation] == old["metadata"]["annotations"][approval_annotation]))
    check_approval(out, o);
  if (!old["spec"]["preserveUnknownFields"].as_bool()) check_kept_fields(out, o);
}

void validate_part(causes& out, const json::value& o, const json::value&, std::string_view) {
  check_stored_versions(out, o);
}

// Formats of texts that kube-apiserver knows, without their dashes.
bool is_known_format(std::string_view type, std::string_view format) {
  constexpr std::string_view known[] = {
      "bsonobjectid", "uri",   "email",    "hostname", "ipv4",     "ipv6",     "cidr",         "mac",        "uuid",
      "uuid3",        "uuid4", "uuid5",    "isbn",     "isbn10",   "isbn13",   "creditcard",   "ssn",        "hexcolor",
      "rgbcolor",     "byte",  "password", "date",     "duration", "datetime", "k8sshortname", "k8slongname"};
  if (type == "integer") return format == "int32" || format == "int64";
  if (type == "number") return format == "float" || format == "double";
  if (!type.empty() && type != "string") return false;
  std::string plain(format);
  std::erase(plain, '-');
  return std::ranges::find(known, plain) != std::end(known);
}

void add_formats(std::set<std::string>& out, const json::value& schema) {
  if (auto format = schema["format"].as_string();
      !format.empty() && !is_known_format(schema["type"].as_string(), format))
    out.emplace(format);
  if (auto members = schema["properties"].object())
    for (auto& m : *members) add_formats(out, m.value);
  for (auto part : {"items", "additionalProperties"})
    if (schema[part].is_object()) add_formats(out, schema[part]);
}

std::set<std::string> unknown_formats(const json::value& o) {
  std::set<std::string> out;
  auto& versions = o["spec"]["versions"];
  for (std::size_t i = 0; i < versions.size(); ++i) add_formats(out, versions[i]["schema"]["openAPIV3Schema"]);
  return out;
}

void warn(std::vector<std::string>& out, const json::value& o, const json::value* old) {
  const auto before = old ? unknown_formats(*old) : std::set<std::string>();
  for (auto& format : unknown_formats(o))
    if (!before.contains(format)) out.push_back(fmt::format("unrecognized format {}", quote(format)));
}

}  // namespace

const kind_rules kinds::custom_resource_definitions{.group = "apiextensions.k8s.io",
                                                    .resource = "customresourcedefinitions",
                                                    .name = any_name,
                                                    .generation = true,
                                                    .unconditional_update = false,
                                                    .answers_deleted_object = true,
                                                    .prepare_create = prepare_create,
                                                    .prepare_update = prepare_update,
                                                    .validate = validate,
                                                    .validate_update = validate_update,
                                                    .validate_part = validate_part,
                                                    .prepare_delete = prepare_delete,
                                                    .warn = warn};

}  // namespace kedge::api
