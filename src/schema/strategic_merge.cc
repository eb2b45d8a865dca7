// strategic_merge.cc: apply a strategic merge patch (k8s.io/apimachinery/pkg/util/strategicpatch,
// StrategicMergeMapPatch).
//
// A patch is an object shaped like the document. Maps merge; lists merge where the table says so, by merge key or as
// sets of scalars, and are replaced elsewhere. Directives are members whose names start with `$`:
//
//   "$patch": "replace" | "delete" | "merge"      in a map, or in an element of a merging list
//   "$retainKeys": [names]                        what else the map had is dropped
//   "$deleteFromPrimitiveList/finalizers": [...]  values to take out of a set
//   "$setElementOrder/containers": [...]          the order of what the patch knows; the rest keeps its relative place
#include "schema/strategic_merge.h"

#include <algorithm>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "base/strings.h"
#include "json/write.h"

namespace kedge::schema {

namespace {

constexpr std::string_view patch_directive = "$patch";
constexpr std::string_view retain_keys_directive = "$retainKeys";
constexpr std::string_view delete_prefix = "$deleteFromPrimitiveList";
constexpr std::string_view order_prefix = "$setElementOrder";

// A value as Go's %v prints it, for messages: map[name:c] [a b].
std::string go_text(const json::value& v) {
  if (auto s = v.string()) return *s;
  if (v.is_null()) return "<nil>";
  std::string out;
  if (auto a = v.array()) {
    for (auto& e : *a) out += (out.empty() ? "" : " ") + go_text(e);
    return "[" + out + "]";
  }
  if (auto o = v.object()) {
    std::vector<const json::member*> sorted;
    for (auto& m : *o) sorted.push_back(&m);
    std::ranges::sort(sorted, {}, &json::member::name);
    for (auto m : sorted) out += (out.empty() ? "" : " ") + m->name + ":" + go_text(m->value);
    return "map[" + out + "]";
  }
  return json::write(v);
}

std::unexpected<error> no_merge_key(const json::value& element, std::string_view key) {
  return fail(errc::invalid, "map: " + go_text(element) + " does not contain declared merge key: " + std::string(key));
}
std::unexpected<error> bad_patch_type(const json::value& directive, const json::value& map) {
  return fail(errc::invalid, "unknown patch type: " + go_text(directive) + " in map: " + go_text(map));
}

bool is_directive(std::string_view name) {
  return name == patch_directive || name == retain_keys_directive || name.starts_with(delete_prefix) ||
         name.starts_with(order_prefix);
}

result<std::string> field_behind(std::string_view directive, std::string_view prefix) {
  auto rest = directive.substr(prefix.size());
  if (rest.size() < 2 || rest.front() != '/')
    return fail(errc::invalid, "invalid patch format of " + std::string(prefix));
  return std::string(rest.substr(1));
}

// What is new to the document: without directives and nulls. nullopt: a `$patch: delete` takes itself away.
std::optional<json::value> cleaned(json::value v) {
  if (auto o = v.object()) {
    if ((*o).find(patch_directive) && v[patch_directive].as_string() == "delete") return std::nullopt;
    json::object kept;
    for (auto& m : *o)
      if (!is_directive(m.name) && !m.value.is_null())
        if (auto c = cleaned(std::move(m.value))) kept.set(m.name, *std::move(c));
    return kept;
  }
  if (auto a = v.array()) {
    json::array kept;
    for (auto& e : *a) {
      bool replace_marker = e.is_object() && e.size() == 1 && e[patch_directive].as_string() == "replace";
      if (replace_marker) continue;
      if (auto c = cleaned(std::move(e))) kept.push_back(*std::move(c));
    }
    return kept;
  }
  return v;
}

bool same_kind(const json::value& a, const json::value& b) {
  return a.type() == b.type() || (a.is_number() && b.is_number());
}

// Where values stand in a list: objects by their merge key, scalars by themselves. Hashed, because a patch of 3 MB may
// hold 100,000 elements.
class positions {
 public:
  positions(const json::array& list, std::string_view key) : key_(key) {
    for (std::size_t i = 0; i < list.size(); ++i) add(list[i], i);
  }
  void add(const json::value& v, std::size_t at) {
    if (auto text = text_of(v)) at_.emplace(*std::move(text), at);
  }
  // -1: nowhere.
  std::ptrdiff_t of(const json::value& v) const {
    auto text = text_of(v);
    if (!text) return -1;
    auto it = at_.find(*text);
    return it == at_.end() ? -1 : static_cast<std::ptrdiff_t>(it->second);
  }

