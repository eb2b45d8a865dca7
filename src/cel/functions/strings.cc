// cel-go's string extensions, version 2 (as Kubernetes has them). Places are counted in characters.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cel/functions/format.h"
#include "cel/functions/libraries.h"
#include "cel/utf8.h"

namespace kedge::cel {

namespace {

using args = std::span<const value>;

value out_of_range(std::int64_t i, arena& memory) {
  return value::error(memory, "index out of range: " + std::to_string(i));
}

value char_at(args a, arena& memory) {
  const std::string_view text = a[0].as_text();
  const std::int64_t i = a[1].as_integer();
  const auto n = static_cast<std::int64_t>(utf8_count(text));
  if (i < 0 || i > n) return out_of_range(i, memory);
  if (i == n) return value::string("");
  const std::string_view rest = text.substr(utf8_offset(text, static_cast<std::size_t>(i)));
  return value::string(rest.substr(0, utf8_length(rest)));
}

// In characters; -1 for nowhere.
std::int64_t place_of(std::string_view text, std::size_t byte) {
  return byte == std::string_view::npos ? -1 : static_cast<std::int64_t>(utf8_count(text.substr(0, byte)));
}

value index_from(std::string_view text, std::string_view part, std::int64_t from, arena& memory) {
  if (from < 0) return out_of_range(from, memory);
  const auto n = static_cast<std::int64_t>(utf8_count(text));
  if (part.empty()) return value::integer(std::min(from, n));
  if (from >= n) return value::integer(-1);
  return value::integer(place_of(text, text.find(part, utf8_offset(text, static_cast<std::size_t>(from)))));
}

value index_of(args a, arena& memory) {
  return index_from(a[0].as_text(), a[1].as_text(), a.size() > 2 ? a[2].as_integer() : 0, memory);
}

value last_index_of(args a, arena& memory) {
  const std::string_view text = a[0].as_text(), part = a[1].as_text();
  const auto n = static_cast<std::int64_t>(utf8_count(text));
  if (a.size() == 2) {
    if (part.empty()) return value::integer(n);
    return value::integer(place_of(text, text.rfind(part)));
  }
  const std::int64_t from = a[2].as_integer();
  if (from < 0) return out_of_range(from, memory);
  if (part.empty()) return value::integer(std::min(from, n));
  if (from >= n) return value::integer(-1);
  return value::integer(place_of(text, text.rfind(part, utf8_offset(text, static_cast<std::size_t>(from)))));
}

template <char from, char to>
value in_case(args a, arena& memory) {
  const std::string_view text = a[0].as_text();
  if (!memory.has_room(text.size())) return too_large(memory);
  char* out = memory.space<char>(text.size());
  std::ranges::transform(text, out,
                         [](char c) { return c >= from && c < from + 26 ? static_cast<char>(c - from + to) : c; });
  return value::string({out, text.size()});
}

std::string_view first_character(std::string_view text) { return text.substr(0, utf8_length(text)); }

// At most `most` replacements; all when it is negative.
value replaced(std::string_view text, std::string_view old, std::string_view by, std::int64_t most, arena& memory) {
  std::string out;
  std::int64_t done = 0;
  const auto more = [&] { return most < 0 || done < most; };
  const auto grown = [&] { return !memory.has_room(out.size()); };
  if (old.empty()) {
    // Before each character, and behind the last.
    while (more() && !grown()) {
      out += by;
      ++done;
      if (text.empty()) break;
      out += first_character(text);
      text.remove_prefix(utf8_length(text));
    }
  } else {
    for (std::size_t at = text.find(old); more() && at != std::string_view::npos && !grown(); at = text.find(old)) {
      out += text.substr(0, at);
      out += by;
      text.remove_prefix(at + old.size());
      ++done;
    }
  }
  out += text;
  if (grown()) return too_large(memory);
  return value::string(memory.copy(out));
}

value replace(args a, arena& memory) {
  return replaced(a[0].as_text(), a[1].as_text(), a[2].as_text(), a.size() > 3 ? a[3].as_integer() : -1, memory);
}

value split(args a, arena& memory) {
  std::string_view text = a[0].as_text();
  const std::string_view by = a[1].as_text();
  const std::int64_t most = a.size() > 2 ? a[2].as_integer() : -1;
  std::vector<value> out;
  const auto last = [&] { return most >= 0 && static_cast<std::int64_t>(out.size()) + 1 >= most; };
  if (most == 0) return value::list(memory, out);
  if (by.empty()) {
    while (!text.empty() && !last()) {
      out.push_back(value::string(first_character(text)));
      text.remove_prefix(utf8_length(text));
    }
    if (!text.empty()) out.push_back(value::string(text));
    return value::list(memory, out);
  }
  for (std::size_t at = text.find(by); !last() && at != std::string_view::npos; at = text.find(by)) {
    out.push_back(value::string(text.substr(0, at)));
    text.remove_prefix(at + by.size());
  }
  out.push_back(value::string(text));
  return value::list(memory, out);
}

value substring(args a, arena& memory) {
  const std::string_view text = a[0].as_text();
  const auto n = static_cast<std::int64_t>(utf8_count(text));
  const std::int64_t begin = a[1].as_integer(), end = a.size() > 2 ? a[2].as_integer() : n;
  if (a.size() > 2 && begin > end)
    return value::error(memory,
                        "invalid substring range. start: " + std::to_string(begin) + ", end: " + std::to_string(end));
  if (begin < 0 || begin > n) return out_of_range(begin, memory);
  if (end < 0 || end > n) return out_of_range(end, memory);
  const std::size_t from = utf8_offset(text, static_cast<std::size_t>(begin));
  return value::string(text.substr(from, utf8_offset(text, static_cast<std::size_t>(end)) - from));
}

// Unicode's White_Space, as Go's strings.TrimSpace takes off.
bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

value trim(args a, arena&) {
  std::string_view text = a[0].as_text();
  while (!text.empty() && is_space(utf8_first(text).code)) text.remove_prefix(utf8_length(text));
  std::size_t end = 0;
  for (std::size_t at = 0; at < text.size();) {
    const character c = utf8_first(text.substr(at));
    at += c.bytes;
    if (!is_space(c.code)) end = at;
  }
  return value::string(text.substr(0, end));
}

value join(args a, arena& memory) {
  const std::string_view between = a.size() > 1 ? a[1].as_text() : std::string_view();
  std::string out;
  for (std::size_t i = 0, n = *a[0].size(); i < n; ++i) {
    const value part = a[0].at(i, memory);
    if (!part.is(kind::string)) return value::error(memory, "join: invalid input: " + text_of(part));
    if (i > 0) out += between;
    out += part.as_text();
    if (!memory.has_room(out.size())) return too_large(memory);
  }
  return value::string(memory.copy(out));
}

value quoted(args a, arena& memory) {
  std::string out = "\"";
  std::string_view text = a[0].as_text();
  while (!text.empty()) {
    const character c = utf8_first(text);
    text.remove_prefix(c.bytes);
    constexpr std::string_view escaped = "\a\b\f\n\r\t\v\\\"", letters = "abfnrtv\\\"";
    const std::size_t at = c.code < 0x80 ? escaped.find(static_cast<char>(c.code)) : std::string_view::npos;
    if (at != std::string_view::npos) {
      out += '\\';
      out += letters[at];
    } else {
      utf8_append(out, c.code);
    }
  }
  if (!memory.has_room(out.size())) return too_large(memory);
  return value::string(memory.copy(out + "\""));
}

value format(args a, arena& memory) {
  auto out = format_text(a[0].as_text(), a[1], memory);
  return out ? value::string(memory.copy(*out)) : value::error(memory, out.error());
}

}  // namespace

void add_strings(environment::builder& b) {
  const type &string = type::string(), &integer = type::integer();
  const type strings = type::list(string);
  b.function({"charAt", {method("string_char_at_int", {string, integer}, string, char_at)}});
  b.function({"indexOf",
              {method("string_index_of_string", {string, string}, integer, index_of),
               method("string_index_of_string_int", {string, string, integer}, integer, index_of)}});
  b.function({"lastIndexOf",
              {method("string_last_index_of_string", {string, string}, integer, last_index_of),
               method("string_last_index_of_string_int", {string, string, integer}, integer, last_index_of)}});
  b.function({"lowerAscii", {method("string_lower_ascii", {string}, string, in_case<'A', 'a'>)}});
  b.function({"replace",
              {method("string_replace_string_string", {string, string, string}, string, replace),
               method("string_replace_string_string_int", {string, string, string, integer}, string, replace)}});
  b.function({"split",
              {method("string_split_string", {string, string}, strings, split),
               method("string_split_string_int", {string, string, integer}, strings, split)}});
  b.function({"substring",
              {method("string_substring_int", {string, integer}, string, substring),
               method("string_substring_int_int", {string, integer, integer}, string, substring)}});
  b.function({"trim", {method("string_trim", {string}, string, trim)}});
  b.function({"upperAscii", {method("string_upper_ascii", {string}, string, in_case<'a', 'A'>)}});
  b.function({"format", {method("string_format", {string, type::list(type::dyn())}, string, format)}});
  b.function({"strings.quote", {global("strings_quote", {string}, string, quoted)}});
  b.function(
      {"join",
       {method("list_join", {strings}, string, join), method("list_join_string", {strings, string}, string, join)}});
}

}  // namespace kedge::cel
