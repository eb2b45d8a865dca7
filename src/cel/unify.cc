#include "cel/unify.h"

#include <string>
#include <string_view>
#include <utility>

#include "base/strings.h"

namespace kedge::cel {

namespace {

constexpr std::string_view prefix = "_var";

// null fits what has parts of its own.
bool takes_null(const type& t) noexcept {
  switch (t.kind()) {
    case type_kind::opaque:
    case type_kind::object:
    case type_kind::duration:
    case type_kind::timestamp:
    case type_kind::null: return true;
    default: return t.is_dyn() || t.is(type_kind::parameter);
  }
}

// Whether a says no more than b.
bool less_specific(const type& a, const type& b) {
  if (a.is_dyn() || a.is(type_kind::parameter)) return true;
  if (b.is_dyn() || b.is(type_kind::parameter)) return false;
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case type_kind::opaque:
      if (a.name() != b.name() || a.parameters().size() != b.parameters().size()) return false;
      [[fallthrough]];
    case type_kind::list:
    case type_kind::map:
      for (std::size_t i = 0; i < a.parameters().size(); ++i)
        if (!less_specific(a.parameters()[i], b.parameters()[i])) return false;
      return true;
    case type_kind::type: return true;
    default: return a == b;
  }
}

}  // namespace

type unifier::fresh() {
  bound_.emplace_back();
  return type::parameter(std::string(prefix) + std::to_string(bound_.size() - 1));
}

std::optional<std::size_t> unifier::variable_of(const type& t) const {
  if (!t.is(type_kind::parameter) || !std::string_view(t.name()).starts_with(prefix)) return std::nullopt;
  auto n = parse_uint(std::string_view(t.name()).substr(prefix.size()));
  if (!n || *n >= bound_.size()) return std::nullopt;
  return *n;
}

const type* unifier::find(const type& t) const {
  auto n = variable_of(t);
  return n && bound_[*n] ? &*bound_[*n] : nullptr;
}

void unifier::bind(const type& variable, const type& to) {
  if (auto n = variable_of(variable)) {
    changes_.push_back({*n, bound_[*n]});
    bound_[*n] = to;
  }
}

void unifier::undo(std::size_t mark) {
  for (; changes_.size() > mark; changes_.pop_back()) bound_[changes_.back().variable] = changes_.back().before;
}

bool unifier::fits(const type& to, const type& from) {
  const std::size_t mark = changes_.size();
  if (assignable(to, from)) return true;
  undo(mark);
  return false;
}

bool unifier::all_fit(std::span<const type> to, std::span<const type> from) {
  const std::size_t mark = changes_.size();
  if (assignable_all(to, from)) return true;
  undo(mark);
  return false;
}

bool unifier::assignable_all(std::span<const type> a, std::span<const type> b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!assignable(a[i], b[i])) return false;
  return true;
}

bool unifier::assignable(const type& a, const type& b) {
  if (b.is(type_kind::parameter)) {
    const substitution s = substitutes(a, b);
    if (s.valid) return true;
    if (s.known) return false;
  }
  if (a.is(type_kind::parameter)) return substitutes(b, a).valid;
  if (is_dyn_or_error(a) || is_dyn_or_error(b)) return true;
  if (a.is(type_kind::null)) return takes_null(b);
  if (b.is(type_kind::null)) return takes_null(a);
  switch (a.kind()) {
    case type_kind::type: return b.is(type_kind::type);
    case type_kind::opaque:
    case type_kind::list:
    case type_kind::map:
      return a.kind() == b.kind() && a.name() == b.name() && assignable_all(a.parameters(), b.parameters());
    default: return a == b;
  }
}

unifier::substitution unifier::substitutes(const type& t, const type& variable) {
  if (t == variable) return {true, true};
  if (const type* meaning = find(variable)) {
    const type known = *meaning;
    if (t == known) return {true, true};
    if (!assignable(t, known)) return {false, true};
    type wider = more_general(t, known);
    if (free_of(variable, wider)) bind(variable, wider);
    return {true, true};
  }
  if (!free_of(variable, t)) return {false, false};
  bind(variable, t);
  return {true, false};
}

bool unifier::free_of(const type& variable, const type& within) const {
  if (variable == within) return false;
  if (within.is(type_kind::parameter)) {
    const type* meaning = find(within);
    return !meaning || free_of(variable, *meaning);
  }
  for (const type& p : within.parameters())
    if (!free_of(variable, p)) return false;
  return true;
}

type unifier::more_general(const type& a, const type& b) { return less_specific(a, b) ? a : b; }

type unifier::known(const type& t, bool unknown_is_dyn) const {
  if (const type* meaning = find(t)) return known(*meaning, unknown_is_dyn);
  if (t.is(type_kind::parameter)) return unknown_is_dyn ? type::dyn() : t;
  if (t.parameters().empty()) return t;
  std::vector<type> parameters;
  for (const type& p : t.parameters()) parameters.push_back(known(p, unknown_is_dyn));
  switch (t.kind()) {
    case type_kind::list: return type::list(std::move(parameters[0]));
    case type_kind::map: return type::map(std::move(parameters[0]), std::move(parameters[1]));
    case type_kind::type: return type::type_of(std::move(parameters[0]));
    default: return type::opaque(t.name(), std::move(parameters));
  }
}

}  // namespace kedge::cel
