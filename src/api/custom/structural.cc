#include "api/custom/structural.h"

#include <algorithm>
#include <functional>
#include <unordered_set>

#include "api/custom/value_rules.h"
#include "schema/decode.h"
#include "schema/limits.h"

namespace kedge::api::custom {

node::node() = default;
node::node(node&&) noexcept = default;
node& node::operator=(node&&) noexcept = default;
node::~node() = default;

const node* node::find(std::string_view property) const noexcept {
  auto it = std::lower_bound(properties.begin(), properties.end(), property,
                             [](auto& p, std::string_view name) { return p.first < name; });
  return it != properties.end() && it->first == property ? &it->second : nullptr;
}

namespace {

value_kind kind_of(const json::value& props) {
  if (props["x-kubernetes-int-or-string"].as_bool()) return value_kind::int_or_string;
  auto type = props["type"].as_string();
  if (type == "object") return value_kind::object;
  if (type == "array") return value_kind::array;
  if (type == "string") return value_kind::string;
  if (type == "integer") return value_kind::integer;
  if (type == "number") return value_kind::number;
  if (type == "boolean") return value_kind::boolean;
  return value_kind::any;
}

std::vector<std::string> strings(const json::value& list) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < list.size(); ++i) out.emplace_back(list[i].as_string());
  return out;
}

std::optional<double> number(const json::value& v) {
  return v.is_number() ? std::optional(v.as_number()) : std::nullopt;
}
std::optional<std::int64_t> integer(const json::value& v) {
  if (v.is_integer()) return v.as_integer();
  return v.is_number() ? std::optional(static_cast<std::int64_t>(v.as_number())) : std::nullopt;
}

node compile_node(const json::value& props);

std::unique_ptr<value_rules> compile_rules(const json::value& props) {
  value_rules r;
  if (auto& list = props["enum"]; list.is_array() && !list.empty()) r.allowed = list;
  r.format = props["format"].as_string();
  r.pattern = props["pattern"].as_string();
  r.minimum = number(props["minimum"]);
  r.maximum = number(props["maximum"]);
  r.multiple_of = number(props["multipleOf"]);
  r.exclusive_minimum = props["exclusiveMinimum"].as_bool();
  r.exclusive_maximum = props["exclusiveMaximum"].as_bool();
  r.unique_items = props["uniqueItems"].as_bool();
  r.min_length = integer(props["minLength"]);
  r.max_length = integer(props["maxLength"]);
  r.min_items = integer(props["minItems"]);
  r.max_items = integer(props["maxItems"]);
  r.min_properties = integer(props["minProperties"]);
  r.max_properties = integer(props["maxProperties"]);
  auto branches = [&](const char* name, std::vector<node>& into) {
    for (std::size_t i = 0; i < props[name].size(); ++i) into.push_back(compile_node(props[name][i]));
  };
  branches("allOf", r.all_of);
  branches("anyOf", r.any_of);
  branches("oneOf", r.one_of);
  if (props["not"].is_object()) r.none_of = std::make_unique<node>(compile_node(props["not"]));
  const bool any = !r.allowed.empty() || !r.format.empty() || !r.pattern.empty() || r.minimum || r.maximum ||
                   r.multiple_of || r.unique_items || r.min_length || r.max_length || r.min_items || r.max_items ||
                   r.min_properties || r.max_properties || !r.all_of.empty() || !r.any_of.empty() ||
                   !r.one_of.empty() || r.none_of;
  if (!any) return nullptr;
  auto kept = std::make_unique<value_rules>(std::move(r));
  if (!kept->allowed.empty()) kept->is_allowed = std::make_unique<json::value_set>(kept->allowed);
  return kept;
}

void take_traits(node& n, const node& child) { n.has_defaults |= child.has_defaults; }

node compile_node(const json::value& props) {
  node n;
  n.kind = kind_of(props);
  n.nullable = props["nullable"].as_bool();
  n.keeps_unknown = props["x-kubernetes-preserve-unknown-fields"].as_bool();
  n.embedded = props["x-kubernetes-embedded-resource"].as_bool();
  n.required = strings(props["required"]);
  auto list = props["x-kubernetes-list-type"].as_string();
  n.list = list == "set" ? list_kind::set : list == "map" ? list_kind::map : list_kind::atomic;
  n.list_keys = strings(props["x-kubernetes-list-map-keys"]);
  if (auto value = props.find("default"); value && !value->is_null()) {
    n.default_value = std::make_unique<json::value>(*value);
    n.has_defaults = true;
  }
  if (auto members = props["properties"].object())
    for (auto& m : *members) {
      n.properties.emplace_back(m.name, compile_node(m.value));
      take_traits(n, n.properties.back().second);
    }
  std::sort(n.properties.begin(), n.properties.end(), [](auto& a, auto& b) { return a.first < b.first; });
  if (props["items"].is_object()) {
    n.items = std::make_unique<node>(compile_node(props["items"]));
    take_traits(n, *n.items);
  }
  auto& more = props["additionalProperties"];
  if (more.is_object()) {
    n.additional = std::make_unique<node>(compile_node(more));
    take_traits(n, *n.additional);
  }
  n.additional_any = more.as_bool();
  n.rules = compile_rules(props);
  return n;
}

