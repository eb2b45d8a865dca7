// limits.h: the bounds of this room, with the reason for each number.
#pragma once

#include <chrono>

namespace kedge::api {

// How soon a watch of a custom resource ends after its definition was changed or removed.
inline constexpr std::chrono::seconds custom_watch_check{5};

}  // namespace kedge::api
