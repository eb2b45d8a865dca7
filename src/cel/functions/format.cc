#include "cel/functions/format.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "cel/limits.h"
#include "cel/literals.h"
#include "cel/utf8.h"

namespace kedge::cel {

namespace {

using result = std::expected<std::string, std::string>;

constexpr int default_precision = 6;
constexpr int precision_max = 1'000;  // digits beyond the double's own are zeros

bool digit(char c) noexcept { return c >= '0' && c <= '9'; }

// 1234567.5 → 1,234,567.5: numbers are shown as in en_US.
std::string grouped(std::string text) {
  const std::size_t begin = text.starts_with('-') ? 1 : 0;
  std::size_t end = text.find('.');
  if (end == std::string::npos) end = text.size();
  for (std::size_t at = end; at > begin + 3;) {
    at -= 3;
    text.insert(at, ",");
  }
  return text;
}

std::string special(double d) { return std::isnan(d) ? "NaN" : d < 0 ? "-\u221e" : "\u221e"; }

std::string fixed(double d, int precision) {
  if (!std::isfinite(d)) return special(d);
  std::vector<char> buffer(static_cast<std::size_t>(precision) + 400);
  const int n = std::snprintf(buffer.data(), buffer.size(), "%.*f", precision, d);
  return grouped(std::string(buffer.data(), static_cast<std::size_t>(n)));
}

// 1.500000×10⁰³: exponents of at least two digits, raised. What stands behind the point of %.9e is a width there, not a
// precision: as cel-go has it.
std::string scientific(double d, int width) {
  if (!std::isfinite(d)) return special(d);
  char buffer[64];
  const int n = std::snprintf(buffer, sizeof buffer, "%.*e", default_precision, d);
  const std::string text(buffer, static_cast<std::size_t>(n));
  const std::size_t e = text.find('e');
  static constexpr const char* raised[] = {"\u2070", "\u00b9", "\u00b2", "\u00b3", "\u2074",
                                           "\u2075", "\u2076", "\u2077", "\u2078", "\u2079"};
  std::string out = text.substr(0, e) + "\u00d710";
  for (char c : text.substr(e + 1)) {
    if (c == '-')
      out += "\u207b";
    else if (digit(c))
      out += raised[c - '0'];
  }
  const auto wanted = static_cast<std::size_t>(width), there = utf8_count(out);
  return there < wanted ? std::string(wanted - there, ' ') + out : out;
}

std::string in_base(const value& v, int base) {
  char buffer[72];
  const auto end = v.is(kind::integer) ? std::to_chars(buffer, buffer + sizeof buffer, v.as_integer(), base).ptr
                                       : std::to_chars(buffer, buffer + sizeof buffer, v.as_unsigned(), base).ptr;
  return {buffer, end};
}

result shown(const value& v, arena& memory, int depth);

// An element of a list or a map.
result element(const value& v, arena& memory, int depth) {
  switch (v.kind()) {
    case kind::string: return quote(v.as_text());
    case kind::bytes: return "b" + quote(v.as_text());
    case kind::real: {
      if (!std::isfinite(v.as_real())) return quote(real_text(v.as_real()));
      char buffer[400];
      const int n = std::snprintf(buffer, sizeof buffer, "%.*f", default_precision, v.as_real());
      return std::string(buffer, static_cast<std::size_t>(n));
    }
    case kind::timestamp: return "timestamp(" + quote(text_of(v)) + ")";
    case kind::duration: return "duration(" + quote(duration_text(v.as_nanoseconds())) + ")";
    case kind::null:
    case kind::boolean:
    case kind::integer:
    case kind::unsigned_integer:
    case kind::type:
    case kind::list:
    case kind::map: return shown(v, memory, depth);
    default: return std::unexpected("no formatting function for " + std::string(kind_text(v)));
  }
}

result shown_list(const value& v, arena& memory, int depth) {
  std::string out = "[";
  for (std::size_t i = 0, n = *v.size(); i < n; ++i) {
    auto part = element(v.at(i, memory), memory, depth + 1);
    if (!part) return part;
    if (i > 0) out += ", ";
    out += *part;
    if (!memory.has_room(out.size())) return std::unexpected(std::string(too_large(memory).as_text()));
  }
  return out + "]";
}

result shown_map(const value& v, arena& memory, int depth) {
  std::vector<std::pair<std::string, std::string>> parts;
  std::size_t size = 0;
  for (std::size_t i = 0, n = *v.size(); i < n; ++i) {
    const value key = v.key_at(i, memory);
    if (!key.is(kind::string) && !key.is(kind::boolean) && !key.is(kind::integer) && !key.is(kind::unsigned_integer))
      return std::unexpected("no formatting function for map key of type " + std::string(kind_text(key)));
    auto name = element(key, memory, depth + 1);
    auto part = element(v.value_at(i, memory), memory, depth + 1);
    if (!part) return part;
    size += name->size() + part->size();
    if (!memory.has_room(size)) return std::unexpected(std::string(too_large(memory).as_text()));
    parts.emplace_back(std::move(*name), std::move(*part));
  }
  std::ranges::sort(parts, {}, &std::pair<std::string, std::string>::first);
  std::string out = "{";
  for (const auto& [name, part] : parts) out += (out.size() > 1 ? ", " : "") + name + ":" + part;
  return out + "}";
}

// %s.
result shown(const value& v, arena& memory, int depth) {
  if (depth > value_depth_max) return std::unexpected("value is too deep");
  switch (v.kind()) {
    case kind::list: return shown_list(v, memory, depth);
    case kind::map: return shown_map(v, memory, depth);
    case kind::duration: return duration_text(v.as_nanoseconds());
    case kind::bytes:
      if (!utf8_valid(v.as_text()))
        return std::unexpected(
            "could not convert argument \"invalid UTF-8 in bytes, cannot convert to string\" to string");
      return text_of(v);
    case kind::null:
    case kind::boolean:
    case kind::integer:
    case kind::unsigned_integer:
    case kind::real:
    case kind::string:
    case kind::timestamp:
    case kind::type: return text_of(v);
    default: return std::unexpected(format_refusal('s', kind_text(v)));
  }
}

bool is_whole(const value& v) noexcept { return v.is(kind::integer) || v.is(kind::unsigned_integer); }

std::optional<double> as_double(const value& v) {
  if (v.is(kind::real)) return v.as_real();
  if (!v.is(kind::string)) return std::nullopt;
  if (v.as_text() == "NaN" || v.as_text() == "Infinity" || v.as_text() == "-Infinity") return parse_real(v.as_text());
  return std::nullopt;
}

std::string upper(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  return text;
}

result clause_text(const value& v, format_clause c, arena& memory) {
  const auto refused = [&] { return std::unexpected(format_refusal(c.letter, kind_text(v))); };
  switch (c.letter) {
    case 's': return shown(v, memory, 0);
    case 'd': return is_whole(v) ? result(text_of(v)) : refused();
    case 'f':
    case 'e': {
      auto d = as_double(v);
      if (!d) return refused();
      const int precision = c.precision.value_or(default_precision);
      return c.letter == 'f' ? fixed(*d, precision) : scientific(*d, precision);
    }
    case 'b':
      if (v.is(kind::boolean)) return std::string(v.as_bool() ? "1" : "0");
      return is_whole(v) ? result(in_base(v, 2)) : refused();
    case 'o': return is_whole(v) ? result(in_base(v, 8)) : refused();
    default: {
      if (!is_whole(v) && !v.is(kind::string) && !v.is(kind::bytes)) return refused();
      std::string text = is_whole(v) ? in_base(v, 16) : hex(as_bytes(v.as_text()));
      return c.letter == 'X' ? upper(std::move(text)) : text;
    }
  }
}

// What stands behind a %: its length, and what it is.
std::expected<std::pair<std::size_t, format_clause>, std::string> parse_clause(std::string_view text) {
  std::size_t at = 0;
  format_clause c{};
  if (text[0] == '.') {
    std::string number;
    for (at = 1; at < text.size() && digit(text[at]); ++at) number += text[at];
    if (at >= text.size())
      return std::unexpected("error while parsing precision: could not find end of precision specifier");
    auto n = parse_integer(number);
    if (!n || *n > precision_max)
      return std::unexpected(
          "error while parsing precision: error while converting precision to integer: strconv.Atoi: parsing " +
          quote(number) + (number.empty() ? ": invalid syntax" : ": value out of range"));
    c.precision = static_cast<int>(*n);
  }
  c.letter = text[at];
  if (!std::string_view("sdfebxXo").contains(c.letter))
    return std::unexpected("unrecognized formatting clause \"" + std::string(1, c.letter) + "\"");
  return std::pair(at + 1, c);
}

}  // namespace

std::string format_refusal(char letter, std::string_view kind) {
  std::string text;
  switch (letter) {
    case 's':
      text =
          "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and "
          "timestamps";
      break;
    case 'd': text = "decimal clause can only be used on integers"; break;
    case 'f': text = "fixed-point clause can only be used on doubles"; break;
    case 'e': text = "scientific clause can only be used on doubles"; break;
    case 'b': text = "only integers and bools can be formatted as binary"; break;
    case 'o': text = "octal clause can only be used on integers"; break;
    default: text = "only integers, byte buffers, and strings can be formatted as hex";
  }
  return text + ", was given " + std::string(kind);
}

std::expected<std::string, std::string> walk_format(
    std::string_view format, std::size_t arguments,
    const std::function<std::expected<std::string, std::string>(std::size_t, format_clause)>& clause) {
  std::string out;
  std::size_t argument = 0;
  for (std::size_t i = 0; i < format.size();) {
    if (format[i] != '%') {
      out += format[i++];
      continue;
    }
    if (format.substr(i).starts_with("%%")) {
      out += '%';
      i += 2;
      continue;
    }
    if (argument >= arguments) return std::unexpected("index " + std::to_string(argument) + " out of range");
    if (i + 1 >= format.size()) return std::unexpected("unexpected end of string");
    auto parsed = parse_clause(format.substr(i + 1));
    if (!parsed) return std::unexpected("could not parse formatting clause: " + parsed.error());
    auto text = clause(argument, parsed->second);
    if (!text) return std::unexpected("error during formatting: " + text.error());
    out += *text;
    i += 1 + parsed->first;
    ++argument;
  }
  return out;
}

std::expected<std::string, std::string> format_text(std::string_view format, const value& arguments, arena& memory) {
  std::size_t size = 0;
  return walk_format(format, static_cast<std::size_t>(*arguments.size()),
                     [&](std::size_t i, format_clause c) -> result {
                       auto text = clause_text(arguments.at(i, memory), c, memory);
                       if (text) size += text->size();
                       if (!memory.has_room(size)) return std::unexpected(std::string(too_large(memory).as_text()));
                       return text;
                     });
}

}  // namespace kedge::cel
