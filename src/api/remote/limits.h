// limits.h: the bounds of this room, with the reason for each number.
#pragma once

#include <chrono>
#include <cstddef>

namespace kedge::api {

// kube-apiserver's: attempts at one question, how the pause between them grows, and by how much of it it varies.
inline constexpr int remote_attempts = 5;
inline constexpr double remote_backoff_factor = 1.5, remote_backoff_jitter = 0.2;
// An answer's body: a review with its user and his groups takes some KiB.
inline constexpr std::size_t remote_answer_max_bytes = 1024 * 1024;
// client-go's: how long a token that was read from a file is used before the file is read again.
inline constexpr std::chrono::minutes token_file_time{1};
// A file with a token or a password.
inline constexpr std::size_t token_file_max_bytes = 64 * 1024;

}  // namespace kedge::api
