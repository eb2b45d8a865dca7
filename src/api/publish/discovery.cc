#include "api/publish/discovery.h"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "api/custom/definition.h"
#include "api/usage/usage.h"
#include "base/stable_sort.h"
#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "schema/bootstrap.h"

namespace kedge::api {
namespace {

std::string group_version(std::string_view group, std::string_view version) {
  return group.empty() ? std::string(version) : fmt::format("{}/{}", group, version);
}

// Tells clients when a resource's objects are kept in another version: the beginning of a digest of that.
std::string stored_version_hash(const served& s) {
  const auto& kept = *s.stored;
  auto version = kept.info ? kept.info->stored_version() : std::string_view(kept.version);
  auto text = fmt::format("{}/{}/{}", kept.group, version, kept.kind);
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  return base64({reinterpret_cast<const std::byte*>(digest), 8});
}

struct priority {
  std::string group, version;
  std::int64_t group_priority, version_priority;
};

// Has no object of its own in that list: what keeps the list stands before all of it.
constexpr std::string_view aggregation_group = "apiregistration.k8s.io";
constexpr std::int64_t aggregation_priority = 20000;
// Custom resources', whose APIServices come after them.
constexpr std::int64_t custom_group_priority = 1000, custom_version_priority = 100;

// The order of groups and versions is the APIService objects'.
std::vector<priority> priorities() {
  std::vector<priority> out;
  auto list = json::parse(schema::bootstrap_json("apiservices"));
  if (!list || !list->array()) return out;
  for (auto& o : *list->array()) {
    auto& spec = o["spec"];
    out.push_back({std::string(spec["group"].as_string()), std::string(spec["version"].as_string()),
                   spec["groupPriorityMinimum"].as_integer(), spec["versionPriority"].as_integer()});
  }
  out.push_back({std::string(usage_group), std::string(usage_version), usage_group_priority, usage_version_priority});
  return out;
}

std::vector<api_group> ordered_groups(const registry& r, const std::vector<other_version>& others) {
  auto known = priorities();
  std::erase_if(known, [&](auto& p) {
    return std::ranges::any_of(others, [&](auto& o) { return o.group == p.group && o.version == p.version; });
  });
  for (auto& o : others) known.push_back({o.group, o.version, o.group_priority, o.version_priority});
  struct entry {
    api_group g;
    std::int64_t weight;
  };
  std::vector<entry> found;
  auto weight_of = [&](const std::string& group, const std::string& version, bool of_group) {
    std::int64_t best = 0;
    if (of_group && group == aggregation_group) return aggregation_priority;
    for (auto& p : known)
      if (p.group == group && (of_group || p.version == version))
        best = std::max(best, of_group ? p.group_priority : p.version_priority);
    if (best == 0) return of_group ? custom_group_priority : custom_version_priority;
    return best;
  };
  std::unordered_map<std::string_view, std::size_t> places;
  std::set<std::pair<std::string_view, std::string_view>> told;
  auto tell = [&](const std::string& group, const std::string& version) {
    auto [at, fresh] = places.try_emplace(group, found.size());
    if (fresh) found.push_back({{group, {}}, weight_of(group, "", true)});
    if (told.emplace(group, version).second) found[at->second].g.versions.push_back(version);
  };
  for (auto& s : r.all()) tell(s->group, s->version);
  for (auto& o : others) tell(o.group, o.version);
  stable_sort_short(found,
                    [](auto& a, auto& b) { return a.weight != b.weight ? a.weight > b.weight : a.g.name < b.g.name; });
  std::vector<api_group> out;
  for (auto& e : found) {
    stable_sort_short(e.g.versions, [&](auto& a, auto& b) {
      auto pa = weight_of(e.g.name, a, false), pb = weight_of(e.g.name, b, false);
      return pa != pb ? pa > pb : custom::version_before(a, b);
    });
    out.push_back(std::move(e.g));
  }
  return out;
}

json::array texts(const word_list& list, bool sorted = false) {
  std::vector<std::string> all;
  for (auto t : list) all.emplace_back(t);
  if (sorted) std::sort(all.begin(), all.end());
  json::array out;
  for (auto& t : all) out.emplace_back(std::move(t));
  return out;
}

void add_owner(json::object& o, std::string_view group, std::string_view version, const served& s) {
  if (group == s.group && version == s.version) return;
  if (!group.empty()) o.set("group", group);
  o.set("version", version);
}

json::value resource_entry(const served& s) {
  json::object o{{"name", s.resource},
                 {"singularName", s.singular},
                 {"namespaced", s.namespaced()},
                 {"kind", s.kind},
                 {"verbs", texts(s.verbs, !s.custom)}};
  if (!s.short_names.empty()) o.set("shortNames", texts(s.short_names));
  if (!s.categories.empty()) o.set("categories", texts(s.categories));
  if (s.has_verb("list") && s.has_verb("watch")) o.set("storageVersionHash", stored_version_hash(s));
  return o;
}

json::value subresource_entry(const served& s, const served_subresource& sub) {
  json::object o{
      {"name", fmt::format("{}/{}", s.resource, sub.name)}, {"singularName", ""}, {"namespaced", s.namespaced()}};
  add_owner(o, sub.group, sub.version, s);
  o.set("kind", sub.kind);
  o.set("verbs", texts(sub.verbs, true));
  return o;
}

json::value response_kind(const served& s, std::string_view group, std::string_view version, std::string_view kind) {
  const bool same = group == s.group && version == s.version;
  return json::object{{"group", same ? "" : group}, {"version", same ? "" : version}, {"kind", kind}};
}

json::value aggregated_entry(const served& s) {
  json::object o{{"resource", s.resource},
                 {"responseKind", response_kind(s, s.group, s.version, s.kind)},
                 {"scope", s.namespaced() ? "Namespaced" : "Cluster"},
                 {"singularResource", s.singular},
                 {"verbs", texts(s.verbs, !s.custom)}};
  if (!s.short_names.empty()) o.set("shortNames", texts(s.short_names));
  if (!s.categories.empty()) o.set("categories", texts(s.categories));
  json::array subs;
  for (auto& sub : s.subresources) {
    subs.emplace_back(json::object{{"subresource", sub.name},
                                   {"responseKind", response_kind(s, sub.group, sub.version, sub.kind)},
                                   {"verbs", texts(sub.verbs, true)}});
  }
  if (!subs.empty()) o.set("subresources", std::move(subs));
  return o;
}

std::string etag_of(const json::value& v) {
  auto text = json::write(v);
  unsigned char digest[SHA512_DIGEST_LENGTH];
  SHA512(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  auto out = hex({reinterpret_cast<const std::byte*>(digest), sizeof digest});
  for (auto& c : out)
    if (c >= 'a') c = static_cast<char>(c - 'a' + 'A');
  return "\"" + out + "\"";
}

}  // namespace

discovery::discovery(std::shared_ptr<const registry> r, std::vector<other_version> others)
    : registry_(std::move(r)), others_(std::move(others)), groups_(ordered_groups(*registry_, others_)) {
  core_ = aggregate(true);
  named_ = aggregate(false);
  core_etag_ = etag_of(core_);
  named_etag_ = etag_of(named_);
}

json::value discovery::api_versions(std::string_view server_address) const {
  return json::object{{"kind", "APIVersions"},
                      {"versions", json::array{json::value("v1")}},
                      {"serverAddressByClientCIDRs",
                       json::array{json::object{{"clientCIDR", "0.0.0.0/0"}, {"serverAddress", server_address}}}}};
}

json::value discovery::group_value(const api_group& g, bool with_type) const {
  json::object o;
  if (with_type) {
    o.set("kind", "APIGroup");
    o.set("apiVersion", "v1");
  }
  o.set("name", g.name);
  json::array versions;
  for (auto& v : g.versions)
    versions.emplace_back(json::object{{"groupVersion", group_version(g.name, v)}, {"version", v}});
  auto preferred = versions.front();
  o.set("versions", std::move(versions));
  o.set("preferredVersion", std::move(preferred));
  return o;
}

json::value discovery::group_list() const {
  json::array groups;
  for (auto& g : groups_)
    if (!g.name.empty()) groups.push_back(group_value(g, false));
  return json::object{{"kind", "APIGroupList"}, {"apiVersion", "v1"}, {"groups", std::move(groups)}};
}

std::optional<json::value> discovery::group(std::string_view name) const {
  for (auto& g : groups_)
    if (g.name == name && !name.empty()) return group_value(g, true);
  return std::nullopt;
}

bool discovery::has_version(std::string_view group, std::string_view version) const noexcept {
  for (auto& g : groups_)
    if (g.name == group) return std::find(g.versions.begin(), g.versions.end(), version) != g.versions.end();
  return false;
}

std::optional<json::value> discovery::resources(std::string_view group, std::string_view version) const {
  if (!has_version(group, version)) return std::nullopt;
  json::array list;
  for (auto& s : registry_->all()) {
    if (s->group != group || s->version != version) continue;
    list.push_back(resource_entry(*s));
    for (auto& sub : s->subresources) list.push_back(subresource_entry(*s, sub));
  }
  json::object out{{"kind", "APIResourceList"}};
  if (!group.empty()) out.set("apiVersion", "v1");
  out.set("groupVersion", group_version(group, version));
  out.set("resources", std::move(list));
  return out;
}

const other_version* discovery::other(std::string_view group, std::string_view version) const noexcept {
  for (auto& o : others_)
    if (o.group == group && o.version == version) return &o;
  return nullptr;
}

json::value discovery::aggregate(bool core) const {
  json::array items;
  for (auto& g : groups_) {
    if (g.name.empty() != core) continue;
    json::array versions;
    for (auto& v : g.versions) {
      if (auto* o = other(g.name, v)) {
        json::object told{{"version", v}};
        if (!o->resources.empty()) told.set("resources", o->resources);
        told.set("freshness", o->fresh ? "Current" : "Stale");
        versions.emplace_back(std::move(told));
        continue;
      }
      json::array list;
      for (auto& s : registry_->all())
        if (s->group == g.name && s->version == v) list.push_back(aggregated_entry(*s));
      versions.emplace_back(json::object{{"version", v}, {"resources", std::move(list)}, {"freshness", "Current"}});
    }
    json::object meta;
    if (!g.name.empty()) meta.set("name", g.name);
    items.emplace_back(json::object{{"metadata", std::move(meta)}, {"versions", std::move(versions)}});
  }
  return json::object{{"kind", "APIGroupDiscoveryList"},
                      {"apiVersion", "apidiscovery.k8s.io/v2"},
                      {"metadata", json::object{}},
                      {"items", std::move(items)}};
}

}  // namespace kedge::api
