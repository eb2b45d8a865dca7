#include "json/write.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

namespace kedge::json {

namespace {

// Whether a byte passes through as it is: printable ASCII without quote and backslash.
constexpr auto plain_bytes = [] {
  struct {
    bool is[256] = {};
  } t;
  for (int c = 0x20; c < 0x80; ++c) t.is[c] = c != '"' && c != '\\';
  return t;
}();

// The same of Size bytes at once (vectors of GCC's and Clang's, on any processor).
template <std::size_t Size>
bool all_plain(const char* at) {
  typedef signed char vector [[gnu::vector_size(Size)]];
  vector bytes;
  std::memcpy(&bytes, at, Size);
  auto other = (bytes < 0x20) | (bytes == '"') | (bytes == '\\');  // signed: what is above ASCII is below 0
  std::uint64_t words[Size / 8], any = 0;
  std::memcpy(words, &other, Size);
  for (auto w : words) any |= w;
  return any == 0;
}

// How many bytes at the start of `s` pass through as they are. Nearly always all: so looked at in blocks, the last of
// which may overlap the one before.
std::size_t plain_length(std::string_view s) {
  constexpr std::size_t block = 16, half = 8;
  std::size_t i = 0;
  while (i + block <= s.size() && all_plain<block>(s.data() + i)) i += block;
  if (i + block > s.size()) {
    if (s.size() >= block) {
      if (all_plain<block>(s.data() + s.size() - block)) return s.size();
    } else if (s.size() >= half && all_plain<half>(s.data()) && all_plain<half>(s.data() + s.size() - half)) {
      return s.size();
    }
  }
  while (i < s.size() && plain_bytes.is[static_cast<unsigned char>(s[i])]) ++i;
  return i;
}

// The length of the valid UTF-8 sequence at the start of `s`, 0 when there is none (RFC 3629: no surrogates, no
// overlong forms, nothing above U+10FFFF).
std::size_t sequence_length(std::string_view s) {
  auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  auto tail = [&](std::size_t i) { return i < s.size() && (byte(i) & 0xc0) == 0x80; };
  unsigned char c = byte(0);
  if (c < 0x80) return 1;
  if (c < 0xc2) return 0;
  if (c < 0xe0) return tail(1) ? 2 : 0;
  if (c < 0xf0) {
    if (!tail(1) || !tail(2)) return 0;
    if (c == 0xe0 && byte(1) < 0xa0) return 0;
    if (c == 0xed && byte(1) > 0x9f) return 0;
    return 3;
  }
  if (c > 0xf4 || !tail(1) || !tail(2) || !tail(3)) return 0;
  if (c == 0xf0 && byte(1) < 0x90) return 0;
  if (c == 0xf4 && byte(1) > 0x8f) return 0;
  return 4;
}

void write_escaped(unsigned char c, std::string& out) {
  static constexpr char digits[] = "0123456789abcdef";
  switch (c) {
    case '"': out += "\\\""; return;
    case '\\': out += "\\\\"; return;
    case '\b': out += "\\b"; return;
    case '\f': out += "\\f"; return;
    case '\n': out += "\\n"; return;
    case '\r': out += "\\r"; return;
    case '\t': out += "\\t"; return;
    default: break;
  }
  out += "\\u00";
  out += digits[c >> 4];
  out += digits[c & 15];
}

void write_integer(std::int64_t n, std::string& out) {
  char text[24];
  out.append(text, std::to_chars(text, text + sizeof text, n).ptr);
}

// encoding/json's float64: as few digits as read back the same, %e only for what is very small or very large, and then
// without the exponent's leading zero.
void write_double(double d, std::string& out) {
  if (!std::isfinite(d)) {
    out += "null";  // JSON has no such number, and the parsers give none
    return;
  }
  if (d == 0) {
    out += '0';  // -0 too: it would be read back as the integer 0, and equal values shall have equal bytes
    return;
  }
  char text[400];
  auto magnitude = std::fabs(d);
  bool exponent = magnitude < 1e-6 || magnitude >= 1e21;
  auto format = exponent ? std::chars_format::scientific : std::chars_format::fixed;
  std::string_view s(text, static_cast<std::size_t>(std::to_chars(text, text + sizeof text, d, format).ptr - text));
  if (exponent && s.size() >= 4 && s[s.size() - 4] == 'e' && s[s.size() - 3] == '-' && s[s.size() - 2] == '0') {
    out += s.substr(0, s.size() - 2);
    out += s.back();
    return;
  }
  out += s;
}

void write_scalar(const value& v, std::string& out) {
  switch (v.type()) {
    case type::null: out += "null"; break;
    case type::boolean: out += v.as_bool() ? "true" : "false"; break;
    case type::integer: write_integer(v.as_integer(), out); break;
    case type::number: write_double(v.as_number(), out); break;
    case type::string: write_string(v.as_string(), out); break;
    default: break;
  }
}

void write_lines(const value& v, std::size_t step, std::size_t indent, std::string& out) {
  auto newline = [&](std::size_t n) {
    out += '\n';
    out.append(n, ' ');
  };
  bool first = true;
  if (auto a = v.array(); a && !a->empty()) {
    out += '[';
    for (auto& e : *a) {
      if (!std::exchange(first, false)) out += ',';
      newline(indent + step);
      write_lines(e, step, indent + step, out);
    }
    newline(indent);
    out += ']';
  } else if (auto o = v.object(); o && !o->empty()) {
    out += '{';
    for (auto& m : *o) {
      if (!std::exchange(first, false)) out += ',';
      newline(indent + step);
      write_string(m.name, out);
      out += ": ";
      write_lines(m.value, step, indent + step, out);
    }
    newline(indent);
    out += '}';
  } else {
    write(v, out);
  }
}

}  // namespace

void write_string(std::string_view text, std::string& out) {
  if (plain_length(text) == text.size()) {
    auto before = out.size(), size = before + text.size() + 2;
    out.resize_and_overwrite(size, [&](char* at, std::size_t) {
      at[before] = '"';
      std::copy_n(text.data(), text.size(), at + before + 1);
      at[size - 1] = '"';
      return size;
    });
    return;
  }
  out += '"';
  std::size_t i = 0;
  while (i < text.size()) {
    auto plain = plain_length(text.substr(i));
    out += text.substr(i, plain);
    i += plain;
    if (i == text.size()) break;
    auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x80) {
      write_escaped(c, out);
      ++i;
      continue;
    }
    auto rest = text.substr(i);
    auto length = sequence_length(rest);
    if (length == 0) {
      out += "\\ufffd";
      ++i;
      continue;
    }
    // JavaScript took these two for line ends; Go escapes them ever since.
    if (rest.starts_with("\xe2\x80\xa8"))
      out += "\\u2028";
    else if (rest.starts_with("\xe2\x80\xa9"))
      out += "\\u2029";
    else
      out += rest.substr(0, length);
    i += length;
  }
  out += '"';
}

