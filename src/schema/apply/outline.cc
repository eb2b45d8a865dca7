#include "schema/apply/outline.h"

#include <algorithm>

namespace kedge::schema::apply {
namespace {

outline leaf(base_type base) {
  outline o;
  o.base = base;
  return o;
}

outline deduced() {
  outline o;
  o.kind = outline::form::deduced;
  return o;
}

outline level(const json::value& props);

void read_object(const json::value& props, outline& o) {
  const bool keeps = props["x-kubernetes-preserve-unknown-fields"].as_bool();
  if (props["x-kubernetes-map-type"].as_string() == "atomic") return;
  auto& more = props["additionalProperties"];
  auto properties = props["properties"].object();
  if (more.is_object() || more.as_bool()) {
    o.kind = outline::form::map;
    o.element = std::make_unique<outline>(more.is_object() ? level(more) : deduced());
    return;
  }
  if (keeps && (!properties || properties->empty())) {
    o.kind = outline::form::deduced;
    return;
  }
  o.kind = outline::form::structure;
  o.open = keeps || props["x-kubernetes-embedded-resource"].as_bool();
  if (properties)
    for (auto& m : *properties) o.members.emplace_back(m.name, level(m.value));
  std::ranges::sort(o.members, {}, [](auto& m) -> const std::string& { return m.first; });
}

void read_list(const json::value& props, outline& o) {
  auto list = props["x-kubernetes-list-type"].as_string();
  o.is_list = true;
  if (list != "map" && list != "set") return;
  o.kind = list == "map" ? outline::form::keyed_list : outline::form::set_list;
  o.element = std::make_unique<outline>(level(props["items"]));
  auto& keys = props["x-kubernetes-list-map-keys"];
  for (std::size_t i = 0; i < keys.size(); ++i) {
    auto name = std::string(keys[i].as_string());
    o.keys.emplace_back(name, props["items"]["properties"][name]["default"]);
  }
  std::ranges::sort(o.keys, {}, [](auto& k) -> const std::string& { return k.first; });
}

outline level(const json::value& props) {
  outline o;
  auto type = props["type"].as_string();
  if (type == "object")
    read_object(props, o);
  else if (type == "array")
    read_list(props, o);
  else if (props["x-kubernetes-int-or-string"].as_bool())
    return leaf(base_type::any_json);
  else if (type == "string")
    return leaf(base_type::string);
  else if (type == "boolean")
    return leaf(base_type::boolean);
  else if (type == "integer" || type == "number")
    return leaf(base_type::float64);
  else
    return deduced();
  return o;
}

}  // namespace

// Here, where members of its own type are complete.
outline::outline() = default;
outline::outline(outline&&) noexcept = default;
outline& outline::operator=(outline&&) noexcept = default;
outline::~outline() = default;

const outline* outline::find(std::string_view name) const noexcept {
  auto it = std::ranges::lower_bound(members, name, {}, [](auto& m) { return std::string_view(m.first); });
  return it != members.end() && it->first == name ? &it->second : nullptr;
}

outline outline_of(const json::value& schema) {
  outline root;
  root.kind = outline::form::structure;
  if (schema.is_object()) {
    read_object(schema, root);
    if (root.kind != outline::form::structure) {  // a root is always one
      root.kind = outline::form::structure;
      root.open = true;
    }
  } else {
    root.open = true;
  }
  std::erase_if(root.members,
                [](auto& m) { return m.first == "apiVersion" || m.first == "kind" || m.first == "metadata"; });
  outline metadata;
  metadata.kind = outline::form::builtin;
  metadata.type = find_type("meta/v1.ObjectMeta");
  root.members.emplace_back("apiVersion", leaf(base_type::string));
  root.members.emplace_back("kind", leaf(base_type::string));
  root.members.emplace_back("metadata", std::move(metadata));
  std::ranges::sort(root.members, {}, [](auto& m) -> const std::string& { return m.first; });
  return root;
}

}  // namespace kedge::schema::apply
