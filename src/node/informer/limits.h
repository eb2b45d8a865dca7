// limits.h: bounds of the node's copies of the cluster.
#pragma once

#include <cstddef>

namespace kedge::node {

inline constexpr std::size_t page_objects = 250;
// A page: an object has at most 1.5 MB, and a slice of 1000 endpoints some 300 KB.
inline constexpr std::size_t page_bytes_max = 64 * 1024 * 1024;
inline constexpr std::size_t pages_max = 4000;  // a million objects: more than a server serves
inline constexpr std::size_t event_bytes_max = 4 * 1024 * 1024;

}  // namespace kedge::node
