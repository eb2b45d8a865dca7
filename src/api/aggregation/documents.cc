#include "api/aggregation/documents.h"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <set>

#include "api/aggregation/openapi_v3.h"
#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "schema/openapi_proto.h"

namespace kedge::api::aggregation {
namespace {

constexpr std::string_view definition_prefix = "#/definitions/";

json::object response_kind(const json::value& entry) {
  return json::object{{"group", entry["group"].as_string()},
                      {"version", entry["version"].as_string()},
                      {"kind", entry["kind"].as_string()}};
}

void copy_list(json::object& to, const json::value& from, std::string_view member) {
  if (!from[member].empty()) to.set(member, from[member]);
}

void find_references(const json::value& v, std::vector<std::string_view>& out) {
  if (auto* list = v.array()) {
    for (auto& one : *list) find_references(one, out);
  } else if (auto* members = v.object()) {
    for (auto& m : *members) {
      if (m.name == "$ref" && m.value.as_string().starts_with(definition_prefix))
        out.push_back(m.value.as_string().substr(definition_prefix.size()));
      find_references(m.value, out);
    }
  }
}

// Parameters that the document names once for all paths, each in its place: this server's document names none.
void put_parameters(json::value& v, const json::value& named) {
  constexpr std::string_view prefix = "#/parameters/";
  if (auto* list = v.array()) {
    for (auto& one : *list) {
      auto reference = one["$ref"].as_string();
      if (reference.starts_with(prefix) && named[reference.substr(prefix.size())].is_object())
        one = named[reference.substr(prefix.size())];
      else
        put_parameters(one, named);
    }
  } else if (auto* members = v.object()) {
    for (auto& m : *members) put_parameters(m.value, named);
  }
}

std::string sha256_hex(std::string_view text) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  return hex({reinterpret_cast<const std::byte*>(digest), sizeof digest});
}

// Appends `,"name":value` of what isn't there yet.
void append_members(std::string& out, const json::object& members, std::set<std::string_view>& there,
                    const std::string& own) {
  for (auto& m : members) {
    std::string name;
    json::write_string(m.name, name);
    if (own.find(name + ":{") != own.npos || !there.insert(m.name).second) continue;
    out += ',' + name + ':';
    json::write(m.value, out);
  }
}

// A message's first field is the name that it is of.
std::string named_field(std::string_view name) {
  std::string out = "\x0a";
  for (auto n = name.size();; n >>= 7) {
    out += static_cast<char>((n & 0x7f) | (n > 0x7f ? 0x80 : 0));
    if (n <= 0x7f) break;
  }
  return out.append(name);
}

}  // namespace

std::optional<json::array> resources_in(const json::value& discovery, std::string_view group,
                                        std::string_view version) {
  auto& items = discovery["items"];
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i]["metadata"]["name"].as_string() != group) continue;
    auto& versions = items[i]["versions"];
    for (std::size_t j = 0; j < versions.size(); ++j)
      if (versions[j]["version"].as_string() == version) {
        auto* list = versions[j]["resources"].array();
        return list ? *list : json::array();
      }
  }
  return std::nullopt;
}

json::array resources_of_list(const json::value& list) {
  std::vector<json::object> out;
  std::map<std::string_view, std::size_t> places;
  std::vector<json::array> parts;
  auto& all = list["resources"];
  auto scope_of = [](const json::value& r) { return r["namespaced"].as_bool() ? "Namespaced" : "Cluster"; };
  for (std::size_t i = 0; i < all.size(); ++i) {
    auto& r = all[i];
    auto name = r["name"].as_string();
    if (name.find('/') != name.npos) continue;
    json::object o{{"resource", name},
                   {"responseKind", response_kind(r)},
                   {"scope", scope_of(r)},
                   {"singularResource", r["singularName"].as_string()},
                   {"verbs", r["verbs"].is_array() ? r["verbs"] : json::value(json::array())}};
    copy_list(o, r, "shortNames");
    copy_list(o, r, "categories");
    places.emplace(name, out.size());
    out.push_back(std::move(o));
    parts.emplace_back();
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    auto& r = all[i];
    auto name = r["name"].as_string();
    const auto slash = name.find('/');
    if (slash == name.npos) continue;
    auto [place, fresh] = places.try_emplace(name.substr(0, slash), out.size());
    if (fresh) {
      out.push_back(json::object{{"resource", name.substr(0, slash)},
                                 {"responseKind", response_kind(json::value())},
                                 {"scope", scope_of(r)},
                                 {"singularResource", ""},
                                 {"verbs", json::array()}});
      parts.emplace_back();
    }
    parts[place->second].emplace_back(
        json::object{{"subresource", name.substr(slash + 1)},
                     {"responseKind", response_kind(r)},
                     {"verbs", r["verbs"].is_array() ? r["verbs"] : json::value(json::array())}});
  }
  json::array made;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (!parts[i].empty()) out[i].set("subresources", std::move(parts[i]));
    made.emplace_back(std::move(out[i]));
  }
  return made;
}

