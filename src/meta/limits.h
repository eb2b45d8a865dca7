// limits.h: the bounds of what every object has: texts, selectors, metadata, with the reason for each number.
#pragma once

#include <cstddef>

namespace kedge::api {

// What is told of one wrong value, and of all that is wrong with an object.
inline constexpr std::size_t value_told_bytes = 16 * 1024;
inline constexpr std::size_t causes_bytes_max = 1024 * 1024;

// A refused change shows the lines that differ, unless that takes more than some 10 ms of the loop: finding them isn't
// linear.
inline constexpr std::size_t difference_lines_max = 20'000;
inline constexpr std::size_t difference_steps_max = 500'000;

// All annotations of an object together.
inline constexpr std::size_t annotations_max_bytes = 256 * 1024;

// Nesting of a label selector's text is none, but its length in requirements is bounded against hostile queries.
inline constexpr std::size_t selector_requirements_max = 1000;

}  // namespace kedge::api
