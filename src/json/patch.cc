// patch.cc: the two patch formats that know nothing of Kubernetes' types.
//
// A failed operation is errc::conflict (the document is not as the patch wants it), a patch that is none is
// errc::invalid: the API answers them differently (422 and 400). JSON Patch is understood as kube-apiserver's library
// does, which is laxer than RFC 6902 here and there: negative indices count from the end, what stands before the first
// slash of a path is passed over, a member that isn't there is as good as null.
#include "json/patch.h"

#include <algorithm>
#include <optional>

#include "base/strings.h"
#include "json/limits.h"
#include "json/write.h"

namespace kedge::json {

namespace {

// The steps of a path; nullopt when there is none, not even to the document.
std::optional<std::vector<std::string>> steps_of(std::string_view path) {
  auto slash = path.find('/');
  if (slash == path.npos) return std::nullopt;
  std::vector<std::string> steps;
  for (auto part : split(path.substr(slash + 1), '/')) {
    std::string step;
    for (std::size_t i = 0; i < part.size(); ++i) {
      const bool escaped = part[i] == '~' && i + 1 < part.size() && (part[i + 1] == '0' || part[i + 1] == '1');
      step += !escaped ? part[i] : part[++i] == '0' ? '~' : '/';
    }
    steps.push_back(std::move(step));
  }
  return steps;
}

// A position in a list of `size` items, as Go's Atoi reads a number; a negative one counts from its end.
std::optional<std::size_t> index_of(std::string_view text, std::size_t size) {
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  auto n = parse_int(text);
  if (!n) return std::nullopt;
  const auto count = static_cast<std::int64_t>(size);
  if (*n < -count || *n >= count) return std::nullopt;
  return static_cast<std::size_t>(*n < 0 ? *n + count : *n);
}

// Also counts the values.
std::size_t depth_of(const value& v, std::size_t& count) {
  ++count;
  std::size_t deepest = 0;
  if (auto a = v.array())
    for (auto& e : *a) deepest = std::max(deepest, depth_of(e, count));
  if (auto o = v.object())
    for (auto& m : *o) deepest = std::max(deepest, depth_of(m.value, count));
  return deepest + (v.is_array() || v.is_object() ? 1 : 0);
}

// As texts they are the same: 1 is not 1.0.
bool same(const value& a, const value& b) {
  if (a.is_number() && b.is_number()) return a.is_integer() == b.is_integer() && a == b;
  if (auto x = a.array()) {
    auto y = b.array();
    return y && std::equal(x->begin(), x->end(), y->begin(), y->end(), same);
  }
  auto x = a.object(), y = b.object();
  if (!x || !y) return !x && !y && a == b;
  return x->size() == y->size() && std::all_of(x->begin(), x->end(), [&](const member& m) {
           auto other = y->find(m.name);
           return other && same(m.value, *other);
         });
}

class patcher {
 public:
  explicit patcher(value document) : document_(std::move(document)) {}
  value take() { return std::move(document_); }

  result<void> apply(const value& operation) {
    auto op = operation["op"].as_string();
    auto &path = operation["path"], &from = operation["from"];
    const auto& v = operation["value"];
    const bool moves = op == "move" || op == "copy";
    if (!moves && op != "add" && op != "remove" && op != "replace" && op != "test")
      return fail(errc::conflict, "Unexpected kind: " + std::string(op));
    if (!path.is_string()) return fail(errc::conflict, std::string(op) + " operation without a path");
    if (moves && !from.is_string()) return fail(errc::conflict, std::string(op) + " operation without from");
    if (op == "add") return add(path.as_string(), v);
    if (op == "remove") return remove(path.as_string());
    if (op == "replace") return replace(path.as_string(), v);
    if (op == "test") return test(path.as_string(), v);
    return op == "move" ? move(from.as_string(), path.as_string()) : copy(from.as_string(), path.as_string());
  }

