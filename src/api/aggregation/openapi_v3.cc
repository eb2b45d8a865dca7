#include "api/aggregation/openapi_v3.h"

#include "json/write.h"

namespace kedge::api::aggregation {
namespace {

constexpr std::string_view definitions = "#/definitions/", schemas = "#/components/schemas/";

// No deeper than the document was parsed.
json::value schema_of(const json::value& v2) {
  if (auto* list = v2.array()) {
    json::array out;
    for (auto& item : *list) out.push_back(schema_of(item));
    return out;
  }
  auto* members = v2.object();
  if (!members) return v2;
  json::object out;
  for (auto& m : *members) {
    if (m.name == "$ref" && m.value.is_string() && m.value.as_string().starts_with(definitions)) {
      auto to =
          json::object{{"$ref", std::string(schemas) + std::string(m.value.as_string().substr(definitions.size()))}};
      // Version 3 has nothing beside a reference.
      if (members->size() == 1) return to;
      out.set("allOf", json::array{json::value(std::move(to))});
    } else {
      out.set(m.name, schema_of(m.value));
    }
  }
  return out;
}

void take(json::object& into, const json::value& from, std::string_view name, std::string_view as) {
  if (auto v = from.find(name)) into.set(as, *v);
}

void take_extensions(json::object& into, const json::value& from) {
  if (auto* members = from.object())
    for (auto& m : *members)
      if (m.name.starts_with("x-")) into.set(m.name, m.value);
}

// For each media type, the same schema.
json::object content(const json::value& types, const json::value& schema) {
  json::object out;
  if (auto* list = types.array())
    for (auto& type : *list) out.set(type.as_string(), json::object{{"schema", schema_of(schema)}});
  return out;
}

json::value parameter(const json::value& v2) {
  json::object out;
  for (std::string_view name : {"name", "in", "description", "required", "allowEmptyValue"}) take(out, v2, name, name);
  if (auto schema = v2.find("schema")) {
    out.set("schema", schema_of(*schema));
  } else {
    json::object simple;
    for (std::string_view name : {"type", "format", "uniqueItems"}) take(simple, v2, name, name);
    out.set("schema", std::move(simple));
  }
  take_extensions(out, v2);
  return out;
}

json::value operation(const json::value& v2) {
  json::object out;
  for (std::string_view name : {"tags", "summary", "description", "externalDocs", "operationId"})
    take(out, v2, name, name);
  json::array parameters;
  if (auto* all = v2["parameters"].array())
    for (auto& p : *all) {
      if (p["name"].as_string() == "body" && p.find("schema"))
        out.set("requestBody", json::object{{"content", content(v2["consumes"], p["schema"])}});
      else
        parameters.push_back(parameter(p));
    }
  if (!parameters.empty()) out.set("parameters", std::move(parameters));
  json::object responses;
  if (auto* all = v2["responses"].object())
    for (auto& m : *all) {
      json::object response;
      take(response, m.value, "description", "description");
      if (auto schema = m.value.find("schema")) response.set("content", content(v2["produces"], *schema));
      take_extensions(response, m.value);
      responses.set(m.name, std::move(response));
    }
  out.set("responses", std::move(responses));
  take(out, v2, "deprecated", "deprecated");
  take_extensions(out, v2);
  return out;
}

json::value path_item(const json::value& v2) {
  json::object out;
  for (std::string_view method : {"get", "put", "post", "delete", "options", "head", "patch"})
    if (auto v = v2.find(method)) out.set(method, operation(*v));
  if (auto* all = v2["parameters"].array()) {
    json::array parameters;
    for (auto& p : *all) parameters.push_back(parameter(p));
    out.set("parameters", std::move(parameters));
  }
  take_extensions(out, v2);
  return out;
}

}  // namespace

std::string path_of_swagger(const service_documents& d) {
  if (!d.openapi_v3.empty() || d.v2_paths.empty()) return {};
  // "/apis/G/V/…"
  std::string_view path = d.v2_paths.begin()->name;
  if (!path.starts_with("/apis/")) return {};
  const auto group = path.find('/', 6), version = group == path.npos ? path.npos : path.find('/', group + 1);
  return version == path.npos ? std::string() : std::string(path.substr(1, version - 1));
}

const service_documents* swagger_alone(const documents& fetched, std::string_view path) {
  for (auto& [name, d] : fetched)
    if (auto own = path_of_swagger(*d); !own.empty() && own == path) return d.get();
  return nullptr;
}

std::string openapi_v3_of(const service_documents& d) {
  const auto path = path_of_swagger(d);
  json::object paths, made;
  for (auto& m : d.v2_paths) paths.set(m.name, path_item(m.value));
  for (auto& m : d.v2_definitions) made.set(m.name, schema_of(m.value));
  return json::write(
      json::object{{"openapi", "3.0.0"},
                   {"info", json::object{{"title", path}, {"version", path.substr(path.rfind('/') + 1)}}},
                   {"paths", std::move(paths)},
                   {"components", json::object{{"schemas", std::move(made)}}}});
}

}  // namespace kedge::api::aggregation
