// libraries.h: the functions of the language and of its common extensions, to be added to an environment.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cel/environment.h"
#include "cel/function.h"
#include "cel/value.h"

namespace kedge::cel {

void add_standard(environment::builder& b);      // operators, conversions, text, time, and the macros of the language
void add_optionals(environment::builder& b);     // optional.of, orValue, optMap, …
void add_bindings(environment::builder& b);      // cel.bind
void add_two_variable(environment::builder& b);  // all(k, v, …), transformList, transformMap, …
void add_strings(environment::builder& b);       // charAt, indexOf, join, lowerAscii, replace, split, format, …
void add_sets(environment::builder& b);          // sets.contains, equivalent, intersects
void add_lists(environment::builder& b);         // slice, flatten, distinct, reverse, sort, sortBy, lists.range
void add_encoders(environment::builder& b);      // base64.encode, base64.decode

// Parts of add_standard.
void add_operators(environment::builder& b);
void add_conversions(environment::builder& b);
void add_text(environment::builder& b);
void add_time(environment::builder& b);

// Runs the overload that takes the arguments: the chosen one if it is one, else the first that fits.
value call_function(const function& f, std::span<const overload* const> chosen, std::span<const value> arguments,
                    arena& memory);

// A map in the making: of keys that are there twice the later entry counts.
class map_maker {
 public:
  explicit map_maker(arena& memory) : memory_(memory), places_(value::map(memory, {})) {}
  void add(const value& key, const value& v);
  value done() const { return value::map(memory_, entries_); }

 private:
  arena& memory_;
  value places_;  // in entries_, by key
  std::vector<std::pair<value, value>> entries_;
};

value no_such_overload(arena& memory);
// Of a function that asks what its first argument can: text and times are asked themselves, and say only that.
value no_such_overload(std::string_view function, const value& first, arena& memory);

// One overload.
inline overload global(std::string id, std::vector<type> arguments, type result, implementation run = nullptr) {
  return {std::move(id), false, std::move(arguments), std::move(result), run};
}
inline overload method(std::string id, std::vector<type> arguments, type result, implementation run = nullptr) {
  return {std::move(id), true, std::move(arguments), std::move(result), run};
}

}  // namespace kedge::cel
