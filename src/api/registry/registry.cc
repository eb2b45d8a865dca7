#include "api/registry/registry.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/custom/codec.h"
#include "api/custom/definition.h"
#include "api/registry/convert.h"
#include "schema/decode.h"
#include "schema/defaults.h"

namespace kedge::api {
namespace {

bool has(const word_list& list, std::string_view word) noexcept {
  return std::find(list.begin(), list.end(), word) != list.end();
}

word_list words(const schema::string_list& list) {
  word_list out;
  out.reserve(list.size());
  for (auto w : list) out.push_back(w);
  return out;
}

std::unique_ptr<served> make_builtin(const schema::resource_info& info) {
  auto s = std::make_unique<served>();
  s->info = &info;
  s->group = info.group();
  s->version = info.version();
  s->api_version = info.api_version();
  s->resource = info.plural();
  s->kind = info.kind();
  s->rules = &rules_of(s->group, s->resource);
  s->key_prefix = schema::resource_key_prefix(info);
  s->list_kind = s->kind + "List";
  s->list_head = fmt::format("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{{\"resourceVersion\":\"",
                             s->list_kind, s->api_version);
  s->singular = info.singular();
  s->verbs = words(info.verbs());
  s->short_names = words(info.short_names());
  s->categories = words(info.categories());
  for (std::size_t i = 0; i < info.column_count(); ++i) s->columns.push_back(info.column(i));
  for (std::size_t i = 0; i < info.subresource_count(); ++i) {
    auto sub = info.subresource(i);
    s->subresources.push_back({sub.name, sub.group, sub.version, sub.kind, words(sub.verbs)});
  }
  s->is_namespaced = info.namespaced();
  s->has_status = info.has_subresource("status");
  s->is_virtual = !info.has_verb("get");
  s->stored = s.get();
  return s;
}

}  // namespace

bool served_subresource::has_verb(std::string_view verb) const noexcept { return has(verbs, verb); }
bool served::has_verb(std::string_view verb) const noexcept { return has(verbs, verb); }

const served_subresource* served::subresource(std::string_view name) const noexcept {
  for (auto& s : subresources)
    if (s.name == name) return &s;
  return nullptr;
}

const schema::type_info& served::type() const noexcept {
  static const auto& metadata_only = *schema::find_type("meta/v1.PartialObjectMetadata");
  return info ? *info->type() : metadata_only;
}

std::string served::key(std::string_view ns, std::string_view name) const {
  std::string out;
  out.reserve(key_prefix.size() + ns.size() + name.size() + 1);
  out += key_prefix;
  if (namespaced()) {
    out += ns;
    out += '/';
  }
  out += name;
  return out;
}

std::string served::prefix(std::string_view ns) const {
  if (ns.empty() || !namespaced()) return key_prefix;
  return fmt::format("{}{}/", key_prefix, ns);
}

std::shared_ptr<const custom::definition> pin(const served& s) {
  return s.custom ? s.custom->owner->shared_from_this() : nullptr;
}

registry::registry() {
  for (auto& info : schema::all_resources()) {
    auto s = make_builtin(info);
    index_.emplace(fmt::format("{}/{}/{}", s->group, s->version, s->resource), s.get());
    all_.push_back(s.get());
    own_.push_back(std::move(s));
  }
  for (auto& c : conversions()) {
    auto it = index_.find(fmt::format("{}/{}/{}", c.group, c.version, c.resource));
    auto stored = index_.find(fmt::format("{}/{}/{}", c.stored_group, c.stored_version, c.resource));
    if (it == index_.end() || stored == index_.end()) continue;
    auto s = const_cast<served*>(it->second);  // ours: own_ has it
    s->stored = stored->second;
    if (rules_of(s->group, s->resource).resource.empty()) s->rules = stored->second->rules;
    s->key_prefix = stored->second->key_prefix;
    s->to_stored = c.to_stored;
    s->from_stored = c.from_stored;
  }
}

registry::registry(const registry& builtin, std::vector<std::shared_ptr<const custom::definition>> definitions,
                   const std::vector<const served*>& more)
    : builtin_(&builtin), definitions_(std::move(definitions)), all_(builtin.all_) {
  for (auto* s : more)
    if (index_.emplace(fmt::format("{}/{}/{}", s->group, s->version, s->resource), s).second) all_.push_back(s);
  for (auto& d : definitions_)
    for (auto s : d->versions()) {
      if (builtin.find(s->group, s->version, s->resource)) continue;
      if (index_.emplace(fmt::format("{}/{}/{}", s->group, s->version, s->resource), s).second) all_.push_back(s);
    }
}

const served* registry::find(std::string_view group, std::string_view version,
                             std::string_view resource) const noexcept {
  if (builtin_)
    if (auto s = builtin_->find(group, version, resource)) return s;
  char text[512];  // a CRD's group and plural have at most 253 characters together, a version 63
  if (group.size() + version.size() + resource.size() + 2 > sizeof text) return nullptr;
  auto end = text;
  auto add = [&](std::string_view part) { end += part.copy(end, part.size()); };
  add(group);
  *end++ = '/';
  add(version);
  *end++ = '/';
  add(resource);
  auto it = index_.find(std::string_view(text, static_cast<std::size_t>(end - text)));
  return it == index_.end() ? nullptr : it->second;
}

const served* registry::find_any(std::string_view group, std::string_view resource) const noexcept {
  for (auto s : all_)
    if (s->group == group && s->resource == resource && s->native()) return s;
  return nullptr;
}

const served* registry::find_kind(std::string_view api_version, std::string_view kind) const noexcept {
  for (auto s : all_)
    if (s->kind == kind && s->api_version == api_version) return s;
  return nullptr;
}

const registry& builtin_registry() {
  static const registry one;
  return one;
}

std::string_view name_in(const json::value& object) noexcept { return object["metadata"]["name"].as_string(); }
std::string_view namespace_in(const json::value& object) noexcept {
  return object["metadata"]["namespace"].as_string();
}

void normalise(const served& s, json::value& object) {
  if (s.custom)
    custom::canonicalise(s, object);
  else
    schema::normalise(s.type(), object);
}

void apply_defaults(const served& s, json::value& object, bool keep_nulls) {
  if (s.custom)
    s.custom->schema.apply_defaults(object, keep_nulls);
  else
    schema::apply_defaults(s.type(), object);
}

}  // namespace kedge::api
