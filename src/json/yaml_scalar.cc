#include "json/yaml_scalar.h"

#include <charconv>
#include <cmath>
#include <string>

namespace kedge::json {

namespace {

template <std::size_t N>
bool one_of(std::string_view text, const std::string_view (&words)[N]) {
  for (auto w : words)
    if (w == text) return true;
  return false;
}

constexpr std::string_view true_words[] = {"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"};
constexpr std::string_view false_words[] = {"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"};
constexpr std::string_view null_words[] = {"~", "null", "Null", "NULL"};
constexpr std::string_view unbounded_words[] = {".nan",  ".NaN",  ".NAN",  ".inf",  ".Inf",  ".INF",
                                                "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF"};

bool digit(char c) { return c >= '0' && c <= '9'; }

// 2006-1-2, alone or followed by T, t or a space: a time stamp, which stays text.
bool looks_like_date(std::string_view s) {
  if (s.size() < 8 || s[4] != '-') return false;
  for (int i = 0; i < 4; ++i)
    if (!digit(s[static_cast<std::size_t>(i)])) return false;
  return true;
}

// [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?
bool looks_like_float(std::string_view s) {
  std::size_t i = 0;
  auto digits = [&] {
    auto start = i;
    while (i < s.size() && digit(s[i])) ++i;
    return i - start;
  };
  if (i < s.size() && (s[i] == '-' || s[i] == '+')) ++i;
  if (i < s.size() && s[i] == '.') {
    ++i;
    if (!digits()) return false;
  } else {
    if (!digits()) return false;
    if (i < s.size() && s[i] == '.') {
      ++i;
      digits();
    }
  }
  if (i < s.size() && (s[i] == 'e' || s[i] == 'E')) {
    ++i;
    if (i < s.size() && (s[i] == '-' || s[i] == '+')) ++i;
    if (!digits()) return false;
  }
  return i == s.size();
}

// JSON has one kind of number: a whole float is printed without a point and read back as an integer.
value number(double d) {
  if (std::floor(d) == d && std::fabs(d) < 9.2e18) return static_cast<std::int64_t>(d);
  return d;
}

std::optional<value> whole(std::string_view s) {
  bool negative = false;
  if (!s.empty() && (s[0] == '-' || s[0] == '+')) {
    negative = s[0] == '-';
    s.remove_prefix(1);
  }
  int base = 10;
  if (s.size() > 1 && s[0] == '0') {
    switch (s[1]) {
      case 'x':
      case 'X':
        base = 16;
        s.remove_prefix(2);
        break;
      case 'b':
      case 'B':
        base = 2;
        s.remove_prefix(2);
        break;
      case 'o':
      case 'O':
        base = 8;
        s.remove_prefix(2);
        break;
      default: base = 8; s.remove_prefix(1);
    }
  }
  if (s.empty() || s[0] == '-' || s[0] == '+') return std::nullopt;
  std::uint64_t n = 0;
  auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), n, base);
  if (error != std::errc() || end != s.data() + s.size()) return std::nullopt;
  constexpr auto limit = std::uint64_t(1) << 63;
  if (negative) {
    if (n > limit) return std::nullopt;
    return static_cast<std::int64_t>(0 - n);
  }
  if (n >= limit) return static_cast<double>(n);
  return static_cast<std::int64_t>(n);
}

std::optional<double> real(std::string_view s) {
  if (!s.empty() && s[0] == '+') s.remove_prefix(1);
  double d = 0;
  auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), d);
  if (error != std::errc() || end != s.data() + s.size() || !std::isfinite(d)) return std::nullopt;
  return d;
}

}  // namespace

std::optional<value> resolve_yaml_scalar(std::string_view text) {
  if (text.empty()) return value();
  char c = text[0];
  bool number_like = digit(c) || c == '+' || c == '-' || c == '.';
  if (!number_like) {
    if (text.size() > 5) return value(text);
    if (one_of(text, true_words)) return value(true);
    if (one_of(text, false_words)) return value(false);
    if (one_of(text, null_words)) return value();
    return value(text);
  }
  if (one_of(text, unbounded_words)) return std::nullopt;
  if (c == '.') {
    if (!looks_like_float(text)) return value(text);
    auto d = real(text);
    return d ? number(*d) : value(text);
  }
  if (looks_like_date(text)) return value(text);
  std::string plain;
  for (char x : text)
    if (x != '_') plain += x;
  if (auto n = whole(plain)) return n;
  if (looks_like_float(plain))
    if (auto d = real(plain)) return number(*d);
  return value(text);
}

}  // namespace kedge::json
