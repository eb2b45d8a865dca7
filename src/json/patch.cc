// patch.cc: the two patch formats that know nothing of Kubernetes' types.
//
// A failed operation is errc::conflict (the document is not as the patch wants it), a patch that is none is errc::invalid:
// the API answers them differently (422 and 400).
#include "json/patch.h"

#include <algorithm>
#include <optional>

#include "base/strings.h"
#include "json/limits.h"
#include "json/write.h"

namespace kedge::json {

namespace {

result<std::vector<std::string>> tokens_of(std::string_view pointer) {
  std::vector<std::string> tokens;
  if (pointer.empty()) return tokens;
  if (pointer.front() != '/') return fail(errc::invalid, "JSON pointer " + quote(pointer) + " does not start with \"/\"");
  for (auto part : split(pointer.substr(1), '/')) {
    std::string token;
    for (std::size_t i = 0; i < part.size(); ++i) {
      if (part[i] != '~') {
        token += part[i];
        continue;
      }
      ++i;
      if (i == part.size() || (part[i] != '0' && part[i] != '1'))
        return fail(errc::invalid, "JSON pointer " + quote(pointer) + " has a \"~\" that is neither ~0 nor ~1");
      token += part[i] == '0' ? '~' : '/';
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

// An array position: decimal without leading zeros (RFC 6901 §4).
std::optional<std::size_t> index_of(std::string_view token, std::size_t size) {
  if (token.empty() || token.front() == '+' || (token.size() > 1 && token.front() == '0')) return std::nullopt;
  auto n = parse_uint(token);
  if (!n || *n >= size) return std::nullopt;
  return static_cast<std::size_t>(*n);
}

value* step(value& at, std::string_view token) {
  if (auto o = at.object()) return o->find(token);
  if (auto a = at.array())
    if (auto i = index_of(token, a->size())) return &(*a)[*i];
  return nullptr;
}

std::size_t depth_of(const value& v) {
  std::size_t deepest = 0;
  if (auto a = v.array())
    for (auto& e : *a) deepest = std::max(deepest, depth_of(e));
  if (auto o = v.object())
    for (auto& m : *o) deepest = std::max(deepest, depth_of(m.value));
  return deepest + (v.is_array() || v.is_object() ? 1 : 0);
}

class patcher {
 public:
  explicit patcher(value document) : document_(std::move(document)) {}
  value take() { return std::move(document_); }

  result<void> apply(const value& operation) {
    auto op = operation["op"].as_string();
    auto path = operation.find("path");
    if (!path || !path->is_string()) return fail(errc::conflict, "JSON patch operation without a path");
    auto value_of = [&]() -> result<value> {
      auto v = operation.find("value");
      if (!v) return fail(errc::conflict, std::string(op) + " operation without a value");
      return *v;
    };
    if (op == "add") {
      KEDGE_TRY(auto v, value_of());
      return add(path->as_string(), std::move(v));
    }
    if (op == "replace") {
      KEDGE_TRY(auto v, value_of());
      return replace(path->as_string(), std::move(v));
    }
    if (op == "test") {
      auto v = operation.find("value");
      return test(path->as_string(), v ? *v : value());
    }
    if (op == "remove") {
      KEDGE_CHECK(remove(path->as_string()));
      return {};
    }
    auto from = operation.find("from");
    if (op != "move" && op != "copy") return fail(errc::conflict, "Unexpected kind: " + std::string(op));
    if (!from || !from->is_string()) return fail(errc::conflict, std::string(op) + " operation without from");
    return op == "move" ? move(from->as_string(), path->as_string()) : copy(from->as_string(), path->as_string());
  }

 private:
  static std::unexpected<error> missing(std::string_view path) {
    return fail(errc::conflict, "path " + quote(path) + " does not exist");
  }

  result<value*> find(std::string_view path) {
    KEDGE_TRY(auto tokens, tokens_of(path));
    auto at = &document_;
    for (auto& t : tokens)
      if (!(at = step(*at, t))) return missing(path);
    return at;
  }

  // The container of the last token.
  result<std::pair<value*, std::string>> parent_of(std::string_view path) {
    KEDGE_TRY(auto tokens, tokens_of(path));
    if (tokens.empty()) return std::pair<value*, std::string>(nullptr, {});
    auto last = std::move(tokens.back());
    tokens.pop_back();
    auto at = &document_;
    for (auto& t : tokens)
      if (!(at = step(*at, t))) return missing(path);
    if (!at->is_object() && !at->is_array()) return missing(path);
    return std::pair(at, std::move(last));
  }

  result<void> add(std::string_view path, value v) {
    if (static_cast<std::size_t>(std::ranges::count(path, '/')) + depth_of(v) > patched_depth_max)
      return fail(errc::conflict, "JSON patch nests deeper than " + std::to_string(patched_depth_max) + " levels");
    KEDGE_TRY(auto at, parent_of(path));
    auto& [parent, token] = at;
    if (!parent) {
      document_ = std::move(v);
      return {};
    }
    if (auto o = parent->object()) {
      o->set(token, std::move(v));
      return {};
    }
    auto& a = *parent->array();
    auto i = token == "-" ? std::optional(a.size()) : index_of(token, a.size() + 1);
    if (!i) return missing(path);
    a.insert(a.begin() + static_cast<std::ptrdiff_t>(*i), std::move(v));
    return {};
  }

  result<value> remove(std::string_view path) {
    KEDGE_TRY(auto at, parent_of(path));
    auto& [parent, token] = at;
    if (!parent) return std::exchange(document_, value());
    auto found = step(*parent, token);
    if (!found) return missing(path);
    auto taken = std::move(*found);
    if (auto o = parent->object())
      o->erase(token);
    else
      parent->array()->erase(parent->array()->begin() + (found - parent->array()->data()));
    return taken;
  }

  result<void> replace(std::string_view path, value v) {
    KEDGE_TRY(auto at, find(path));
    if (static_cast<std::size_t>(std::ranges::count(path, '/')) + depth_of(v) > patched_depth_max)
      return fail(errc::conflict, "JSON patch nests deeper than " + std::to_string(patched_depth_max) + " levels");
    *at = std::move(v);
    return {};
  }

  // A missing member equals null, as in the library that kube-apiserver uses.
  result<void> test(std::string_view path, const value& wanted) {
    auto at = find(path);
    if (!at && at.error().code == errc::invalid) return fail(std::move(at).error());
    if (at ? **at == wanted : wanted.is_null()) return {};
    return fail(errc::conflict, "testing value " + std::string(path) + " failed");
  }

  result<void> move(std::string_view from, std::string_view to) {
    if (to.starts_with(from) && to.size() > from.size() && to[from.size()] == '/')
      return fail(errc::conflict, "cannot move " + quote(from) + " into itself");
    KEDGE_TRY(auto taken, remove(from));
    return add(to, std::move(taken));
  }

  result<void> copy(std::string_view from, std::string_view to) {
    KEDGE_TRY(auto at, find(from));
    copied_bytes_ += write(*at).size();
    if (copied_bytes_ > patch_copied_bytes_max)
      return fail(errc::too_large, "Unable to complete the copy, the accumulated size increase of copy is " +
                                       std::to_string(copied_bytes_) + ", exceeding the limit " +
                                       std::to_string(patch_copied_bytes_max));
    return add(to, value(*at));
  }

  value document_;
  std::size_t copied_bytes_ = 0;
};

// In what is new to the document, nulls mean nothing and go.
value without_nulls(value patch) {
  auto o = patch.object();
  if (!o) return patch;
  object kept;
  kept.reserve(o->size());
  for (auto& m : *o)
    if (!m.value.is_null()) kept.set(m.name, without_nulls(std::move(m.value)));
  return kept;
}

void merge(value& target, const value& patch) {
  if (!patch.is_object() || !target.is_object()) {
    target = without_nulls(patch);
    return;
  }
  for (auto& m : *patch.object()) {
    if (m.value.is_null())
      target.erase(m.name);
    else if (auto there = target.find(m.name))
      merge(*there, m.value);
    else
      target.set(m.name, without_nulls(m.value));
  }
}

}  // namespace

result<const value*> resolve_pointer(const value& document, std::string_view pointer) {
  KEDGE_TRY(auto tokens, tokens_of(pointer));
  auto at = const_cast<value*>(&document);  // step only reads
  for (auto& t : tokens)
    if (!(at = step(*at, t))) return nullptr;
  return at;
}

result<value> apply_json_patch(value document, const value& patch) {
  auto operations = patch.array();
  if (!operations) return fail(errc::invalid, "a JSON patch is an array of operations");
  for (auto& o : *operations)
    if (!o.is_object()) return fail(errc::invalid, "a JSON patch operation is an object");
  if (operations->size() > patch_operations_max)
    return fail(errc::too_large, "The allowed maximum operations in a JSON patch is " + std::to_string(patch_operations_max) +
                                     ", got " + std::to_string(operations->size()));
  patcher p(std::move(document));
  for (auto& o : *operations) KEDGE_CHECK(p.apply(o));
  return p.take();
}

value apply_merge_patch(value document, const value& patch) {
  merge(document, patch);
  return document;
}

}  // namespace kedge::json
