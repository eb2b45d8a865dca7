// environment.h: what an expression may use: variables, functions, macros, types of objects.
//
// Immutable once built and shared by cores. `extend` begins a builder with all that an environment has; variables keep
// their slots, so bindings of the larger environment fit programs of the smaller one too.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cel/cost.h"
#include "cel/function.h"
#include "cel/macro.h"
#include "cel/type.h"
#include "cel/value.h"

namespace kedge::cel {

// The objects' types by name. Immutable, shared by cores.
class type_provider {
 public:
  virtual ~type_provider() = default;
  virtual bool has_type(std::string_view name) const = 0;
  virtual std::optional<type> field(std::string_view type_name, std::string_view field) const = 0;
  // What `Name{field: value}` makes. Errors are error values. The default refuses.
  virtual value make(std::string_view type_name, std::span<const std::pair<std::string_view, value>> fields,
                     arena& memory) const;
};

class environment {
 public:
  struct variable {
    std::string name;
    cel::type type;
    std::size_t slot;
  };

  class builder {
   public:
    builder& variable(std::string name, type t);  // again: the newer type counts
    builder& function(cel::function f);           // again: its overloads are added
    builder& macro(cel::macro m);
    // A name that stands for a type ("int"), or for any other value that never changes.
    builder& constant(std::string name, type t, value v);
    // Asked in the order in which they were given.
    builder& types(std::shared_ptr<const type_provider> provider);
    builder& costs(std::shared_ptr<const cost_model> model);
    // Elements of list and map literals must be of one type, and constants of regular expressions, durations and
    // timestamps must be right.
    builder& strict_literals();
    std::shared_ptr<const environment> build();

   private:
    friend class environment;
    builder() = default;
    std::shared_ptr<environment> made_;
  };

  // The language without anything of Kubernetes: operators, conversions, text, time, has/all/exists/…, optionals.
  static builder standard();
  builder extend() const;

  const variable* find_variable(std::string_view name) const;
  const cel::function* find_function(std::string_view name) const;
  const cel::macro* find_macro(std::string_view name, std::size_t arguments, bool member) const;
  struct named {
    type of;
    value is;
  };
  const named* find_constant(std::string_view name) const;
  bool has_type(std::string_view name) const;
  std::optional<type> field(std::string_view type_name, std::string_view field) const;
  const type_provider* provider_of(std::string_view type_name) const;
  const cost_model* costs() const noexcept { return costs_.get(); }
  bool has_strict_literals() const noexcept { return strict_literals_; }
  std::size_t slots() const noexcept { return variables_.size(); }

 private:
  environment() = default;
  std::map<std::string, variable, std::less<>> variables_;
  std::map<std::string, std::shared_ptr<const cel::function>, std::less<>> functions_;
  std::map<std::string, cel::macro, std::less<>> macros_;
  std::map<std::string, std::shared_ptr<const named>, std::less<>> constants_;
  std::vector<std::shared_ptr<const type_provider>> providers_;
  std::shared_ptr<const cost_model> costs_;
  bool strict_literals_ = false;
};

}  // namespace kedge::cel
