#include "api/registry.h"

#include <fmt/format.h>

#include "api/convert.h"

namespace kedge::api {

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

registry::registry() {
  for (auto& info : schema::all_resources()) {
    auto s = std::make_unique<served>();
    s->info = &info;
    s->group = info.group();
    s->version = info.version();
    s->api_version = info.api_version();
    s->resource = info.plural();
    s->kind = info.kind();
    s->rules = &rules_of(s->group, s->resource);
    s->key_prefix = schema::resource_key_prefix(info);
    s->list_head = fmt::format("{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{{\"resourceVersion\":\"", s->kind, s->api_version);
    s->has_status = info.has_subresource("status");
    s->is_virtual = !info.has_verb("get");
    s->stored = s.get();
    index_.emplace(fmt::format("{}/{}/{}", s->group, s->version, s->resource), s.get());
    all_.push_back(std::move(s));
  }
  for (auto& c : conversions()) {
    auto it = index_.find(fmt::format("{}/{}/{}", c.group, c.version, c.resource));
    auto stored = index_.find(fmt::format("{}/{}/{}", c.stored_group, c.stored_version, c.resource));
    if (it == index_.end() || stored == index_.end()) continue;
    auto s = const_cast<served*>(it->second);  // ours: all_ owns it
    s->stored = stored->second;
    s->rules = stored->second->rules;
    s->key_prefix = stored->second->key_prefix;
    s->to_stored = c.to_stored;
    s->from_stored = c.from_stored;
  }
}

const served* registry::find(std::string_view group, std::string_view version, std::string_view resource) const noexcept {
  char text[256];
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
  for (auto& s : all_)
    if (s->group == group && s->resource == resource && s->native()) return s.get();
  return nullptr;
}

const registry& builtin_registry() {
  static const registry one;
  return one;
}

std::string_view name_in(const json::value& object) noexcept { return object["metadata"]["name"].as_string(); }
std::string_view namespace_in(const json::value& object) noexcept { return object["metadata"]["namespace"].as_string(); }

}  // namespace kedge::api
