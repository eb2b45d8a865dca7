#include "api/publish/custom_openapi.h"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <algorithm>
#include <map>
#include <set>

#include "api/custom/definition.h"
#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "schema/openapi.h"
#include "schema/openapi_proto.h"

namespace kedge::api::custom {
namespace {

enum class dialect : unsigned char { v2, v3 };

constexpr std::string_view meta = "io.k8s.apimachinery.pkg.apis.meta.v1.";
constexpr std::string_view api_version_text =
    "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized "
    "schemas to the latest internal value, and "
    "may reject unrecognized values. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
constexpr std::string_view kind_text =
    "Kind is a string value representing the REST resource this object represents. Servers may infer this from the "
    "endpoint the client submits requests to. "
    "Cannot be updated. In CamelCase. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
constexpr std::string_view metadata_text =
    "Standard object's metadata. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

std::string sha512(std::string_view text) {
  unsigned char digest[SHA512_DIGEST_LENGTH];
  SHA512(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  auto out = hex({reinterpret_cast<const std::byte*>(digest), sizeof digest});
  for (auto& c : out)
    if (c >= 'a') c = static_cast<char>(c - 'a' + 'A');
  return out;
}

std::string path_of(const served& s) { return fmt::format("apis/{}/{}", s.group, s.version); }

// "com.example.v1.Gizmo"
std::string definition_name(const served& s, std::string_view kind) {
  auto parts = split(s.group, '.');
  std::string out;
  for (auto it = parts.rbegin(); it != parts.rend(); ++it) out += std::string(*it) + ".";
  return fmt::format("{}{}.{}", out, s.version, kind);
}

// One resource's schemas and paths in one dialect.
class describer {
 public:
  describer(const served& s, dialect d) : s_(s), v3_(d == dialect::v3) {}

  json::value schema() const {
    auto given = s_.custom->owner->schema_json(s_.version);
    const bool bare = !given.is_object() || (!v3_ && given["x-kubernetes-preserve-unknown-fields"].as_bool());
    json::value out = json::object{{"type", "object"}};
    if (!bare) {
      out = std::move(given);
      embed(out);
      if (!v3_) simplify(out);
      add_object_meta(out, false);
    }
    out.set("x-kubernetes-group-version-kind", json::array{kind_of(s_.group, s_.version, s_.kind)});
    return out;
  }

  json::value list_schema() const {
    json::object properties{
        {"apiVersion", json::object{{"description", api_version_text}, {"type", "string"}}},
        {"items",
         json::object{
             {"description",
              fmt::format("List of {}. More info: "
                          "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md",
                          s_.resource)},
             {"items", reference(definition_name(s_, s_.kind))},
             {"type", "array"}}},
        {"kind", json::object{{"description", kind_text}, {"type", "string"}}},
        {"metadata", described_reference(std::string(meta) + "ListMeta", metadata_text)}};
    return json::object{{"description", fmt::format("{} is a list of {}", s_.list_kind, s_.kind)},
                        {"type", "object"},
                        {"required", json::array{json::value("items")}},
                        {"properties", std::move(properties)},
                        {"x-kubernetes-group-version-kind", json::array{kind_of(s_.group, s_.version, s_.list_kind)}}};
  }

  void add_paths(json::object& paths) const {
    auto base = fmt::format("/apis/{}/{}", s_.group, s_.version);
    auto collection = base + (s_.namespaced() ? "/namespaces/{namespace}/" : "/") + s_.resource;
    auto all = item(false, s_.namespaced());
    add(all, "get", "list", "list", s_.list_kind);
    add(all, "post", "create", "post", s_.kind);
    add(all, "delete", "deletecollection", "deletecollection", "");
    paths.set(collection, std::move(all));
    if (s_.namespaced()) {
      auto everywhere = item(false, false);
      add(everywhere, "get", "list", "list", s_.list_kind, "ForAllNamespaces");
      paths.set(base + "/" + s_.resource, std::move(everywhere));
    }
    auto one = item(true, s_.namespaced());
    add(one, "get", "get", "get", s_.kind);
    add(one, "put", "update", "put", s_.kind);
    add(one, "patch", "patch", "patch", s_.kind);
    add(one, "delete", "delete", "delete", "");
    paths.set(collection + "/{name}", std::move(one));
    for (auto& sub : s_.subresources) {
      auto part = item(true, s_.namespaced());
      auto word = std::string(1, static_cast<char>(sub.name[0] - 'a' + 'A')) + std::string(sub.name.substr(1));
      for (auto [method, verb] : {std::pair{"get", "get"}, {"put", "update"}, {"patch", "patch"}})
        add(part, method, verb, method, sub.name == "status" ? s_.kind : "", word);
      paths.set(fmt::format("{}/{{name}}/{}", collection, sub.name), std::move(part));
    }
  }

 private:
  static json::value kind_of(std::string_view group, std::string_view version, std::string_view kind) {
    return json::object{{"group", group}, {"kind", kind}, {"version", version}};
  }
  json::value reference(std::string_view name) const {
    return json::object{{"$ref", (v3_ ? "#/components/schemas/" : "#/definitions/") + std::string(name)}};
  }
  // A reference may not stand beside other members in v3.
  json::value described_reference(std::string_view name, std::string_view description) const {
    if (v3_) return json::object{{"description", description}, {"allOf", json::array{reference(name)}}};
    auto out = reference(name);
    out.set("description", description);
    return out;
  }

  void add_object_meta(json::value& schema, bool embedded) const {
    auto& p = schema.member("properties");
    p.set("apiVersion", json::object{{"description", api_version_text}, {"type", "string"}});
    p.set("kind", json::object{{"description", kind_text}, {"type", "string"}});
    p.set("metadata", described_reference(std::string(meta) + "ObjectMeta", metadata_text));
    if (embedded) {
      auto& needed = schema.member("required").make_array();
      for (auto name : {"apiVersion", "kind"})
        if (std::find(needed.begin(), needed.end(), json::value(name)) == needed.end()) needed.emplace_back(name);
    }
  }

  // Embedded resources have what every object has.
  void embed(json::value& v) const {
    if (auto members = v["properties"].object()) {
      (void)members;
      for (auto& m : *v.member("properties").object()) {
        embed(m.value);
        if (m.value["x-kubernetes-embedded-resource"].as_bool()) add_object_meta(m.value, true);
      }
    }
    for (auto name : {"items", "additionalProperties"})
      if (v[name].is_object()) embed(v.member(name));
  }

  // What OpenAPI v2 can't say is left out, so that kubectl's older checks pass what the server would.
  static void simplify(json::value& v) {
    for (auto name : {"oneOf", "anyOf", "allOf", "not", "nullable"}) {
      if (std::string_view(name) == "nullable" && v["nullable"].as_bool())
        for (auto gone : {"type", "items", "properties", "additionalProperties", "required"}) v.erase(gone);
      v.erase(name);
    }
    if (v["x-kubernetes-preserve-unknown-fields"].as_bool())
      for (auto gone : {"items", "properties"}) v.erase(gone);
    if (v["x-kubernetes-int-or-string"].as_bool()) v.erase("type");
    if (v["properties"].is_object()) {
      auto& members = *v.member("properties").object();
      if (auto needed = v.find("required"); needed && needed->array())
        std::erase_if(*needed->array(), [&](auto& r) {
          auto p = members.find(r.as_string());
          return p && (*p)["nullable"].as_bool();
        });
      for (auto& m : members) simplify(m.value);
    }
    for (auto name : {"items", "additionalProperties"})
      if (v[name].is_object()) simplify(v.member(name));
  }

  json::value parameter(std::string_view name, std::string_view in, std::string_view type) const {
    json::object p{{"name", name}, {"in", in}};
    if (in == "path") p.set("required", true);
    if (v3_)
      p.set("schema", json::object{{"type", type}, {"uniqueItems", true}});
    else {
      p.set("type", type);
      p.set("uniqueItems", true);
    }
    return p;
  }

  json::value item(bool named, bool namespaced) const {
    json::array parameters;
    if (named) parameters.push_back(parameter("name", "path", "string"));
    if (namespaced) parameters.push_back(parameter("namespace", "path", "string"));
    parameters.push_back(parameter("pretty", "query", "string"));
    return json::object{{"parameters", std::move(parameters)}};
  }

  json::array query_of(std::string_view verb) const {
    json::array out;
    auto texts = [&](std::initializer_list<std::string_view> names) {
      for (auto n : names) out.push_back(parameter(n, "query", "string"));
    };
    if (verb == "create" || verb == "update" || verb == "patch") texts({"dryRun", "fieldManager", "fieldValidation"});
    if (verb == "patch") out.push_back(parameter("force", "query", "boolean"));
    if (verb == "delete" || verb == "deletecollection") {
      texts({"dryRun", "propagationPolicy"});
      out.push_back(parameter("gracePeriodSeconds", "query", "integer"));
    }
    if (verb == "get") texts({"resourceVersion"});
    if (verb == "list" || verb == "deletecollection") {
      texts({"continue", "fieldSelector", "labelSelector", "resourceVersion", "resourceVersionMatch"});
      out.push_back(parameter("limit", "query", "integer"));
      out.push_back(parameter("sendInitialEvents", "query", "boolean"));
      out.push_back(parameter("timeoutSeconds", "query", "integer"));
    }
    if (verb == "list") {
      out.push_back(parameter("allowWatchBookmarks", "query", "boolean"));
      out.push_back(parameter("watch", "query", "boolean"));
    }
    return out;
  }

  json::value content(std::initializer_list<std::string_view> types, const json::value& schema) const {
    json::object out;
    for (auto t : types) out.set(t, json::object{{"schema", schema}});
    return out;
  }

  void add(json::value& path, std::string_view method, std::string_view verb, std::string_view action,
           std::string_view answer, std::string_view suffix = {}) const {
    if (suffix.empty() || suffix == "ForAllNamespaces")
      if (!s_.has_verb(verb)) return;
    auto schema = answer.empty() ? (suffix.empty() ? reference(std::string(meta) + "Status")
                                                   : json::value(json::object{{"type", "object"}}))
                                 : reference(definition_name(s_, answer));
    auto parameters = query_of(verb);
    const bool writes = verb == "create" || verb == "update", patches = verb == "patch";
    auto body = writes ? schema : json::value(json::object{{"type", "object"}});
    json::object op;
    op.set("operationId", operation_id(verb, suffix));
    if (!v3_) {
      if (writes || patches)
        parameters.insert(parameters.begin(),
                          json::object{{"name", "body"}, {"in", "body"}, {"required", true}, {"schema", body}});
      op.set("consumes", patches ? json::array{json::value("application/json-patch+json"),
                                               json::value("application/merge-patch+json"),
                                               json::value("application/apply-patch+yaml")}
                                 : json::array{json::value("application/json"), json::value("application/yaml")});
      op.set("produces", json::array{json::value("application/json"), json::value("application/yaml")});
    } else if (writes) {
      op.set("requestBody", json::object{{"content", content({"application/json", "application/yaml"}, body)}});
    } else if (patches) {
      op.set("requestBody",
             json::object{{"content", content({"application/json-patch+json", "application/merge-patch+json",
                                               "application/apply-patch+yaml"},
                                              body)}});
    }
    op.set("parameters", std::move(parameters));
    json::object ok{{"description", "OK"}};
    if (v3_)
      ok.set("content", content({"application/json", "application/yaml"}, schema));
    else
      ok.set("schema", schema);
    op.set("responses", json::object{{"200", std::move(ok)}});
    op.set("x-kubernetes-action", action);
    op.set("x-kubernetes-group-version-kind",
           suffix == "Scale" ? kind_of("autoscaling", "v1", "Scale") : kind_of(s_.group, s_.version, s_.kind));
    path.set(method, std::move(op));
  }

  std::string operation_id(std::string_view verb, std::string_view suffix) const {
    static const std::map<std::string_view, std::string_view> words = {{"get", "read"},
                                                                       {"list", "list"},
                                                                       {"create", "create"},
                                                                       {"update", "replace"},
                                                                       {"patch", "patch"},
                                                                       {"delete", "delete"},
                                                                       {"deletecollection", "deleteCollection"}};
    auto camel = [](std::string_view text) {
      std::string out;
      bool upper = true;
      for (char c : text) {
        if (c == '.' || c == '-') {
          upper = true;
          continue;
        }
        out += upper && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
        upper = false;
      }
      return out;
    };
    return fmt::format("{}{}{}{}{}{}", words.at(verb), camel(s_.group), camel(s_.version),
                       s_.namespaced() && suffix != "ForAllNamespaces" ? "Namespaced" : "", s_.kind, suffix);
  }

  const served& s_;
  bool v3_;
};

std::vector<const served*> custom_resources(const registry& r) {
  std::vector<const served*> out;
  for (auto& d : r.definitions())
    for (auto s : d->versions()) out.push_back(s);
  return out;
}

// The schemas of metadata, Status and the rest, from a document of the built-in groups that has all of them.
json::object shared_schemas(std::string_view version) {
  json::object out;
  auto text = schema::openapi_v3("apis/scheduling.k8s.io/v1", version);
  auto document = text ? json::parse(*text) : result<json::value>(json::value());
  if (!document) return out;
  if (auto all = (*document)["components"]["schemas"].object())
    for (auto& m : *all)
      if (m.name.starts_with("io.k8s.apimachinery.")) out.set(m.name, m.value);
  return out;
}

}  // namespace

std::optional<std::string> openapi_hash(const registry& r, std::string_view path, std::string_view version) {
  const bool whole = path.starts_with("v2");
  std::string text;
  for (auto s : custom_resources(r))
    if (whole || path_of(*s) == path)
      text += fmt::format("{}/{}={};", s->version, s->resource, s->custom->owner->fingerprint());
  if (text.empty()) return std::nullopt;
  return sha512(text + schema::openapi_hash(path, version));
}

std::string openapi_v3_index(const registry& r, std::string_view version) {
  auto text = schema::openapi_v3_index(version);
  auto index = json::parse(text);
  if (!index || r.definitions().empty()) return text;
  std::map<std::string, json::value> all;
  for (auto& m : *(*index)["paths"].object()) all.emplace(m.name, m.value);
  for (auto s : custom_resources(r)) {
    auto path = path_of(*s);
    all[path] = json::object{
        {"serverRelativeURL", fmt::format("/openapi/v3/{}?hash={}", path, *openapi_hash(r, path, version))}};
  }
  json::object paths;
  for (auto& [path, v] : all) paths.set(path, v);
  return json::write(json::object{{"paths", std::move(paths)}});
}

std::optional<std::string> openapi_v3(const registry& r, std::string_view path, std::string_view version) {
  json::object paths, schemas;
  for (auto s : custom_resources(r)) {
    if (path_of(*s) != path) continue;
    if (schemas.empty()) schemas = shared_schemas(version);
    describer d(*s, dialect::v3);
    schemas.set(definition_name(*s, s->kind), d.schema());
    schemas.set(definition_name(*s, s->list_kind), d.list_schema());
    d.add_paths(paths);
  }
  if (schemas.empty()) return std::nullopt;
  return json::write(json::object{{"openapi", "3.0.0"},
                                  {"info", json::object{{"title", "Kubernetes CRD Swagger"}, {"version", "v0.1.0"}}},
                                  {"paths", std::move(paths)},
                                  {"components", json::object{{"schemas", std::move(schemas)}}}});
}

std::string with_openapi_v2(const registry& r, std::string builtin) {
  std::string paths, definitions;
  for (auto s : custom_resources(r)) {
    describer d(*s, dialect::v2);
    json::object mine;
    d.add_paths(mine);
    for (auto& m : mine) {
      json::write_string(m.name, paths);
      paths += ':';
      json::write(m.value, paths);
      paths += ',';
    }
    for (auto& [name, v] : {std::pair{definition_name(*s, s->kind), d.schema()},
                            std::pair{definition_name(*s, s->list_kind), d.list_schema()}}) {
      definitions += ',';
      json::write_string(name, definitions);
      definitions += ':';
      json::write(v, definitions);
    }
  }
  // The document ends with its definitions; its paths come once, before them.
  constexpr std::string_view opening = "\"paths\":{";
  auto at = builtin.find(opening);
  if (definitions.empty() || at == builtin.npos || !builtin.ends_with("}}")) return builtin;
  builtin.insert(builtin.size() - 2, definitions);
  builtin.insert(at + opening.size(), paths);
  return builtin;
}

std::string with_openapi_v2_protobuf(const registry& r, std::string builtin, std::string_view version) {
  if (r.definitions().empty()) return builtin;
  // Messages that follow each other are merged by their reader: paths and definitions add up.
  schema::openapi_proto_writer out(json::object{{"title", "Kubernetes"}, {"version", version}});
  for (auto s : custom_resources(r)) {
    describer d(*s, dialect::v2);
    json::object mine;
    d.add_paths(mine);
    for (auto& m : mine) out.path(m.name, m.value);
    out.definition(definition_name(*s, s->kind), d.schema());
    out.definition(definition_name(*s, s->list_kind), d.list_schema());
  }
  return builtin + std::move(out).take();
}

}  // namespace kedge::api::custom
