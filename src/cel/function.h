// function.h: how functions are declared: a name, and an overload for each list of types that it takes.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cel/cost.h"
#include "cel/type.h"
#include "cel/value.h"

namespace kedge::cel {

// Pure: the same arguments give the same result on every core. What can't be done is an error value.
using implementation = value (*)(std::span<const value> arguments, arena& memory);

class regex;
// With the pattern compiled already, when it is a constant of the text.
using implementation_with_regex = value (*)(std::span<const value> arguments, const regex& pattern, arena& memory);

// Nothing: the number of arguments isn't one that it knows.
using call_estimate_function = std::optional<call_estimate> (*)(const estimated_part* target,
                                                                std::span<const estimated_part> arguments,
                                                                const size_model* sizes);

struct overload {
  std::string id;  // "string_to_int": known by name to the costs
  bool member = false;
  std::vector<type> arguments;  // of a member: the receiver first
  type result;
  implementation run = nullptr;
  // What calls cost, when it isn't what the environment's model says or the standard.
  call_estimate_function estimate = nullptr;
  call_cost cost = nullptr;
  // Told of each call in a text that is compiled, for what takes time before the first one runs. `last`: that argument,
  // when it is a constant; else null.
  void (*prepare)(const value* last) = nullptr;
};

struct function {
  std::string name;  // "startsWith", "ip.isCanonical", "_+_"
  std::vector<overload> overloads;
  // Runs all of them and looks at the kinds itself; null when each overload runs alone.
  implementation any = nullptr;
  // Of functions of which an argument is a regular expression: which, and what runs once it is compiled.
  std::size_t pattern = 0;
  implementation_with_regex any_with_regex = nullptr;
};

}  // namespace kedge::cel