bool is_object_meta(std::string_view name) { return name == "apiVersion" || name == "kind" || name == "metadata"; }

class pruner {
 public:
  explicit pruner(std::vector<std::string>* unknown) : unknown_(unknown) {}

  void object(json::value& v, const node* n, const place* path, bool whole, bool keep) {
    auto members = v.object();
    std::vector<bool> gone(members->size());
    bool any_gone = false;
    std::size_t i = 0;
    const bool keeps = keep || (n && n->keeps_unknown);
    for (auto& m : *members) {
      const auto number = i++;
      if (whole && is_object_meta(m.name)) {
        // The object's own metadata is decoded by whoever read it.
        if (m.name == "metadata" && path) metadata(m.value, *path);
        continue;
      }
      const auto at = path ? place(*path, m.name) : place(m.name);
      if (auto p = n ? n->find(m.name) : nullptr)
        value(m.value, p, at, false);
      else if (n && n->additional)
        value(m.value, n->additional.get(), at, false);
      else if (n && n->additional_any)
        continue;
      else if (!keeps) {
        gone[number] = any_gone = true;
        tell(at);
      }
    }
    i = 0;
    if (any_gone) members->erase_if([&](auto&) { return gone[i++]; });
  }

 private:
  // An embedded object's: what is no metadata goes; what is mistyped is left for the validation.
  void metadata(json::value& v, const place& path) {
    static const auto& type = *schema::find_type("meta/v1.PartialObjectMetadata");
    json::value shell = json::object{{"metadata", v}};
    schema::unknown_list found;
    if (!v.is_object() || !schema::decode(type, shell, &found)) return;
    v = shell["metadata"];
    if (unknown_)
      for (auto& u : found) tell(place(path, u));
  }

  void tell(const place& field) {
    if (!unknown_ || unknown_->size() >= schema::unknown_fields_max) return;
    unknown_->push_back(field.text());
  }

  void value(json::value& v, const node* n, const place& path, bool keep) {
    if (v.is_object()) {
      object(v, n, &path, n && n->embedded, keep);
    } else if (auto list = v.array()) {
      if (!n || !n->items) return;
      for (std::size_t i = 0; i < list->size(); ++i) value((*list)[i], n->items.get(), place(path, i), keep);
    }
  }

  std::vector<std::string>* unknown_;
};

bool refused_null(const json::value& v, const node* n) { return v.is_null() && n && !n->nullable; }

void default_tree(json::value& v, const node& n) {
  if (!n.has_defaults) return;
  if (auto members = v.object()) {
    for (auto& [name, p] : n.properties) {
      if (!p.default_value) continue;
      auto found = members->find(name);
      if (!found || refused_null(*found, &p)) members->set(name, *p.default_value);
    }
    for (auto& m : *members) {
      auto p = n.find(m.name);
      if (!p) p = n.additional.get();
      if (!p) continue;
      if (refused_null(m.value, p) && p->default_value) m.value = *p->default_value;
      default_tree(m.value, *p);
    }
  } else if (auto list = v.array(); list && n.items) {
    for (auto& e : *list) {
      if (refused_null(e, n.items.get()) && n.items->default_value) e = *n.items->default_value;
      default_tree(e, *n.items);
    }
  }
}

// Nulls that may not be, and have no default, are taken as absent.
void drop_nulls(json::value& v, const node& n) {
  if (auto members = v.object()) {
    members->erase_if([&](json::member& m) {
      auto p = n.find(m.name);
      if (!p) p = n.additional.get();
      if (!p) return false;
      if (refused_null(m.value, p)) return true;
      drop_nulls(m.value, *p);
      return false;
    });
  } else if (auto list = v.array(); list && n.items) {
    for (auto& e : *list) drop_nulls(e, *n.items);
  }
}

}  // namespace

structural structural::compile(const json::value& props) {
  structural s;
  s.root_ = compile_node(props);
  return s;
}

void structural::prune(json::value& object, std::vector<std::string>* unknown) const {
  if (!object.is_object()) return;
  pruner(unknown).object(object, &root_, nullptr, true, false);
  if (unknown) std::sort(unknown->begin(), unknown->end());
}

void structural::apply_defaults(json::value& object, bool keep_nulls) const {
  default_tree(object, root_);
  if (!keep_nulls) drop_nulls(object, root_);
}

void structural::validate(causes& out, const json::value& object, const json::value* before) const {
  check_tree(out, root_, object, before, "", true);
}

}  // namespace kedge::api::custom