 private:
  // In the words of the library that kube-apiserver has.
  static std::unexpected<error> missing(std::string_view op, std::string_view path) {
    const bool quoted = op == "add" || op == "remove";
    auto what = op == "move" || op == "copy" ? " operation does not apply: doc is missing from path: "
                : op == "test"               ? " operation does not apply: is missing path: "
                                             : " operation does not apply: doc is missing path: ";
    return fail(errc::conflict,
                std::string(op) + what + (quoted ? quote(path) : std::string(path)) + ": missing value");
  }
  static std::unexpected<error> no_such_index(std::string_view op, std::string_view path, std::string_view step) {
    return fail(errc::conflict, "error in " + std::string(op) + " for path: '" + std::string(path) +
                                    "': Unable to access invalid index: " + std::string(step) +
                                    ": invalid index referenced");
  }

  // Where an operation acts: the last step of its path, in the object or list before it.
  struct target {
    value* in;
    std::string step;

    // The value there, if any.
    value* there() const {
      if (auto o = in->object()) return o->find(step);
      auto i = index_of(step, in->size());
      return i ? &(*in->array())[*i] : nullptr;
    }
    // The same, but null of a member that isn't there.
    const value* get() const {
      static const value null;
      auto v = there();
      return v || in->is_array() ? v : &null;
    }
  };

  result<target> find(std::string_view op, std::string_view path) {
    auto steps = steps_of(path);
    if (!steps) return missing(op, path);
    auto last = std::move(steps->back());
    steps->pop_back();
    auto at = &document_;
    for (auto& s : *steps) {
      if (auto o = at->object())
        at = o->find(s);
      else if (auto i = index_of(s, at->size()); auto a = at->array())
        at = i ? &(*a)[*i] : nullptr;
      else
        at = nullptr;
      if (!at) return missing(op, path);
    }
    if (!at->is_object() && !at->is_array()) return missing(op, path);
    return target{at, std::move(last)};
  }

  result<void> check_depth(std::string_view path, const value& v) {
    std::size_t values = 0;
    const auto depth = depth_of(v, values);
    KEDGE_CHECK(pay(values));
    if (static_cast<std::size_t>(std::ranges::count(path, '/')) + depth <= patched_depth_max) return {};
    return fail(errc::conflict, "JSON patch nests deeper than " + std::to_string(patched_depth_max) + " levels");
  }

  result<void> add(std::string_view path, value v) {
    KEDGE_CHECK(check_depth(path, v));
    KEDGE_TRY(auto at, find("add", path));
    if (auto o = at.in->object()) {
      o->set(at.step, std::move(v));
      return {};
    }
    auto& a = *at.in->array();
    // One more place than there are items: -1 is behind the last.
    auto i = at.step == "-" ? std::optional(a.size()) : index_of(at.step, a.size() + 1);
    if (!i) return no_such_index("add", path, at.step);
    KEDGE_CHECK(pay(a.size() - *i));
    a.insert(a.begin() + static_cast<std::ptrdiff_t>(*i), std::move(v));
    return {};
  }

  result<void> remove(std::string_view path) {
    KEDGE_TRY(auto at, find("remove", path));
    if (auto o = at.in->object()) {
      KEDGE_CHECK(pay(o->size()));
      if (!o->erase(at.step))
        return fail(errc::conflict, "error in remove for path: '" + std::string(path) +
                                        "': Unable to remove nonexistent key: " + at.step + ": missing value");
      return {};
    }
    auto& a = *at.in->array();
    auto i = index_of(at.step, a.size());
    if (!i) return no_such_index("remove", path, at.step);
    KEDGE_CHECK(pay(a.size() - *i));
    a.erase(a.begin() + static_cast<std::ptrdiff_t>(*i));
    return {};
  }

