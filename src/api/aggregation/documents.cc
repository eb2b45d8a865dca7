#include "api/aggregation/documents.h"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <algorithm>
#include <set>
#include <unordered_set>

#include "api/aggregation/limits.h"
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
class parameters {
 public:
  explicit parameters(const json::value& named) : named_(named) {}

  // False: they are more than a whole document may be.
  bool put_into(json::value& v) {
    if (auto* list = v.array()) return std::ranges::all_of(*list, [&](auto& one) { return put_in_place_of(one); });
    if (auto* members = v.object()) return std::ranges::all_of(*members, [&](auto& m) { return put_into(m.value); });
    return true;
  }

 private:
  bool put_in_place_of(json::value& one) {
    constexpr std::string_view prefix = "#/parameters/";
    auto reference = one["$ref"].as_string();
    if (!reference.starts_with(prefix)) return put_into(one);
    auto name = reference.substr(prefix.size());
    auto& meant = named_[name];
    if (!meant.is_object()) return put_into(one);
    auto [known, fresh] = sizes_.try_emplace(std::string(name), 0);
    if (fresh) known->second = json::write(meant).size();
    if (known->second > room_) return false;
    room_ -= known->second;
    one = meant;
    return true;
  }

  const json::value& named_;
  std::map<std::string, std::size_t> sizes_;
  std::size_t room_ = openapi_max_bytes;
};

std::string sha256_hex(std::string_view text) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  return hex({reinterpret_cast<const std::byte*>(digest), sizeof digest});
}

using names = std::unordered_set<std::string_view>;

// Of all members of a JSON text that are objects, as they are written.
names object_members(std::string_view text) {
  constexpr std::string_view mark = "\":{";
  names out;
  for (auto at = text.find(mark); at != text.npos; at = text.find(mark, at + mark.size()))
    if (auto begin = text.rfind('"', at - 1); at > 0 && begin != text.npos)
      out.insert(text.substr(begin + 1, at - begin - 1));
  return out;
}

// Of all messages in a protobuf text: their first field. Names longer than this are nobody's.
names first_fields(std::string_view text) {
  constexpr std::size_t longest = (1u << 14) - 1;  // of a length in two bytes
  names out;
  for (auto at = text.find('\x0a'); at != text.npos && at + 2 < text.size(); at = text.find('\x0a', at + 1)) {
    std::size_t length = static_cast<unsigned char>(text[at + 1]), begin = at + 2;
    if (length > 0x7f) length = (length & 0x7f) | (static_cast<std::size_t>(text[begin++]) & 0x7f) << 7;
    if (length <= longest && length <= text.size() - begin) out.insert(text.substr(begin, length));
  }
  return out;
}

// Appends `,"name":value` of what isn't there yet.
void append_members(std::string& out, const json::object& members, names& there) {
  for (auto& m : members) {
    if (!there.insert(m.name).second) continue;
    std::string name;
    json::write_string(m.name, name);
    out += ',' + name + ':';
    json::write(m.value, out);
  }
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

bool cut_resources(json::array& all) {
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    bytes += json::write(all[i]).size();
    if (bytes <= resources_max_bytes) continue;
    all.resize(i);
    return false;
  }
  return true;
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
  parameters named(swagger["parameters"]);
  find_references(swagger["parameters"], wanted);
  if (auto* paths = swagger["paths"].object())
    for (auto& m : *paths)
      if (m.name.starts_with(below)) {
        auto item = m.value;
        if (!named.put_into(item)) {
          into.v2_paths.clear();
          return;
        }
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
  if (std::ranges::all_of(fetched, [](auto& f) { return f.second->v2_paths.empty(); })) return own;
  std::string paths, definitions;
  auto told = object_members(own);
  for (auto& [name, d] : fetched) {
    append_members(paths, d->v2_paths, told);
    append_members(definitions, d->v2_definitions, told);
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
  if (std::ranges::all_of(fetched, [](auto& f) { return f.second->v2_paths.empty(); })) return own;
  // Messages that follow each other are merged by their reader: paths and definitions add up.
  schema::openapi_proto_writer out(json::object{{"title", "Kubernetes"}, {"version", version}});
  auto told = first_fields(own);
  for (auto& [name, d] : fetched) {
    for (auto& m : d->v2_paths)
      if (told.insert(m.name).second) out.path(m.name, m.value);
    for (auto& m : d->v2_definitions)
      if (told.insert(m.name).second) out.definition(m.name, m.value);
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