void write(const value& v, std::string& out) {
  if (auto o = v.object()) {
    char separator = '{';
    for (auto& m : *o) {
      out += separator;
      separator = ',';
      write_string(m.name, out);
      out += ':';
      write(m.value, out);
    }
    out += o->empty() ? "{}" : "}";
  } else if (auto a = v.array()) {
    char separator = '[';
    for (auto& e : *a) {
      out += separator;
      separator = ',';
      write(e, out);
    }
    out += a->empty() ? "[]" : "]";
  } else {
    write_scalar(v, out);
  }
}

std::string write(const value& v) {
  std::string out;
  write(v, out);
  return out;
}

namespace {

// False when `out` has reached `end`, and `v` isn't whole.
bool write_until(const value& v, std::size_t end, std::string& out) {
  if (out.size() >= end) return false;
  if (auto s = v.string(); s && s->size() > end - out.size()) {
    auto cut = end - out.size();
    while (cut > 0 && (static_cast<unsigned char>((*s)[cut]) & 0xc0) == 0x80) --cut;  // not within a character
    write_string(std::string_view(*s).substr(0, cut), out);
    return false;
  }
  auto o = v.object();
  auto a = v.array();
  if (!o && !a) {
    write_scalar(v, out);
    return true;
  }
  bool first = true;
  auto next = [&] {
    if (!std::exchange(first, false)) out += ',';
  };
  out += o ? '{' : '[';
  if (o)
    for (auto& m : *o) {
      next();
      if (!write_until(value(m.name), end, out)) return false;
      out += ':';
      if (!write_until(m.value, end, out)) return false;
    }
  else
    for (auto& e : *a) {
      next();
      if (!write_until(e, end, out)) return false;
    }
  out += o ? '}' : ']';
  return true;
}

}  // namespace

std::string write_beginning(const value& v, std::size_t bytes) {
  std::string out;
  if (!write_until(v, bytes, out)) out += "...";
  return out;
}

std::string write_indented(const value& v, int spaces) {
  std::string out;
  write_lines(v, static_cast<std::size_t>(spaces), 0, out);
  return out;
}

}  // namespace kedge::json
