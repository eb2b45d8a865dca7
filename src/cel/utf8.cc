#include "cel/utf8.h"

namespace kedge::cel {

character utf8_first(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char a = byte(0);
  if (a < 0x80) return {a, 1};
  const std::size_t n = a >= 0xF0 ? 4 : a >= 0xE0 ? 3 : 2;
  if (a < 0xC2 || a > 0xF4 || text.size() < n) return {0xFFFD, 1};
  char32_t code = a & (0x7F >> n);
  for (std::size_t i = 1; i < n; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {0xFFFD, 1};
    code = code << 6 | (byte(i) & 0x3F);
  }
  const bool overlong = (n == 3 && code < 0x800) || (n == 4 && code < 0x10000);
  if (overlong || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return {0xFFFD, 1};
  return {code, n};
}

std::size_t utf8_count(std::string_view text) noexcept {
  std::size_t n = 0;
  while (!text.empty()) {
    // The common case in one step.
    if (static_cast<unsigned char>(text[0]) < 0x80)
      text.remove_prefix(1);
    else
      text.remove_prefix(utf8_first(text).bytes);
    ++n;
  }
  return n;
}

bool utf8_valid(std::string_view text) noexcept {
  while (!text.empty()) {
    const character c = utf8_first(text);
    if (c.code == 0xFFFD && c.bytes == 1) return false;
    text.remove_prefix(c.bytes);
  }
  return true;
}

void utf8_append(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

std::size_t utf8_offset(std::string_view text, std::size_t n) noexcept {
  std::size_t at = 0;
  for (; n > 0 && at < text.size(); --n) at += utf8_first(text.substr(at)).bytes;
  return at;
}

}  // namespace kedge::cel