 private:
  std::optional<std::string> text_of(const json::value& v) const {
    if (key_.empty()) return json::write(v);
    auto k = v.find(key_);
    return k ? std::optional(json::write(*k)) : std::nullopt;
  }
  std::string_view key_;
  std::unordered_map<std::string, std::size_t> at_;
};

// Items that the order knows come in its order; items that only the server has keep their places among themselves and
// before those patched items that they stood before.
json::array in_order(json::array merged, const json::array& order, const json::array& server_order,
                     std::string_view key) {
  struct item {
    std::ptrdiff_t rank, server;
    std::size_t at;
    auto operator<=>(const item&) const = default;
  };
  positions ranks(order, key), servers(server_order, key);
  std::vector<item> patched, server_only;
  for (std::size_t i = 0; i < merged.size(); ++i) {
    item one{ranks.of(merged[i]), servers.of(merged[i]), i};
    (one.rank >= 0 ? patched : server_only).push_back(one);
  }
  std::ranges::sort(patched);
  std::ranges::sort(server_only);
  json::array out;
  out.reserve(merged.size());
  std::size_t i = 0, j = 0;
  while (i < server_only.size() || j < patched.size()) {
    bool server_first = j == patched.size() || (i < server_only.size() && server_only[i].server >= 0 &&
                                                patched[j].server >= 0 && server_only[i].server < patched[j].server);
    out.push_back(std::move(merged[server_first ? server_only[i++].at : patched[j++].at]));
  }
  return out;
}

// Values in `v`, itself included.
std::size_t values_in(const json::value& v) {
  std::size_t n = 1;
  if (auto a = v.array())
    for (auto& e : *a) n += values_in(e);
  if (auto o = v.object())
    for (auto& m : *o) n += values_in(m.value);
  return n;
}

class merger {
 public:
  // A patch may name an element again and again, and each time all of a list below it: what that takes is bounded by
  // the size of both.
  merger(const json::value& document, const json::value& patch)
      : work_left_(work_per_value * (values_in(document) + values_in(patch))) {}

  result<void> map(json::object& document, json::object patch, const type_info* type) {
    if (auto directive = patch.find(patch_directive)) {
      auto how = directive->as_string();
      if (how == "replace") {
        patch.erase(patch_directive);
        document = std::move(patch);
        return {};
      }
      if (how == "delete") {
        document.clear();
        return {};
      }
      if (how != "merge") {
        json::value whole = patch;
        return bad_patch_type(*directive, whole);
      }
      patch.erase(patch_directive);
    }
    KEDGE_CHECK(retain_keys(document, patch));
    KEDGE_CHECK(element_orders(document, patch, type));
    KEDGE_CHECK(remove_nulls(document, patch));
    for (auto& m : patch)
      if (!m.value.is_null()) KEDGE_CHECK(member(document, m.name, std::move(m.value), type));
    return {};
  }

 private:
  result<void> pay(std::size_t values) {
    if (values > work_left_) return fail(errc::invalid, "the patch changes the same lists too often");
    work_left_ -= values;
    return {};
  }

  // What the patch says null of, also as `$deleteFromPrimitiveList/…`.
  static result<void> remove_nulls(json::object& document, const json::object& patch) {
    std::unordered_set<std::string> gone;
    for (auto& m : patch) {
      if (!m.value.is_null()) continue;
      if (!m.name.starts_with(delete_prefix)) {
        gone.insert(m.name);
        continue;
      }
      KEDGE_TRY(auto target, field_behind(m.name, delete_prefix));
      gone.insert(std::move(target));
    }
    if (gone.size() == 1)
      document.erase(*gone.begin());
    else if (!gone.empty())
      document.erase_if([&](const json::member& m) { return gone.contains(m.name); });
    return {};
  }

  static const field_info* field_of(const type_info* type, std::string_view name) {
    return type ? type->find(name) : nullptr;
  }
  static const type_info* struct_of(const field_info* f) {
    return f && f->base() == base_type::structure && f->shape() != shape::map ? f->type() : nullptr;
  }