std::map<std::string, std::string> openapi_v3_part(const json::value& index, std::string_view group,
                                                   std::string_view version) {
  std::map<std::string, std::string> out;
  for (auto& path : {fmt::format("apis/{}", group), fmt::format("apis/{}/{}", group, version)})
    if (auto url = index["paths"][path]["serverRelativeURL"].as_string(); !url.empty()) out.emplace(path, url);
  return out;
}

void take_openapi_v2(service_documents& into, const json::value& swagger, std::string_view path) {
  const auto below = std::string(path) + "/";
  std::vector<std::string_view> wanted;
  if (auto* paths = swagger["paths"].object())
    for (auto& m : *paths)
      if (m.name.starts_with(below)) {
        auto item = m.value;
        put_parameters(item, swagger["parameters"]);
        find_references(m.value, wanted);
        into.v2_paths.set(m.name, std::move(item));
      }
  auto& definitions = swagger["definitions"];
  std::set<std::string_view> taken;
  while (!wanted.empty()) {
    auto name = wanted.back();
    wanted.pop_back();
    if (!taken.insert(name).second || !definitions[name].is_object()) continue;
    into.v2_definitions.set(name, definitions[name]);
    find_references(definitions[name], wanted);
  }
  std::string text;
  json::write(json::value(into.v2_paths), text);
  json::write(json::value(into.v2_definitions), text);
  into.v2_digest = sha256_hex(text);
}

std::vector<other_version> versions_of(const service_table& all, const documents& fetched) {
  std::vector<other_version> out;
  for (auto& s : all.all()) {
    auto known = fetched.find(s->name);
    const bool there = known != fetched.end();
    out.push_back({.group = s->group,
                   .version = s->version,
                   .group_priority = s->group_priority,
                   .version_priority = s->version_priority,
                   .resources = there ? known->second->resources : json::array(),
                   .fresh = there && known->second->fresh});
  }
  return out;
}

std::string with_openapi_v3(std::string index, const documents& fetched) {
  auto own = json::parse(index);
  if (!own || fetched.empty()) return index;
  std::map<std::string, json::value> all;
  for (auto& m : *(*own)["paths"].object()) all.emplace(m.name, m.value);
  for (auto& [name, d] : fetched)
    for (auto& [path, url] : d->openapi_v3) all.try_emplace(path, json::object{{"serverRelativeURL", url}});
  // Older servers have no such document: one is made of what they have.
  for (auto& [name, d] : fetched)
    if (auto path = path_of_swagger(*d); !path.empty())
      all.try_emplace(path,
                      json::object{{"serverRelativeURL", fmt::format("/openapi/v3/{}?hash={}", path, d->v2_digest)}});
  json::object paths;
  for (auto& [path, v] : all) paths.set(path, v);
  return json::write(json::object{{"paths", std::move(paths)}});
}

std::string openapi_v3_owner(const documents& fetched, std::string_view path) {
  for (auto& [name, d] : fetched)
    if (d->openapi_v3.contains(std::string(path))) return name;
  return {};
}

std::string with_openapi_v2(std::string own, const documents& fetched) {
  std::string paths, definitions;
  std::set<std::string_view> told_paths, told_definitions;
  for (auto& [name, d] : fetched) {
    append_members(paths, d->v2_paths, told_paths, own);
    append_members(definitions, d->v2_definitions, told_definitions, own);
  }
  // The document ends with its definitions; its paths come once, before them.
  constexpr std::string_view opening = "\"paths\":{";
  auto at = own.find(opening);
  if (at == own.npos || !own.ends_with("}}")) return own;
  own.insert(own.size() - 2, definitions);
  if (!paths.empty()) own.insert(at + opening.size(), paths.substr(1) + ",");
  return own;
}

std::string with_openapi_v2_protobuf(std::string own, const documents& fetched, std::string_view version) {
  // Messages that follow each other are merged by their reader: paths and definitions add up.
  schema::openapi_proto_writer out(json::object{{"title", "Kubernetes"}, {"version", version}});
  std::set<std::string_view> told;
  for (auto& [name, d] : fetched) {
    for (auto& m : d->v2_paths)
      if (own.find(named_field(m.name)) == own.npos && told.insert(m.name).second) out.path(m.name, m.value);
    for (auto& m : d->v2_definitions)
      if (own.find(named_field(m.name)) == own.npos && told.insert(m.name).second) out.definition(m.name, m.value);
  }
  return own + std::move(out).take();
}

std::string openapi_v2_mark(const documents& fetched) {
  std::string text;
  for (auto& [name, d] : fetched)
    if (!d->v2_paths.empty()) text += name + d->v2_digest;
  return text.empty() ? text : sha256_hex(text);
}

}  // namespace kedge::api::aggregation
