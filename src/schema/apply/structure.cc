#include "schema/apply/structure.h"

#include <algorithm>
#include <set>

#include "json/parse.h"
#include "json/write.h"
#include "schema/limits.h"

namespace kedge::schema::apply {
namespace {

enum class form : unsigned char { leaf, structure, map, keyed_list, set_list, deduced };

// What stands at a path: its form, and of what its members are.
struct place {
  apply::form form = form::leaf;
  const type_info* type = nullptr;    // of a structure; of a keyed list's items
  const field_info* field = nullptr;  // the field whose elements a map or list holds
  const outline* custom = nullptr;    // instead of both, in a custom resource
};

place place_of_type(const type_info& t) {
  return {t.base() != base_type::structure || t.map_type() == map_type::atomic ? form::leaf : form::structure, &t,
          nullptr};
}

place place_of_outline(const outline& o) {
  switch (o.kind) {
    case outline::form::leaf: break;
    case outline::form::structure: return {form::structure, nullptr, nullptr, &o};
    case outline::form::map: return {form::map, nullptr, nullptr, &o};
    case outline::form::keyed_list: return {form::keyed_list, nullptr, nullptr, &o};
    case outline::form::set_list: return {form::set_list, nullptr, nullptr, &o};
    case outline::form::deduced: return {.form = form::deduced};
    case outline::form::builtin: return place_of_type(*o.type);
  }
  return {};
}

place place_of(const topology& t) { return t.custom ? place_of_outline(*t.custom) : place_of_type(*t.type); }

// A deduced place as what the values there are.
place resolved(const place& p, const json::value* a, const json::value* b) {
  if (p.form != form::deduced) return p;
  auto fits = [](const json::value* v) { return !v || v->is_null() || v->is_object(); };
  const bool any = (a && a->is_object()) || (b && b->is_object());
  return any && fits(a) && fits(b) ? p : place{};
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
  if (p.form == form::deduced) return p;
  if (p.custom) {
    if (p.form == form::map) return place_of_outline(*p.custom->element);
    if (auto m = p.custom->find(name)) return place_of_outline(*m);
    known = p.custom->open;
    return {.form = known ? form::deduced : form::leaf};
  }
  if (p.form == form::map) return place_of_element(*p.field);
  auto f = p.type->find(name);
  known = f != nullptr;
  return f ? place_of_field(*f) : place{};
}

place place_of_item(const place& p) {
  if (p.form != form::keyed_list) return {};
  return p.custom ? place_of_outline(*p.custom->element) : place_of_type(*p.type);
}

// `k:{"name":"a"}` of an item with these keys, in order; empty when it has none of them.
std::string custom_element(const outline& list, const json::value& item) {
  json::object keys;
  for (auto& [name, standard] : list.keys) {
    if (auto v = item.find(name))
      keys.set(name, *v);
    else if (!standard.is_null())
      keys.set(name, standard);
  }
  return keys.empty() ? std::string() : "k:" + json::write(std::move(keys));
}

// `k:{"containerPort":80,"protocol":"TCP"}`; empty when the item has none of its keys.
std::string item_element(const place& p, const json::value& item) {
  if (p.form == form::set_list) return "v:" + json::write(item);
  if (p.custom) return custom_element(*p.custom, item);
  std::vector<std::string_view> names;
  for (auto k : p.field->list_map_keys()) names.push_back(k);
  if (names.empty()) names.push_back(p.field->patch_merge_key());
  std::ranges::sort(names);
  json::object keys;
  for (auto name : names) {
    if (auto v = item.find(name)) {
      keys.set(name, *v);
      continue;
    }
    auto f = p.type->find(name);
    if (!f) continue;
    if (!f->default_json().empty()) {
      if (auto standard = json::parse(f->default_json())) keys.set(name, *std::move(standard));
    } else if (!f->omitempty() && !f->pointer()) {  // what a Go struct has when nothing was said
      keys.set(name, f->base() == base_type::string    ? json::value("")
                     : f->base() == base_type::boolean ? json::value(false)
                                                       : json::value(0));
    }
  }
  if (keys.empty()) return {};
  return "k:" + json::write(std::move(keys));
}

std::string member_element(std::string_view name) {
  std::string out;
  out.reserve(name.size() + 2);
  return out.append("f:").append(name);
}

// Go's %v and %#v of a decoded JSON value.
std::string go_text(const json::value& v) {
  std::string out;
  if (auto a = v.array()) {
    for (auto& e : *a) out += (out.empty() ? "" : " ") + go_text(e);
    return "[" + out + "]";
  }
  if (auto o = v.object()) {
    std::map<std::string_view, std::string> sorted;
    for (auto& m : *o) sorted.emplace(m.name, go_text(m.value));
    for (auto& [name, text] : sorted) out += (out.empty() ? "" : " ") + std::string(name) + ":" + text;
    return "map[" + out + "]";
  }
  return v.is_null() ? "<nil>" : v.is_string() ? std::string(v.as_string()) : json::write(v);
}

std::string go_syntax(const json::value& v) {
  std::string out;
  if (auto a = v.array()) {
    for (auto& e : *a) out += (out.empty() ? "" : ", ") + go_syntax(e);
    return "[]interface {}{" + out + "}";
  }
  if (auto o = v.object()) {
    std::map<std::string_view, std::string> sorted;
    for (auto& m : *o) sorted.emplace(m.name, go_syntax(m.value));
    for (auto& [name, text] : sorted) out += (out.empty() ? "" : ", ") + json::write(name) + ":" + text;
    return "map[string]interface {}{" + out + "}";
  }
  return v.is_null() ? "interface {}(nil)" : json::write(v);
}

std::string_view go_type(const json::value& v) {
  return v.is_array()    ? "[]interface {}"
         : v.is_object() ? "map[string]interface {}"
         : v.is_string() ? "string"
         : v.is_bool()   ? "bool"
                         : "float64";
}

// Whether a value fits its type as the schema tells it, with structured-merge-diff's words for what doesn't.
class checker {
 public:
  error why;