  result<void> member(json::object& document, std::string_view name, json::value patch, const type_info* type) {
    bool deletes = name.starts_with(delete_prefix);
    std::string target(name);
    if (deletes) { KEDGE_TRY(target, field_behind(name, delete_prefix)); }
    auto there = document.find(target);
    if (!there || !same_kind(*there, patch)) {
      if (deletes) return {};
      if (auto c = cleaned(std::move(patch))) document.set(target, *std::move(c));
      return {};
    }
    auto f = field_of(type, target);
    if (patch.is_object()) {
      if (f && f->patch_replace()) {
        *there = std::move(patch);
        return {};
      }
      bool map_of_structs = f && f->shape() == shape::map && f->base() == base_type::structure;
      if (map_of_structs) return map_values(*there->object(), std::move(*patch.object()), f->type());
      return map(*there->object(), std::move(*patch.object()), struct_of(f));
    }
    if (patch.is_array()) {
      if (deletes || (f && f->is_array() && f->patch_merge()))
        return list(*there->array(), std::move(*patch.array()), f, deletes);
      if (auto c = cleaned(std::move(patch))) *there = *std::move(c);
      return {};
    }
    *there = std::move(patch);
    return {};
  }

  // map[string]T: the keys are the user's, the values are merged as T.
  result<void> map_values(json::object& document, json::object patch, const type_info* type) {
    for (auto& m : patch) {
      auto there = document.find(m.name);
      if (there && there->is_object() && m.value.is_object())
        KEDGE_CHECK(map(*there->object(), std::move(*m.value.object()), type));
      else
        KEDGE_CHECK(member(document, m.name, std::move(m.value), nullptr));
    }
    return {};
  }

  result<void> retain_keys(json::object& document, json::object& patch) {
    auto directive = patch.find(retain_keys_directive);
    if (!directive) return {};
    if (!directive->is_array()) return fail(errc::invalid, "invalid patch format of retainKeys");
    std::set<std::string, std::less<>> kept;
    for (auto& k : *directive->array()) kept.emplace(k.as_string());
    patch.erase(retain_keys_directive);
    for (auto& m : patch)
      if (!m.value.is_null() && !is_directive(m.name) && !kept.contains(m.name))
        return fail(errc::invalid, "invalid patch format of retainKeys");
    KEDGE_CHECK(pay(document.size()));
    document.erase_if([&](const json::member& m) { return !kept.contains(m.name); });
    return {};
  }

  result<void> element_orders(json::object& document, json::object& patch, const type_info* type) {
    std::vector<json::member> directives;
    for (auto& m : patch)
      if (m.name.starts_with(order_prefix)) directives.push_back({m.name, std::move(m.value)});
    if (directives.empty()) return {};
    std::unordered_set<std::string> done;  // with its order, a list is merged here
    for (auto& [name, order] : directives) {
      KEDGE_TRY(auto target, field_behind(name, order_prefix));
      KEDGE_CHECK(element_order(document, patch, target, order, field_of(type, target)));
      done.insert(name);
      done.insert(std::move(target));
    }
    patch.erase_if([&](const json::member& m) { return done.contains(m.name); });
    return {};
  }

  result<void> element_order(json::object& document, json::object& patch, std::string_view target,
                             const json::value& order, const field_info* f) {
    if (!order.is_array()) return fail(errc::invalid, "invalid patch format of setElementOrder list");
    auto there = document.find(target);
    auto change = patch.find(target);
    if ((there && !there->is_array()) || (change && !change->is_array()))
      return fail(errc::invalid, "expected a list of " + std::string(target) + " for its $setElementOrder");
    if (!there && !change) return {};
    auto key = f ? f->patch_merge_key() : std::string_view();
    KEDGE_CHECK(pay((there ? there->size() : 0) + order.size()));
    if (change) KEDGE_CHECK(consistent(*change, order, key));
    auto server_order = there ? *there->array() : json::array();
    json::array merged;
    if (there && !change) {
      merged = *there->array();
    } else if (!there) {
      auto c = cleaned(std::move(*change));
      merged = std::move(*c->array());
    } else {
      merged = *there->array();
      if (f && f->patch_merge())
        KEDGE_CHECK(list(merged, std::move(*change->array()), f, false));
      else
        merged = std::move(*change->array());
    }
    document.set(target, in_order(std::move(merged), *order.array(), server_order, key));
    return {};
  }

