#include "schema/apply/structure.h"

#include <algorithm>
#include <set>

#include "json/parse.h"
#include "json/write.h"
#include "schema/limits.h"

namespace kedge::schema::apply {
namespace {

enum class form : unsigned char { leaf, structure, map, keyed_list, set_list };

// What stands at a path: its form, and of what its members are.
struct place {
  apply::form form = form::leaf;
  const type_info* type = nullptr;    // of a structure; of a keyed list's items
  const field_info* field = nullptr;  // the field whose elements a map or list holds
};

place place_of_type(const type_info& t) {
  return {t.base() != base_type::structure || t.map_type() == map_type::atomic ? form::leaf : form::structure, &t, nullptr};
}

place place_of_element(const field_info& f) {
  if (f.shape() == shape::map_of_arrays || f.base() != base_type::structure) return {};
  return place_of_type(*f.type());
}

place place_of_list(const field_info& f) {
  const bool structs = f.base() == base_type::structure;
  if (f.list_type() == list_type::map && structs) return {form::keyed_list, f.type(), &f};
  if (f.list_type() == list_type::set) return {form::set_list, nullptr, &f};
  // Without a list type the strategic merge's keys say it.
  if (f.list_type() == list_type::unset && f.patch_merge()) {
    if (structs && !f.patch_merge_key().empty()) return {form::keyed_list, f.type(), &f};
    if (!structs) return {form::set_list, nullptr, &f};
  }
  return {};
}

place place_of_field(const field_info& f) {
  switch (f.shape()) {
    case shape::array: return place_of_list(f);
    case shape::map:
    case shape::map_of_arrays: return {f.map_type() == map_type::atomic ? form::leaf : form::map, nullptr, &f};
    case shape::single: break;
  }
  return f.map_type() == map_type::atomic ? place{} : place_of_element(f);
}

// Of a member of a structure or map; `known` is false for a field that the structure has not.
place place_of_member(const place& p, std::string_view name, bool& known) {
  known = true;
  if (p.form == form::map) return place_of_element(*p.field);
  auto f = p.type->find(name);
  known = f != nullptr;
  return f ? place_of_field(*f) : place{};
}

place place_of_item(const place& p) { return p.form == form::keyed_list ? place_of_type(*p.type) : place{}; }

// `k:{"containerPort":80,"protocol":"TCP"}`; empty when the item has none of its keys.
std::string item_element(const place& p, const json::value& item) {
  if (p.form == form::set_list) return "v:" + json::write(item);
  std::vector<std::string_view> names;
  for (auto k : p.field->list_map_keys()) names.push_back(k);
  if (names.empty()) names.push_back(p.field->patch_merge_key());
  std::ranges::sort(names);
  json::object keys;
  for (auto name : names) {
    auto v = item.find(name);
    if (v && !v->is_null()) {
      keys.set(name, *v);
      continue;
    }
    auto f = p.type->find(name);
    if (!f || f->default_json().empty()) continue;
    if (auto standard = json::parse(f->default_json())) keys.set(name, *std::move(standard));
  }
  if (keys.empty()) return {};
  return "k:" + json::write(std::move(keys));
}

std::string member_element(std::string_view name) { return "f:" + std::string(name); }

std::string_view what_it_is(const json::value& v) {
  return v.is_array() ? "list" : v.is_object() ? "map" : v.is_string() ? "string" : v.is_bool() ? "boolean" : "number";
}

class collector {
 public:
  error why;

  bool collect(const place& p, const json::value& v, field_set& node) {
    if (p.form == form::leaf || v.is_null()) {
      node.member = true;
      return true;
    }
    if (p.form == form::keyed_list || p.form == form::set_list) return items(p, v, node);
    auto o = v.object();
    if (!o) return wrong("expected map, got " + std::string(what_it_is(v)));
    for (auto& m : *o) {
      bool known;
      auto inner = place_of_member(p, m.name, known);
      path_.push_back(member_element(m.name));
      if (!known) return wrong("field not declared in schema");
      field_set child;
      if (!collect(inner, m.value, child)) return false;
      if (p.form == form::map || m.value.is_null() || (m.value.is_object() && m.value.empty())) child.member = true;
      if (!child.empty()) node.children.emplace(path_.back(), std::move(child));
      path_.pop_back();
    }
    return true;
  }