  result<void> replace(std::string_view path, value v) {
    if (path.empty()) {
      if (!v.is_object() && !v.is_array())
        return fail(errc::conflict, "replace operation value must be object or array");
      document_ = std::move(v);
      return {};
    }
    KEDGE_CHECK(check_depth(path, v));
    KEDGE_TRY(auto at, find("replace", path));
    if (auto o = at.in->object()) {
      o->set(at.step, std::move(v));  // even when it isn't there
      return {};
    }
    auto& a = *at.in->array();
    auto i = index_of(at.step, a.size());
    if (!i)
      return fail(errc::conflict,
                  "replace operation does not apply: doc is missing key: " + std::string(path) + ": missing value");
    a[*i] = std::move(v);
    return {};
  }

  result<void> test(std::string_view path, const value& wanted) {
    const value* is = &document_;
    if (!path.empty()) {
      KEDGE_TRY(auto at, find("test", path));
      is = at.get();
    }
    if (is && same(*is, wanted)) return {};
    return fail(errc::conflict, "testing value " + std::string(path) + " failed");
  }

  result<void> move(std::string_view from, std::string_view to) {
    KEDGE_TRY(auto at, find("move", from));
    auto v = at.there();
    if (!v) return missing("move", from);
    auto taken = std::move(*v);
    KEDGE_CHECK(remove(from));
    return add(to, std::move(taken));
  }

  result<void> copy(std::string_view from, std::string_view to) {
    KEDGE_TRY(auto at, find("copy", from));
    auto v = at.get();
    if (!v) return missing("copy", from);
    KEDGE_CHECK(find("copy", to));
    copied_bytes_ += write(*v).size();
    if (copied_bytes_ > patch_copied_bytes_max)
      return fail(errc::conflict, "Unable to complete the copy, the accumulated size increase of copy is " +
                                      std::to_string(copied_bytes_) + ", exceeding the limit " +
                                      std::to_string(patch_copied_bytes_max));
    return add(to, *v);
  }

  // For elements that an operation moves or looks at, other than those it brings.
  result<void> pay(std::size_t elements) {
    moved_ += elements;
    if (moved_ <= patch_moves_max) return {};
    return fail(errc::too_large, "The operations of the JSON patch move more than " + std::to_string(patch_moves_max) +
                                     " elements of its lists and objects");
  }

  value document_;
  std::size_t copied_bytes_ = 0, moved_ = 0;
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

constexpr std::ptrdiff_t few = 4;  // members that are taken out one by one

void merge(value& target, const value& patch) {
  if (!patch.is_object() || !target.is_object()) {
    target = without_nulls(patch);
    return;
  }
  auto& all = *patch.object();
  auto is_null = [](const member& m) { return m.value.is_null(); };
  if (const auto nulls = std::ranges::count_if(all, is_null); nulls > few) {
    target.object()->erase_if([&](const member& m) {
      auto p = all.find(m.name);
      return p && p->is_null();
    });
  } else if (nulls > 0) {
    for (auto& m : all)
      if (is_null(m)) target.erase(m.name);
  }
  for (auto& m : all) {
    if (is_null(m)) continue;
    if (auto there = target.find(m.name))
      merge(*there, m.value);
    else
      target.set(m.name, without_nulls(m.value));
  }
}

}  // namespace

result<value> apply_json_patch(value document, const value& patch) {
  auto operations = patch.array();
  if (!operations)
    return fail(errc::invalid,
                "json: cannot unmarshal " + std::string(kind_name(patch)) + " into Go value of type jsonpatch.Patch");
  for (auto& o : *operations)
    if (!o.is_object() && !o.is_null())
      return fail(errc::invalid,
                  "json: cannot unmarshal " + std::string(kind_name(o)) + " into Go value of type jsonpatch.Operation");
  if (operations->size() > patch_operations_max)
    return fail(errc::too_large, "The allowed maximum operations in a JSON patch is " +
                                     std::to_string(patch_operations_max) + ", got " +
                                     std::to_string(operations->size()));
  patcher p(std::move(document));
  for (auto& o : *operations) KEDGE_CHECK(p.apply(o));
  return p.take();
}

value apply_merge_patch(value document, const value& patch) {
  merge(document, patch);
  return document;
}

}  // namespace kedge::json