  bool check(const topology& t, const json::value& v) { return t.custom ? custom(*t.custom, v) : type(*t.type, v); }

 private:
  bool type(const type_info& t, const json::value& v) {
    if (v.is_null()) return true;
    if (t.base() != base_type::structure) return scalar(t.base(), v);
    auto o = v.object();
    if (!o) return wrong("expected map, got &{" + go_text(v) + "}");
    for (auto& m : *o) {
      step here(path_, member_element(m.name));
      auto f = t.find(m.name);
      if (!f) return wrong("field not declared in schema");
      if (!field(*f, m.value)) return false;
    }
    return true;
  }

  bool custom(const outline& o, const json::value& v) {
    if (v.is_null()) return true;
    switch (o.kind) {
      case outline::form::deduced: return true;
      case outline::form::builtin: return type(*o.type, v);
      case outline::form::leaf:
        if (o.is_list && !v.is_array()) return wrong("expected list, got &{" + go_text(v) + "}");
        return o.is_list || scalar(o.base, v);
      case outline::form::structure:
      case outline::form::map: {
        auto members = v.object();
        if (!members) return wrong("expected map, got &{" + go_text(v) + "}");
        for (auto& m : *members) {
          step here(path_, member_element(m.name));
          auto inner = o.kind == outline::form::map ? o.element.get() : o.find(m.name);
          if (inner ? !custom(*inner, m.value) : !o.open && !wrong("field not declared in schema")) return false;
        }
        return true;
      }
      case outline::form::keyed_list:
      case outline::form::set_list: break;
    }
    auto list = v.array();
    if (!list) return wrong("expected list, got &{" + go_text(v) + "}");
    for (std::size_t i = 0; i < list->size(); ++i) {
      auto& item = (*list)[i];
      if (o.kind == outline::form::keyed_list && !item.is_object()) return wrong(no_map(i, item));
      if (o.kind == outline::form::set_list && (item.is_null() || item.is_array() || item.is_object()))
        return wrong(no_scalar(i, item));
      step here(path_, item_element(place_of_outline(o), item));
      if (!custom(*o.element, item)) return false;
    }
    return true;
  }

