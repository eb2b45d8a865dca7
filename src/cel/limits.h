// limits.h: what bounds the work and memory of an expression. The costs themselves are given by the caller.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kedge::cel {

// cel-go's defaults, which decide whether a text is an expression at all: characters of a text, levels of nested
// expressions.
constexpr std::size_t text_max_characters = 100'000;
constexpr int parse_depth_max = 250;

// Issues that are listed; the rest is counted (cel-go's number).
constexpr std::size_t issues_max = 100;

// Nodes after macros are expanded. Macros multiply what they are given (`has` nothing, `map` with three arguments its
// ends), so that nested ones could grow beyond the text; the text's own bound leaves a long way to this.
constexpr std::size_t nodes_max = 150'000;

// Levels of a value that are compared or told as text: JSON bodies are parsed to a depth of their own, values that
// expressions build are as deep as the expression.
constexpr int value_depth_max = 2'000;

// Memory that one evaluation may take. Costs bound steps, not sizes: adding a list to itself is one step.
constexpr std::size_t memory_max_bytes = std::size_t{64} << 20;

// Elements that comparisons may look at in one arena. Comparing two documents is one step by the costs, and a fold may
// do it over and over; this many take some tenths of a second, in parts.
constexpr std::size_t comparisons_max = 10'000'000;

// Work until others may have their turn (paced.h), in steps: some two milliseconds. A comparison is as much as several
// steps: it finds members by their names.
constexpr std::size_t part_work = 100'000, work_of_comparison = 8;

// Programs of regular expressions (RE2's own measure), the same for those of the text and of the data.
constexpr std::int64_t regex_memory_max_bytes = std::int64_t{8} << 20;

}  // namespace kedge::cel