  // What the patch changes must stand in the order list, in the same order.
  static result<void> consistent(const json::value& change, const json::value& order, std::string_view key) {
    auto& ordered = *order.array();
    std::size_t at = 0;
    for (auto& e : *change.array()) {
      if (!key.empty() && (!e.is_object() || e.find(patch_directive))) continue;  // a deletion is in no order
      while (at < ordered.size() && !(key.empty() ? ordered[at] == e : ordered[at][key] == e[key])) ++at;
      if (at == ordered.size())
        return fail(errc::invalid, "The order in patch list:\n" + go_text(change) + "\n doesn't match " +
                                       std::string(order_prefix) + " list:\n" + go_text(order) + "\n");
      ++at;
    }
    return {};
  }

  result<void> list(json::array& document, json::array patch, const field_info* f, bool deletes) {
    if (document.empty() && patch.empty()) return {};
    KEDGE_CHECK(pay(document.size() + patch.size()));
    auto all = {&document, &patch};
    bool objects = false, scalars = false;
    for (auto l : all)
      for (auto& e : *l) {
        if (e.is_array()) return fail(errc::invalid, "lists of lists are not supported");
        if (e.is_null()) return fail(errc::invalid, "list element types are not identical: element of type <nil>");
        (e.is_object() ? objects : scalars) = true;
      }
    if (objects && scalars) return fail(errc::invalid, "list element types are not identical");
    if (deletes) {
      positions gone(patch, {});
      std::erase_if(document, [&](auto& v) { return gone.of(v) >= 0; });
      return {};
    }
    auto server_order = document;
    if (!objects) {
      positions there(document, {});
      for (auto& v : patch) {
        if (there.of(v) >= 0) continue;
        there.add(v, document.size());
        document.push_back(v);
      }
      document = in_order(std::move(document), patch, server_order, {});
      return {};
    }
    auto key = f ? f->patch_merge_key() : std::string_view();
    if (key.empty())
      return fail(errc::invalid, "cannot merge lists without merge key for " + std::string(f ? f->name() : ""));
    KEDGE_TRY(bool replaces, special_elements(document, patch, key));
    if (replaces) {
      document.clear();
      for (auto& e : patch)
        if (auto c = cleaned(std::move(e))) document.push_back(*std::move(c));
      return {};
    }
    positions there(document, key);
    for (auto& e : patch) {
      if (!e.find(key)) return no_merge_key(e, key);
      auto i = there.of(e);
      if (i >= 0) {
        KEDGE_CHECK(map(*document[static_cast<std::size_t>(i)].object(), *e.object(), struct_of(f)));
      } else if (auto c = cleaned(e)) {
        there.add(*c, document.size());
        document.push_back(*std::move(c));
      }
    }
    document = in_order(std::move(document), patch, server_order, key);
    return {};
  }

  // Takes the elements with `$patch` out of the patch and does what they say. True: the patch replaces the list.
  static result<bool> special_elements(json::array& document, json::array& patch, std::string_view key) {
    bool replaces = false;
    json::array rest, deleted;
    for (auto& e : patch) {
      auto directive = e.find(patch_directive);
      if (!directive) {
        rest.push_back(std::move(e));
        continue;
      }
      auto how = directive->as_string();
      if (how == "delete") {
        if (!e.find(key)) return no_merge_key(e, key);
        deleted.push_back(std::move(e));
      } else if (how == "replace") {
        replaces = true;
      } else if (how == "merge") {
        return fail(errc::invalid, "merging lists cannot yet be specified in the patch");
      } else {
        return bad_patch_type(*directive, e);
      }
    }
    if (!deleted.empty()) {
      positions gone(deleted, key);
      std::erase_if(document, [&](auto& v) { return gone.of(v) >= 0; });
    }
    patch = std::move(rest);
    return replaces;
  }

  static constexpr std::size_t work_per_value = 16;
  std::size_t work_left_;
};

}  // namespace

result<json::value> strategic_merge(const type_info& type, json::value document, const json::value& patch) {
  if (!patch.is_object() || !document.is_object()) return fail(errc::invalid, "invalid JSON document");
  KEDGE_CHECK(merger(document, patch).map(*document.object(), *patch.object(), &type));
  return document;
}

}  // namespace kedge::schema
