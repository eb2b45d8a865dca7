#include "schema/apply/field_set.h"

#include <algorithm>

#include "json/parse.h"
#include "json/write.h"
#include "schema/limits.h"

namespace kedge::schema::apply {
namespace {

void walk(const field_set& set, field_path& at, const std::function<void(const field_path&)>& see) {
  for (auto& [element, child] : set.children) {
    if (!child.member) continue;
    at.push_back(element);
    see(at);
    at.pop_back();
  }
  for (auto& [element, child] : set.children) {
    at.push_back(element);
    walk(child, at, see);
    at.pop_back();
  }
}

std::string value_text(const json::value& v) {
  auto o = v.object();
  if (!o) return json::write(v);
  std::string out;
  for (auto& m : *o) out += (out.empty() ? "" : ",") + m.name + "=" + value_text(m.value);
  return out;
}

std::string element_text(std::string_view element) {
  auto kind = element.substr(0, 2);
  auto rest = element.substr(2);
  if (kind == "f:") return "." + std::string(rest.substr(0, place_bytes_max));
  if (kind == "i:" || rest.size() > place_bytes_max) return "[" + std::string(rest.substr(0, place_bytes_max)) + "]";
  auto v = json::parse(rest);
  if (!v) return "[" + std::string(rest) + "]";
  return (kind == "v:" ? "[=" : "[") + value_text(*v) + "]";
}

// Numbers in keys and values are ordered as such, ports before all; the text's order is right for everything else.
bool holds_number(std::string_view element) {
  if (element.starts_with("f:")) return false;
  auto first = element.starts_with("k:") ? element.find("\":") + 2 : 2;
  return first < element.size() && element[first] != '"';
}

bool less_value(const json::value& a, const json::value& b) {
  if (a.is_number() && b.is_number()) return a.as_number() < b.as_number();
  if (a.is_string() && b.is_string()) return a.as_string() < b.as_string();
  return json::write(a) < json::write(b);
}

// Of what stands behind "k:" or "v:"; names of keys stand in order.
bool less_element(const json::value& a, const json::value& b) {
  auto left = a.object(), right = b.object();
  if (!left || !right) return less_value(a, b);
  auto l = left->begin();
  auto r = right->begin();
  for (; l != left->end() && r != right->end(); ++l, ++r) {
    if (l->name != r->name) return l->name < r->name;
    if (less_value(l->value, r->value)) return true;
    if (less_value(r->value, l->value)) return false;
  }
  return l == left->end() && r != right->end();
}

using element_child = std::pair<const std::string, field_set>;

std::vector<const element_child*> in_order(const field_set& set) {
  std::vector<std::pair<json::value, const element_child*>> parsed;  // each read once: there may be many
  parsed.reserve(set.children.size());
  for (auto& child : set.children) {
    auto v = json::parse(std::string_view(child.first).substr(2));
    parsed.emplace_back(v ? *std::move(v) : json::value(), &child);
  }
  std::ranges::sort(parsed, [](auto& a, auto& b) {
    // Fields, then keys, then values, then indices.
    constexpr std::string_view kinds = "fkvi";
    auto x = kinds.find(a.second->first[0]), y = kinds.find(b.second->first[0]);
    return x != y ? x < y : less_element(a.first, b.first);
  });
  std::vector<const element_child*> out;
  for (auto& p : parsed) out.push_back(p.second);
  return out;
}

// An element as we spell it, whoever wrote it: spaces and the order of keys don't count.
result<std::string> canonical_element(std::string_view text) {
  auto wrong = [&] { return fail(errc::invalid, "invalid path element " + std::string(text) + " in fieldsV1"); };
  if (text.size() < 2 || text[1] != ':') return wrong();
  if (text[0] == 'f' || text[0] == 'i') return std::string(text);
  if (text[0] != 'k' && text[0] != 'v') return wrong();
  // One key or value without a space or an escape has no other spelling; nearly all are so.
  if (text.find_first_of(" \t\n\r\\,") == std::string_view::npos && (text[0] == 'v' || text.substr(2, 2) == "{\""))
    return std::string(text);
  auto v = json::parse(text.substr(2));
  if (!v) return wrong();
  if (text[0] == 'v') return "v:" + json::write(*v);
  if (!v->is_object()) return wrong();
  std::map<std::string, json::value> sorted;
  for (auto& m : *v->object()) sorted.emplace(m.name, m.value);
  json::object keys;
  for (auto& [name, value] : sorted) keys.set(name, value);
  return "k:" + json::write(std::move(keys));
}

}  // namespace

void field_set::insert(const field_path& path) {
  auto at = this;
  for (auto& element : path) at = &at->children[element];
  at->member = true;
}

bool field_set::has(const field_path& path) const noexcept {
  auto at = this;
  for (auto& element : path) {
    auto it = at->children.find(element);
    if (it == at->children.end()) return false;
    at = &it->second;
  }
  return at->member;
}

void field_set::for_each(const std::function<void(const field_path&)>& see) const {
  field_path at;
  walk(*this, at, see);
}

field_set unite(field_set a, const field_set& b) {
  a.member |= b.member;
  for (auto& [element, child] : b.children) {
    auto [slot, added] = a.children.try_emplace(element);
    slot->second = added ? child : unite(std::move(slot->second), child);
  }
  return a;
}

field_set intersect(const field_set& a, const field_set& b) {
  field_set out;
  out.member = a.member && b.member;
  for (auto& [element, child] : a.children) {
    auto other = b.children.find(element);
    if (other == b.children.end()) continue;
    auto both = intersect(child, other->second);
    if (!both.empty()) out.children.emplace(element, std::move(both));
  }
  return out;
}

namespace {

void take_away(field_set& from, const field_set& what) {
  if (what.member) from.member = false;
  if (what.children.empty()) return;
  // What is taken away is often a long list of which little is there.
  for (auto slot = from.children.begin(); slot != from.children.end();) {
    auto child = what.children.find(slot->first);
    if (child != what.children.end()) take_away(slot->second, child->second);
    slot = child != what.children.end() && slot->second.empty() ? from.children.erase(slot) : std::next(slot);
  }
}

}  // namespace

field_set subtract(field_set a, const field_set& b) {
  take_away(a, b);
  return a;
}

json::value to_fields_v1(const field_set& set) {
  json::object out;
  out.reserve(set.children.size() + 1);
  if (set.member && !set.children.empty()) out.append(".", json::object());
  if (std::ranges::any_of(set.children, [](auto& child) { return holds_number(child.first); })) {
    for (auto child : in_order(set)) out.append(child->first, to_fields_v1(child->second));
  } else {
    for (auto& [element, child] : set.children) out.append(element, to_fields_v1(child));
  }
  return out;
}

namespace {

result<field_set> set_below(const json::value& fields) {
  auto o = fields.object();
  if (!o) return fail(errc::invalid, "fieldsV1 is no object");
  field_set out;
  for (auto& m : *o) {
    if (m.name == ".") {
      out.member = true;
      continue;
    }
    KEDGE_TRY(auto element, canonical_element(m.name));
    KEDGE_TRY(auto child, set_below(m.value));
    if (child.empty()) child.member = true;
    out.children.insert_or_assign(std::move(element), std::move(child));
  }
  return out;
}

}  // namespace

result<field_set> from_fields_v1(const json::value& fields) {
  KEDGE_TRY(auto out, set_below(fields));
  out.member = false;  // the whole object is no field of itself, whatever was written
  return out;
}

std::string path_text(const field_path& path) {
  std::string out;
  for (auto& element : path)
    if (out.size() <= place_bytes_max) out += element_text(element);
  return out;
}

}  // namespace kedge::schema::apply
