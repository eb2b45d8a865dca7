#include "cel/unescape.h"

#include <cstddef>

#include "cel/utf8.h"

namespace kedge::cel {

namespace {

// \r\n and \r are \n, whatever the machine on which a policy was written.
std::string with_plain_lines(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r') {
      out += '\n';
      if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

int digit_value(char c) noexcept { return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10; }

bool valid_character(char32_t c) noexcept { return c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF); }

char simple_escape(char c) noexcept {
  switch (c) {
    case 'a': return '\a';
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'v': return '\v';
    default: return c;  // quotes, backslash, question mark
  }
}

}  // namespace

std::expected<std::string, std::string> unescape(std::string_view token, bool bytes) {
  const std::string lines = with_plain_lines(token);
  std::string_view text = lines;
  const bool raw = text[0] == 'r' || text[0] == 'R';
  if (raw) text.remove_prefix(1);
  const std::size_t quotes = text.size() >= 6 && text[0] == text[1] && text[1] == text[2] ? 3 : 1;
  text = text.substr(quotes, text.size() - 2 * quotes);
  if (raw) return std::string(text);
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] != '\\') {
      out += text[i++];
      continue;
    }
    // The lexer let only whole escapes through.
    const char c = text[i + 1];
    const std::size_t digits = c == 'x' || c == 'X' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : c >= '0' && c <= '3' ? 3 : 0;
    if (digits == 0) {
      out += simple_escape(c);
      i += 2;
      continue;
    }
    const bool octal = c >= '0' && c <= '3';
    if (bytes && (c == 'u' || c == 'U')) return std::unexpected("unable to unescape string");
    i += octal ? 1 : 2;
    char32_t code = 0;
    for (std::size_t n = 0; n < digits; ++n)
      code = code * (octal ? 8 : 16) + static_cast<char32_t>(digit_value(text[i++]));
    if (bytes)
      out += static_cast<char>(code);
    else if (!valid_character(code))
      return std::unexpected("invalid unicode code point");
    else
      utf8_append(out, code);
  }
  return out;
}

}  // namespace kedge::cel
