// limits.h: the bounds of this room, with the reason for each number.
#pragma once

#include <cstddef>

namespace kedge::api {

// Below this size an answer is not worth compressing (kube-apiserver's threshold).
inline constexpr std::size_t gzip_min_bytes = 128 * 1024;
// Uncompressed input a turn of the loop compresses: about 1 ms at zlib level 1.
inline constexpr std::size_t gzip_piece_bytes = 64 * 1024;

// A larger object is put into another form by another thread: reading and encoding it takes some 20 ms a megabyte.
inline constexpr std::size_t encoded_apart_bytes = 128 * 1024;

// Encoded frames and decoded objects of recent events that a core keeps for its other watchers.
inline constexpr std::size_t frame_cache_entries = 256;
inline constexpr std::size_t parsed_cache_entries = 128;

// Warnings: a text longer than this is cut when all of them together pass the second bound.
inline constexpr std::size_t warning_text_max_bytes = 256;
inline constexpr std::size_t warnings_max_bytes = 4096;
// And no more headers than this: Python's clients refuse an answer with more than a hundred, of which others take some.
inline constexpr std::size_t warnings_max = 64;

}  // namespace kedge::api
