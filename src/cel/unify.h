// unify.h: whether types fit each other, and what stands for the unknown in them: a free variable of the checker is a
// type parameter "_var7" that gets its meaning by what it has to fit.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "cel/type.h"

namespace kedge::cel {

class unifier {
 public:
  type fresh();
  // Whether a value of `from` can stand where `to` is wanted; when it can't, nothing was learnt.
  bool fits(const type& to, const type& from);
  bool all_fit(std::span<const type> to, std::span<const type> from);
  // With all that is known put in; `unknown_is_dyn`: and what isn't known as dyn.
  type known(const type& t, bool unknown_is_dyn) const;

  static bool is_dyn_or_error(const type& t) noexcept { return t.is_dyn() || t.is(type_kind::error); }
  // The one that says less of two that fit.
  static type more_general(const type& a, const type& b);

 private:
  std::optional<std::size_t> variable_of(const type& t) const;
  const type* find(const type& t) const;
  void bind(const type& variable, const type& to);
  void undo(std::size_t mark);
  bool assignable(const type& a, const type& b);
  bool assignable_all(std::span<const type> a, std::span<const type> b);
  struct substitution {
    bool valid, known;
  };
  substitution substitutes(const type& t, const type& variable);
  bool free_of(const type& variable, const type& within) const;

  std::vector<std::optional<type>> bound_;
  struct change {
    std::size_t variable;
    std::optional<type> before;
  };
  std::vector<change> changes_;
};

}  // namespace kedge::cel