 private:
  bool items(const place& p, const json::value& v, field_set& node) {
    auto a = v.array();
    if (!a) return wrong("expected list, got " + std::string(what_it_is(v)));
    auto inner = place_of_item(p);
    for (std::size_t i = 0; i < a->size(); ++i) {
      auto element = p.form == form::keyed_list && !(*a)[i].is_object() ? std::string() : item_element(p, (*a)[i]);
      if (element.empty()) return wrong("element " + std::to_string(i) + ": associative list with keys has an element that omits all key fields");
      if (node.children.contains(element)) return wrong("duplicate entries for key " + path_text({element}));
      path_.push_back(element);
      auto& child = node.children[std::move(element)];
      if (!collect(inner, (*a)[i], child)) return false;
      child.member = true;
      path_.pop_back();
    }
    return true;
  }

  bool wrong(std::string message) {
    why = {errc::invalid, path_text(path_) + ": " + std::move(message)};
    return false;
  }

  field_path path_;
};

// A list's items by their elements: the first of each.
struct indexed_list {
  std::vector<std::string> order;
  std::map<std::string_view, const json::value*> items;

  indexed_list(const place& p, const json::value* list) {
    auto a = list ? list->array() : nullptr;
    if (!a) return;
    order.reserve(a->size());  // the views point into it
    for (auto& e : *a) {
      auto element = item_element(p, e);
      if (element.empty() || items.contains(element)) continue;
      order.push_back(std::move(element));
      items.emplace(order.back(), &e);
    }
  }
  const json::value* find(std::string_view element) const {
    auto it = items.find(element);
    return it == items.end() ? nullptr : it->second;
  }
};

bool nothing(const json::value* v) { return !v || v->is_null() || ((v->is_object() || v->is_array()) && v->empty()); }

class comparer {
 public:
  difference out;

  // At least one side is there.
  void compare(const place& p, const json::value* before, const json::value* after) {
    if (p.form == form::leaf || (nothing(before) && nothing(after))) return leaf(before, after);
    if (p.form == form::keyed_list || p.form == form::set_list)
      items(p, before, after);
    else
      members(p, before, after);
    if (!before) out.added.insert(path_);
    if (!after) out.removed.insert(path_);
  }

 private:
  void leaf(const json::value* before, const json::value* after) {
    if (!before)
      out.added.insert(path_);
    else if (!after)
      out.removed.insert(path_);
    else if (!(*before == *after))
      out.modified.insert(path_);
  }

  void inside(std::string element, const place& p, const json::value* before, const json::value* after) {
    path_.push_back(std::move(element));
    compare(p, before, after);
    path_.pop_back();
  }

  void members(const place& p, const json::value* before, const json::value* after) {
    bool known;
    if (auto o = before ? before->object() : nullptr)
      for (auto& m : *o) inside(member_element(m.name), place_of_member(p, m.name, known), &m.value, after ? after->find(m.name) : nullptr);
    if (auto o = after ? after->object() : nullptr)
      for (auto& m : *o)
        if (!before || !before->find(m.name)) inside(member_element(m.name), place_of_member(p, m.name, known), nullptr, &m.value);
  }

  void items(const place& p, const json::value* before, const json::value* after) {
    indexed_list left(p, before), right(p, after);
    auto inner = place_of_item(p);
    for (auto& e : left.order) inside(e, inner, left.find(e), right.find(e));
    for (auto& e : right.order)
      if (!left.find(e)) inside(e, inner, nullptr, right.find(e));
  }

