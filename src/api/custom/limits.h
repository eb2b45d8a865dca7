// limits.h: the bounds of this room, with the reason for each number.
#pragma once

#include <chrono>
#include <cstddef>

namespace kedge::api {

// How soon a watch of a custom resource ends after its definition was changed or removed.
inline constexpr std::chrono::seconds custom_watch_check{5};

// Warnings of rules that were broken before, of one object: no answer carries more of them.
inline constexpr std::size_t rule_warnings_max = 64;

// What one call of a converting webhook has: some hundred usual objects, and no body that such servers refuse.
inline constexpr std::size_t conversion_objects_max = 500;
inline constexpr std::size_t conversion_bytes_max = 2 * 1024 * 1024;
// What a core remembers of what was converted: the answers to a list that is read again, and to many watchers of one.
inline constexpr std::size_t converted_kept_bytes = 8 * 1024 * 1024;

}  // namespace kedge::api
