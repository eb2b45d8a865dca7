#include "api/admission/policy/changes.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/custom/definition.h"
#include "base/strings.h"
#include "json/parse.h"
#include "json/patch.h"
#include "schema/apply/structure.h"
#include "schema/decode.h"
#include "schema/defaults.h"

namespace kedge::api::policy {
namespace {

// The built-in type of what is changed; null for a custom resource.
const schema::type_info* type_of(const served& s, std::string_view subresource) {
  auto k = kind_of(s, subresource);
  if (s.custom && k.kind == s.kind) return nullptr;
  return k.kind == s.kind ? &s.type() : schema::find_kind(k.api_version(), k.kind);
}

// As kube-apiserver leaves an object after each mutation.
void settle(const served& s, const schema::type_info* type, json::value& object) {
  if (!type) {
    if (s.custom->has_schema) s.custom->schema.prune(object, nullptr);
    return s.custom->schema.apply_defaults(object);
  }
  schema::apply_defaults(*type, object);
  schema::normalise(*type, object);
}

// The item of an associative list that these keys name: its number.
std::size_t position(const json::value& list, const json::value& keys) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    bool same = true;
    for (auto& k : *keys.object())
      if (auto v = list[i].find(k.name)) same = same && *v == k.value;
    if (same) return i;
  }
  return list.size();
}

// ".spec.containers[0].args", and the value there.
std::pair<std::string, const json::value*> spelled(const json::value& config, const schema::apply::field_path& path) {
  std::string text;
  auto at = &config;
  for (auto& step : path) {
    auto rest = std::string_view(step).substr(2);
    if (step.starts_with("f:")) {
      text += fmt::format(".{}", rest);
      at = &(*at)[rest];
    } else if (step.starts_with("k:")) {
      auto keys = json::parse(rest);
      auto i = keys && keys->is_object() ? position(*at, *keys) : at->size();
      text += fmt::format("[{}]", i);
      at = &(*at)[i];
    } else {
      return {text, nullptr};  // an item of a set: no list, no map
    }
  }
  return {text, at};
}

// The paths at which fields end with something in it are those of atomic values.
std::vector<std::string> atomics_in(const schema::apply::field_set& fields, const json::value& config) {
  std::vector<std::string> out;
  fields.for_each([&](const schema::apply::field_path& path) {
    auto below = &fields;
    for (auto& step : path) below = &below->children.find(step)->second;
    auto [text, v] = spelled(config, path);
    if (v && below->children.empty() && (v->is_array() || v->is_object()) && !v->empty()) out.push_back(text);
  });
  return out;
}

}  // namespace

std::expected<json::value, unchanged> apply_configuration(const served& s, std::string_view subresource,
                                                          const json::value& live, json::value config) {
  auto type = type_of(s, subresource);
  schema::apply::topology shape;
  if (type)
    shape = *type;
  else if (s.custom)
    shape = *s.custom->outline;
  else
    return std::unexpected(unchanged{"type converter must not be nil"});
  for (auto name : {"apiVersion", "kind"}) config.set(name, live[name]);
  auto fields = schema::apply::fields_of(shape, config);
  if (!fields)
    return std::unexpected(unchanged{fmt::format(
        "error applying patch: failed to convert patch object to typed object: {}", fields.error().message)});
  if (auto atomics = atomics_in(*fields, config); !atomics.empty())
    return std::unexpected(unchanged{fmt::format(
        "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
        join(atomics, ", "))});
  auto out = schema::apply::merge(shape, live, config);
  settle(s, type, out);
  return out;
}

std::expected<json::value, unchanged> apply_patch(const served& s, std::string_view subresource,
                                                  const json::value& live, const json::value& patch) {
  auto changed = json::apply_json_patch(live, patch);
  if (!changed) {
    if (changed.error().message.starts_with("testing value")) return live;
    return std::unexpected(unchanged{"JSON Patch: " + changed.error().message});
  }
  auto type = type_of(s, subresource);
  if (type) {
    schema::unknown_list unknown;
    std::string wrong;
    if (auto ok = schema::decode(*type, *changed, &unknown); !ok)
      wrong = ok.error().message;
    else if (!unknown.empty())
      wrong = fmt::format("strict decoding error: unknown field {}", quote(unknown[0]));
    if (!wrong.empty()) return std::unexpected(unchanged{{}, internal_error(wrong)});
  }
  settle(s, type, *changed);
  return *std::move(changed);
}

}  // namespace kedge::api::policy