  struct step {
    step(field_path& p, std::string element) : path(p) { path.push_back(std::move(element)); }
    ~step() { path.pop_back(); }
    field_path& path;
  };

  bool field(const field_info& f, const json::value& v) {
    if (v.is_null()) return true;
    if (f.is_single()) return one(f, v);
    if (f.is_array()) return list(f, place_of_list(f), v);
    auto o = v.object();
    if (!o) return wrong("expected map, got &{" + go_text(v) + "}");
    for (auto& m : *o) {
      step here(path_, member_element(m.name));
      if (f.shape() == shape::map ? !one(f, m.value) : !list(f, {}, m.value)) return false;
    }
    return true;
  }

  bool list(const field_info& f, const place& p, const json::value& v) {
    auto a = v.array();
    if (!a) return v.is_null() || wrong("expected list, got &{" + go_text(v) + "}");
    for (std::size_t i = 0; i < a->size(); ++i) {
      auto& item = (*a)[i];
      if (p.form == form::keyed_list && !item.is_object()) return wrong(no_map(i, item));
      if (p.form == form::set_list && (item.is_null() || item.is_array() || item.is_object()))
        return wrong(no_scalar(i, item));
      step here(path_, p.form == form::keyed_list || p.form == form::set_list ? item_element(p, item)
                                                                              : "i:" + std::to_string(i));
      if (!one(f, item)) return false;
    }
    return true;
  }

  bool one(const field_info& f, const json::value& v) {
    return f.base() == base_type::structure ? type(*f.type(), v) : scalar(f.base(), v);
  }

  bool scalar(base_type base, const json::value& v) {
    if (v.is_null()) return true;
    switch (base) {
      case base_type::string:
      case base_type::bytes:
        return v.is_string() || wrong("expected string, got &value.valueUnstructured{Value:" + go_syntax(v) + "}");
      case base_type::boolean: return v.is_bool() || wrong("expected boolean, got &{" + go_text(v) + "}");
      case base_type::int32:
      case base_type::int64:
      case base_type::float64:
        return v.is_number() || wrong("expected numeric (int or float), got " + std::string(go_type(v)));
      case base_type::quantity:
      case base_type::time:
      case base_type::micro_time:
      case base_type::int_or_string:
        return (!v.is_array() && !v.is_object()) || wrong("expected any scalar, got &{" + go_text(v) + "}");
      default: return true;
    }
  }

  static std::string no_map(std::size_t i, const json::value& item) {
    return "element " + std::to_string(i) + ": associative list with keys may not have " +
           (item.is_null() ? "a null element" : "non-map elements");
  }

  static std::string no_scalar(std::size_t i, const json::value& item) {
    return "element " + std::to_string(i) +
           (item.is_array() ? ": not supported: associative list with lists as elements"
                            : ": associative list without keys has an element that's " +
                                  std::string(item.is_null() ? "an explicit null" : "a map type"));
  }

  bool wrong(std::string message) {
    why = {errc::invalid, path_text(path_) + ": " + std::move(message)};
    return false;
  }

  field_path path_;
};

// Of a value that fits its type.
class collector {
 public:
  error why;

  bool collect(const place& at, const json::value& v, field_set& node) {
    auto p = resolved(at, &v, nullptr);
    if (p.form == form::leaf || v.is_null()) {
      node.member = true;
      return true;
    }
    if (p.form == form::keyed_list || p.form == form::set_list) return items(p, v, node);
    if (auto o = v.object())
      for (auto& m : *o) {
        bool known;
        auto inner = place_of_member(p, m.name, known);
        path_.push_back(member_element(m.name));
        field_set child;
        if (!collect(inner, m.value, child)) return false;
        const bool declared = p.form == form::structure && (!p.custom || p.custom->find(m.name));
        if (!declared || m.value.is_null() || (m.value.is_object() && m.value.empty())) child.member = true;
        if (!child.empty()) node.children.emplace(path_.back(), std::move(child));
        path_.pop_back();
      }
    return true;
  }