  field_path path_;
};

json::value merged(const place& p, const json::value& live, const json::value& config);

json::value merged_members(const place& p, const json::value& live, const json::value& config) {
  json::value out = live;
  auto& o = out.make_object();
  for (auto& m : *config.object()) {
    bool known;
    auto inner = place_of_member(p, m.name, known);
    auto& slot = o[m.name];
    slot = merged(inner, slot, m.value);
  }
  return out;
}

// The order of structured-merge-diff: config's items in config's order; items only in `live` stay before the item that they
// stood before.
json::value merged_items(const place& p, const json::value& live, const json::value& config) {
  indexed_list left(p, &live), right(p, &config);
  std::vector<std::string_view> shared;
  for (auto& e : right.order)
    if (left.find(e)) shared.push_back(e);
  std::size_t next = 0;
  std::set<std::string_view> done;
  json::array out;
  auto inner = place_of_item(p);
  auto take_right = [&](std::string_view e) {
    auto l = left.find(e);
    out.push_back(l ? merged(inner, *l, *right.find(e)) : *right.find(e));
    done.insert(e);
    if (next < shared.size() && shared[next] == e) ++next;
  };
  std::size_t l = 0, r = 0;
  while (l < left.order.size() || r < right.order.size()) {
    if (l < left.order.size() && r < right.order.size()) {
      auto& e = left.order[l];
      if (e == right.order[r]) {
        take_right(e);
        ++l, ++r;
        continue;
      }
      if (right.find(e) && next < shared.size() && shared[next] != e) {  // its turn comes later
        ++l;
        continue;
      }
    }
    if (l < left.order.size()) {
      auto& e = left.order[l];
      if (!right.find(e)) {
        out.push_back(*left.find(e));
        ++l;
        continue;
      }
      if (done.contains(e)) ++l;
    }
    if (r < right.order.size()) {
      if (!done.contains(right.order[r])) take_right(right.order[r]);
      ++r;
    } else if (l < left.order.size() && right.find(left.order[l])) {
      ++l;
    }
  }
  return out;
}

json::value merged(const place& p, const json::value& live, const json::value& config) {
  if (p.form == form::leaf) return config;
  if (nothing(&config)) return nothing(&live) ? config : live;
  if (nothing(&live)) return config;
  const bool list = p.form == form::keyed_list || p.form == form::set_list;
  if (list) return live.is_array() && config.is_array() ? merged_items(p, live, config) : config;
  return live.is_object() && config.is_object() ? merged_members(p, live, config) : config;
}

json::value removed(const place& p, const json::value& v, const field_set& set) {
  if (p.form == form::leaf || set.children.empty()) return v;
  if (auto o = v.object(); o && p.form != form::keyed_list && p.form != form::set_list) {
    json::object out;
    for (auto& m : *o) {
      auto it = set.children.find(member_element(m.name));
      if (it == set.children.end()) {
        out.append(m.name, m.value);
      } else if (!it->second.member) {
        bool known;
        out.append(m.name, removed(place_of_member(p, m.name, known), m.value, it->second));
      }
    }
    return out.empty() ? json::value() : json::value(std::move(out));
  }
  auto a = v.array();
  if (!a) return v;
  json::array out;
  for (auto& e : *a) {
    auto it = set.children.find(item_element(p, e));
    if (it == set.children.end())
      out.push_back(e);
    else if (!it->second.member)
      out.push_back(removed(place_of_item(p), e, it->second));
  }
  return out.empty() ? json::value() : json::value(std::move(out));
}

field_set named_parents(const place& p, const field_set& set) {
  field_set out;
  out.member = set.member;
  for (auto& [element, child] : set.children) {
    place inner;
    bool known = false;
    if (element.starts_with("f:")) {
      if (p.form == form::structure || p.form == form::map) inner = place_of_member(p, std::string_view(element).substr(2), known);
    } else if (p.form == form::keyed_list || p.form == form::set_list) {
      inner = place_of_item(p);
    }
    auto copy = named_parents(inner, child);
    if (known && p.form == form::structure) copy.member = true;
    out.children.emplace(element, std::move(copy));
  }
  return out;
}

}  // namespace

result<field_set> fields_of(const type_info& type, const json::value& v) {
  field_set out;
  collector c;
  if (!c.collect(place_of_type(type), v, out)) return fail(std::move(c.why));
  return out;
}

difference compare(const type_info& type, const json::value& before, const json::value& after) {
  comparer c;
  c.compare(place_of_type(type), &before, &after);
  return std::move(c.out);
}

json::value merge(const type_info& type, const json::value& live, const json::value& config) { return merged(place_of_type(type), live, config); }

json::value without(const type_info& type, const json::value& v, const field_set& set) { return removed(place_of_type(type), v, set); }

field_set with_parents(const type_info& type, const field_set& set) { return named_parents(place_of_type(type), set); }

}  // namespace kedge::schema::apply
