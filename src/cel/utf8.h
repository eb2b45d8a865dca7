// utf8.h: characters of text as Go counts them: a byte that begins no valid sequence is a character of its own
// (U+FFFD).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace kedge::cel {

struct character {
  char32_t code;
  std::size_t bytes;
};

// The first character; the text is not empty.
character utf8_first(std::string_view text) noexcept;
inline std::size_t utf8_length(std::string_view text) noexcept { return utf8_first(text).bytes; }
std::size_t utf8_count(std::string_view text) noexcept;
bool utf8_valid(std::string_view text) noexcept;
void utf8_append(std::string& out, char32_t c);
// Where the n-th character begins; the text's size when it has no more.
std::size_t utf8_offset(std::string_view text, std::size_t n) noexcept;

}  // namespace kedge::cel