 private:
  bool items(const place& p, const json::value& v, field_set& node) {
    auto a = v.array();
    auto inner = place_of_item(p);
    for (std::size_t i = 0; a && i < a->size(); ++i) {
      auto element = item_element(p, (*a)[i]);
      if (element.empty())
        return wrong(
            "element " + std::to_string(i) +
            ": associative list with keys has an element that omits key field (and doesn't have default value)");
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
  const json::array* list;
  std::vector<std::string> order;
  std::map<std::string_view, std::size_t> places;

  indexed_list(const place& p, const json::value* v) : list(v ? v->array() : nullptr) {
    if (!list) return;
    order.reserve(list->size());  // the views point into it
    for (std::size_t i = 0; i < list->size(); ++i) {
      auto element = item_element(p, (*list)[i]);
      if (element.empty() || places.contains(element)) continue;
      order.push_back(std::move(element));
      places.emplace(order.back(), i);
    }
  }
  const json::value* find(std::string_view element) const {
    auto it = places.find(element);
    return it == places.end() ? nullptr : &(*list)[it->second];
  }
};

bool nothing(const json::value* v) { return !v || v->is_null() || ((v->is_object() || v->is_array()) && v->empty()); }

// `lists`: how many keyed lists we are in.
void compare_at(const place& p, const json::value* before, const json::value* after, difference& out, unsigned lists);

void compare_leaf(const json::value* before, const json::value* after, difference& out) {
  if (!before)
    out.added.member = true;
  else if (!after)
    out.removed.member = true;
  else if (!(*before == *after))
    out.modified.member = true;
}

// As compare_at without a side before: all that is there is added.
void add_all(const place& at, const json::value& after, field_set& out) {
  auto p = resolved(at, nullptr, &after);
  out.member = true;
  if (p.form == form::leaf || nothing(&after)) return;
  if (p.form == form::keyed_list || p.form == form::set_list) {
    indexed_list items(p, &after);
    auto inner = place_of_item(p);
    for (auto& e : items.order) add_all(inner, *items.find(e), out.children[e]);
  } else if (auto o = after.object()) {
    bool known;
    for (auto& m : *o) add_all(place_of_member(p, m.name, known), m.value, out.children[member_element(m.name)]);
  }
}

// What differs below one element, which is spelled only where something does.
template <typename Spell>
void compare_below(const place& p, const json::value* before, const json::value* after, difference& out, unsigned lists,
                   Spell spell) {
  if (!before) return add_all(p, *after, out.added.children[spell()]);
  difference d;
  compare_at(p, before, after, d, lists);
  if (!d.added.empty()) out.added.children.emplace(spell(), std::move(d.added));
  if (!d.removed.empty()) out.removed.children.emplace(spell(), std::move(d.removed));
  if (!d.modified.empty()) out.modified.children.emplace(spell(), std::move(d.modified));
}

void compare_members(const place& p, const json::value* before, const json::value* after, difference& out,
                     unsigned lists) {
  bool known;
  auto one = [&](const std::string& name, const json::value* b, const json::value* a) {
    compare_below(place_of_member(p, name, known), b, a, out, lists, [&] { return member_element(name); });
  };
  if (auto o = before ? before->object() : nullptr)
    for (auto& m : *o) one(m.name, &m.value, after ? after->find(m.name) : nullptr);
  if (auto o = after ? after->object() : nullptr)
    for (auto& m : *o)
      if (!before || !before->find(m.name)) one(m.name, nullptr, &m.value);
}

void compare_items(const place& p, const json::value* before, const json::value* after, difference& out,
                   unsigned lists) {
  // Most lists are what they were. Within lists within lists this would look at the innermost again at each level.
  constexpr unsigned looked_at = 4;
  if (lists < looked_at && before && after && *before == *after) return;
  indexed_list left(p, before), right(p, after);
  auto inner = place_of_item(p);
  auto one = [&](const std::string& element, const json::value* b, const json::value* a) {
    compare_below(inner, b, a, out, lists + 1, [&] { return element; });
  };
  for (auto& e : left.order) one(e, left.find(e), right.find(e));
  for (auto& e : right.order)
    if (!left.find(e)) one(e, nullptr, right.find(e));
}

// At least one side is there.
void compare_at(const place& at, const json::value* before, const json::value* after, difference& out, unsigned lists) {
  auto p = resolved(at, before, after);
  if (p.form == form::leaf || (nothing(before) && nothing(after))) return compare_leaf(before, after, out);
  if (p.form == form::keyed_list || p.form == form::set_list)
    compare_items(p, before, after, out, lists);
  else
    compare_members(p, before, after, out, lists);
  if (!before) out.added.member = true;
  if (!after) out.removed.member = true;
}

// `live` is given away: what stays is moved, not copied at each level.
json::value merged(const place& p, json::value live, const json::value& config);

json::value merged_members(const place& p, json::value live, const json::value& config) {
  auto& o = live.make_object();
  for (auto& m : *config.object()) {
    bool known;
    auto inner = place_of_member(p, m.name, known);
    auto& slot = o[m.name];
    slot = merged(inner, std::move(slot), m.value);
  }
  return live;
}

// The order of structured-merge-diff: config's items in config's order; items only in `live` stay before the item that
// they stood before.
json::value merged_items(const place& p, json::value live, const json::value& config) {
  indexed_list left(p, &live), right(p, &config);
  std::vector<std::string_view> shared;
  for (auto& e : right.order)
    if (left.find(e)) shared.push_back(e);
  std::size_t next = 0;
  std::set<std::string_view> done;
  json::array out;
  auto inner = place_of_item(p);
  // Each is taken once.
  auto take_left = [&](std::string_view e) { return std::move((*live.array())[left.places.at(e)]); };
  auto take_right = [&](std::string_view e) {
    out.push_back(left.find(e) ? merged(inner, take_left(e), *right.find(e)) : *right.find(e));
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
        out.push_back(take_left(e));
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

json::value merged(const place& at, json::value live, const json::value& config) {
  auto p = resolved(at, &live, &config);
  if (p.form == form::leaf) return config;
  if (nothing(&config)) {
    if (nothing(&live)) return config;
    return live;
  }
  if (nothing(&live)) return config;
  const bool list = p.form == form::keyed_list || p.form == form::set_list;
  if (list) return live.is_array() && config.is_array() ? merged_items(p, std::move(live), config) : config;
  return live.is_object() && config.is_object() ? merged_members(p, std::move(live), config) : config;
}

json::value removed(const place& at, const json::value& v, const field_set& set) {
  auto p = resolved(at, &v, nullptr);
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
      if (p.form == form::structure || p.form == form::map || p.form == form::deduced)
        inner = place_of_member(p, std::string_view(element).substr(2), known);
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

result<field_set> fields_of(topology shape, const json::value& v) {
  checker fits;
  if (!fits.check(shape, v)) return fail(std::move(fits.why));
  field_set out;
  collector c;
  if (!c.collect(place_of(shape), v, out)) return fail(std::move(c.why));
  return out;
}

difference compare(topology shape, const json::value& before, const json::value& after) {
  difference out;
  compare_at(place_of(shape), &before, &after, out, 0);
  return out;
}

json::value merge(topology shape, const json::value& live, const json::value& config) {
  return merged(place_of(shape), live, config);
}

json::value without(topology shape, const json::value& v, const field_set& set) {
  return removed(place_of(shape), v, set);
}

field_set with_parents(topology shape, const field_set& set) { return named_parents(place_of(shape), set); }

}  // namespace kedge::schema::apply
