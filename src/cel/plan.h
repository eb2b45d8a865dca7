// plan.h: a checked expression in the form that is run: steps in a list, names resolved to slots, constants made.
//
// A variable with all that is selected of it (self.spec.ports[0].name) is one step: an attribute and its qualifiers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cel/arena.h"
#include "cel/ast.h"
#include "cel/check.h"
#include "cel/cost.h"
#include "cel/function.h"
#include "cel/regex.h"
#include "cel/type.h"
#include "cel/value.h"

namespace kedge::cel {

enum class op : std::uint8_t {
  constant,
  attribute,
  conditional,
  logical_and,
  logical_or,
  not_strictly_false,
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal,
  call,
  in_set,
  optional_or,
  optional_or_value,
  list,
  map,
  object,
  fold,
};

using step_id = std::uint32_t;
inline constexpr step_id no_step = UINT32_MAX;

struct qualifier {
  value key;             // a constant, or absent:
  step_id by = no_step;  // what gives it
  bool optional = false;
  bool test_only = false;
};

struct step {
  op what = op::constant;
  value constant;
  std::vector<step_id> parts;  // operands, elements (of maps: key, value, key, …)
  std::vector<bool> optional;  // elements of list, map, object

  // attribute: of what
  enum class base : std::uint8_t { variable, local, part } from = base::part;
  std::uint32_t slot = 0;  // of a variable, of a local
  std::vector<qualifier> qualifiers;
  std::string name;  // of the variable; of an object the type

  // call
  const cel::function* function = nullptr;
  std::vector<const overload*> overloads;
  call_cost cost = nullptr;     // null: one
  bool stops_at_error = false;  // arguments behind one that failed are not looked at
  std::optional<regex> pattern;

  // object
  const type_provider* types = nullptr;
  std::vector<std::string> fields;

  // fold: its locals
  std::uint32_t first = 0, second = 0, accumulator = 0;
  bool two = false;
  step_id range = no_step, condition = no_step, next = no_step, result = no_step;
};

struct plan {
  std::string text;
  type result;
  range cost;
  std::vector<step> steps;
  step_id root = no_step;
  std::vector<step_id> local_begins;  // by local slot: what an accumulator begins with, no_step for other locals
  std::set<std::string, std::less<>> variables;
  arena constants;
};

// The error is a message: a constant that can't be made.
std::expected<std::unique_ptr<plan>, std::string> make_plan(const node& root, const checked& types,
                                                            const environment& env, std::string_view text);

}  // namespace kedge::cel
