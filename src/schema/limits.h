// limits.h: the bounds of this folder.
#pragma once

#include <cstddef>

namespace kedge::schema {

// Unknown fields named in one answer. A client can't use more, and a hostile body must not write our reply's length.
inline constexpr std::size_t unknown_fields_max = 100;

// … and how much of the way to each: it may lead through names of a megabyte.
inline constexpr std::size_t place_bytes_max = 1'024;

// Conflicts of an apply that are named.
inline constexpr std::size_t conflicts_named_max = 1'000;

// Messages within messages. The deepest of the table's own is below 30; JSONSchemaProps nest as a CRD's author likes.
inline constexpr int message_depth_max = 256;

// A protobuf message that expands to more than this many values is refused: two bytes can say "one more empty element",
// which costs 40 in memory, so a 3 MiB body would become 60 MB and more.
inline constexpr std::size_t message_values_max = 1'000'000;

}  // namespace kedge::schema
