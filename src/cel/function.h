// function.h: how functions are declared: a name, and an overload for each list of types that it takes.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cel/type.h"
#include "cel/value.h"

namespace kedge::cel {

// Pure: the same arguments give the same result on every core. What can't be done is an error value.
using implementation = value (*)(std::span<const value> arguments, arena& memory);

struct overload {
  std::string id;  // "string_to_int": known by name to the costs
  bool member = false;
  std::vector<type> arguments;  // of a member: the receiver first
  type result;
  implementation run = nullptr;
  bool takes_errors = false;  // also called with error values instead of giving the first of them
};

struct function {
  std::string name;  // "startsWith", "ip.isCanonical", "_+_"
  std::vector<overload> overloads;
};

}  // namespace kedge::cel
