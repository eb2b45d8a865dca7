// limits.h: the bounds of this room, with the reason for each number.
#pragma once

#include <cstddef>

namespace kedge::api {

// A configuration file. The largest that people write, audit policies with a rule for each resource, take some ten
// KiB; a file of this size is read within milliseconds.
inline constexpr std::size_t configuration_file_max_bytes = 1024 * 1024;
// Findings that are told of one file: who wrote more than that wrong will ask again.
inline constexpr std::size_t findings_max = 20;

}  // namespace kedge::api
