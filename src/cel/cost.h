// cost.h: what an expression may cost, told before it runs, as ranges.
//
// The numbers are cel-go's, because limits are stated in them: a step costs 1, text a tenth of a step a character. A
// model adds what functions of its own cost, in both ways: estimated from sizes, and reckoned from the values.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cel/type.h"
#include "cel/value.h"

namespace kedge::cel {

// From … to; sums and products stop at the largest number instead of overflowing.
struct range {
  std::uint64_t min = 0, max = 0;
  static range exactly(std::uint64_t n) noexcept { return {n, n}; }
  static range unknown() noexcept { return {0, UINT64_MAX}; }
  range operator+(range other) const noexcept;
  range operator*(range other) const noexcept;
  range scaled(double factor) const noexcept;  // rounded up
  range either(range other) const noexcept;    // what covers both
  bool operator==(const range&) const = default;
};

constexpr double cost_of_character = 0.1;
constexpr double cost_of_regex_character = 0.25;
constexpr std::uint64_t cost_of_list = 10, cost_of_map = 30, cost_of_object = 40;

// An argument as estimates see it.
struct estimated_part {
  // From a variable through fields; "@items", "@keys", "@values" step into lists and maps. Empty when it is no place
  // in a variable.
  std::vector<std::string> path;
  cel::type type;
  std::optional<range> size;             // known from the text alone
  std::optional<std::int64_t> constant;  // of an int in the text
};

// How large data can be, which only its schema knows.
class size_model {
 public:
  virtual ~size_model() = default;
  virtual std::optional<range> size_of(const estimated_part& part) const = 0;
};

struct call_estimate {
  range cost;
  std::optional<range> result_size;
};

// The size of an argument, from the text or from the model.
range size_of(const estimated_part& part, const size_model* sizes);
// An int that stands in the text, negative ones as 0; else what is given.
std::uint64_t constant_or(const estimated_part& part, std::uint64_t otherwise) noexcept;

using call_cost = std::uint64_t (*)(std::span<const value> arguments, const value& result);

// What calls cost beyond the standard. Immutable, shared by cores.
class cost_model {
 public:
  virtual ~cost_model() = default;
  // `target` is null for functions that are no methods; `sizes` may be null. Nothing: the standard's.
  virtual std::optional<call_estimate> estimate(std::string_view function, std::string_view overload,
                                                const estimated_part* target, std::span<const estimated_part> arguments,
                                                const size_model* sizes) const = 0;
  // Null: the standard's. Of a function, whichever overload: `overload` is empty when only the running tells which.
  virtual call_cost reckon(std::string_view function, std::string_view overload) const = 0;
};

// What costs are reckoned with: its size, 1 for what has none, of an optional that of what it holds.
std::uint64_t size_for_cost(const value& v) noexcept;

}  // namespace kedge::cel
