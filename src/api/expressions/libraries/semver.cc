#include <algorithm>
#include <expected>

#include "api/expressions/libraries/libraries.h"
#include "base/strings.h"

namespace kedge::api::expressions {

namespace {

using cel::value;
using args = std::span<const value>;

struct version {
  std::uint64_t numbers[3] = {};
  std::vector<std::string> before;  // identifiers of a pre-release
};

bool all_digits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}
bool all_alphanumeric(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
  });
}
bool leading_zero(std::string_view text) { return text.size() > 1 && text[0] == '0'; }

std::vector<std::string_view> split_in_three(std::string_view text) {
  std::vector<std::string_view> out;
  for (int i = 0; i < 2; ++i) {
    const std::size_t dot = text.find('.');
    if (dot == std::string_view::npos) break;
    out.push_back(text.substr(0, dot));
    text.remove_prefix(dot + 1);
  }
  out.push_back(text);
  return out;
}

std::expected<std::uint64_t, std::string> number(std::string_view text, const char* name) {
  std::string capital = name;
  capital[0] = static_cast<char>(capital[0] - 32);
  if (!text.empty() && !all_digits(text))
    return std::unexpected("Invalid character(s) found in " + std::string(name) + " number " + quote(text));
  if (leading_zero(text)) return std::unexpected(capital + " number must not contain leading zeroes " + quote(text));
  auto n = parse_uint(text);
  if (!n)
    return std::unexpected("strconv.ParseUint: parsing " + quote(text) +
                           (text.empty() ? ": invalid syntax" : ": value out of range"));
  return *n;
}

std::optional<std::string> check_prerelease(std::string_view id) {
  if (id.empty()) return "Prerelease is empty";
  if (all_digits(id)) {
    if (leading_zero(id)) return "Numeric PreRelease version must not contain leading zeroes " + quote(id);
    return std::nullopt;
  }
  if (!all_alphanumeric(id)) return "Invalid character(s) found in prerelease " + quote(id);
  return std::nullopt;
}

std::expected<version, std::string> parse(std::string_view text) {
  if (text.empty()) return std::unexpected("Version string empty");
  auto parts = split_in_three(text);
  if (parts.size() != 3) return std::unexpected("No Major.Minor.Patch elements found");
  version out;
  std::string_view patch = parts[2], build, before;
  const std::size_t plus = patch.find('+');
  if (plus != std::string_view::npos) {
    build = patch.substr(plus + 1);
    patch = patch.substr(0, plus);
  }
  const std::size_t dash = patch.find('-');
  if (dash != std::string_view::npos) {
    before = patch.substr(dash + 1);
    patch = patch.substr(0, dash);
  }
  const std::pair<std::string_view, const char*> numbers[] = {
      {parts[0], "major"}, {parts[1], "minor"}, {patch, "patch"}};
  for (std::size_t i = 0; i < 3; ++i) {
    auto n = number(numbers[i].first, numbers[i].second);
    if (!n) return std::unexpected(n.error());
    out.numbers[i] = *n;
  }
  if (dash != std::string_view::npos) {
    for (std::string_view id : split(before, '.')) {
      if (auto wrong = check_prerelease(id)) return std::unexpected(*wrong);
      out.before.emplace_back(id);
    }
  }
  if (plus != std::string_view::npos) {
    for (std::string_view id : split(build, '.')) {
      if (id.empty()) return std::unexpected("Build meta data is empty");
      if (!all_alphanumeric(id)) return std::unexpected("Invalid character(s) found in build meta data " + quote(id));
    }
  }
  return out;
}

// Without the v, without leading zeros, with what is missing as zeros.
std::expected<version, std::string> parse_tolerantly(std::string_view text) {
  if (text.starts_with('v')) text.remove_prefix(1);
  std::vector<std::string> parts;
  for (std::string_view part : split_in_three(text)) {
    std::string p(part);
    if (p.size() > 1) {
      p.erase(0, std::min(p.find_first_not_of('0'), p.size()));
      if (p.empty() || !(p[0] >= '0' && p[0] <= '9')) p = "0" + p;
    }
    parts.push_back(std::move(p));
  }
  if (parts.size() < 3 && parts.back().find_first_of("+-") != std::string::npos)
    return std::unexpected("short version cannot contain PreRelease/Build meta data");
  while (parts.size() < 3) parts.emplace_back("0");
  return parse(join(parts, "."));
}

int order(const std::string& a, const std::string& b) {
  const bool x = all_digits(a), y = all_digits(b);
  if (x != y) return x ? -1 : 1;
  if (x && a.size() != b.size()) return a.size() < b.size() ? -1 : 1;
  return a < b ? -1 : a == b ? 0 : 1;
}

int order(const version& a, const version& b) {
  for (int i = 0; i < 3; ++i)
    if (a.numbers[i] != b.numbers[i]) return a.numbers[i] < b.numbers[i] ? -1 : 1;
  if (a.before.empty() != b.before.empty()) return a.before.empty() ? 1 : -1;
  for (std::size_t i = 0; i < std::min(a.before.size(), b.before.size()); ++i)
    if (int c = order(a.before[i], b.before[i]); c != 0) return c;
  return a.before.size() == b.before.size() ? 0 : a.before.size() < b.before.size() ? -1 : 1;
}

bool operator==(const version& a, const version& b) { return order(a, b) == 0; }

const cel::type& semver_type() {
  static const cel::type t = cel::type::object("kubernetes.Semver");
  return t;
}

std::expected<version, std::string> read(args a) {
  return a.size() > 1 && a[1].as_bool() ? parse_tolerantly(a[0].as_text()) : parse(a[0].as_text());
}

value to_semver(args a, cel::arena& memory) {
  auto v = read(a);
  return v ? own(semver_type(), std::move(*v), memory) : value::error(memory, v.error());
}
value is_semver(args a, cel::arena&) { return value::boolean(read(a).has_value()); }

int compared(args a) { return order(content_of<version>(a[0]), content_of<version>(a[1])); }
value is_greater(args a, cel::arena&) { return value::boolean(compared(a) > 0); }
value is_less(args a, cel::arena&) { return value::boolean(compared(a) < 0); }
value compare_to(args a, cel::arena&) { return value::integer(compared(a)); }

template <int i>
value part(args a, cel::arena&) {
  return value::integer(static_cast<std::int64_t>(content_of<version>(a[0]).numbers[i]));
}

}  // namespace

value semver_value(std::string_view text, cel::arena& memory) {
  auto v = parse(text);
  return v ? own(semver_type(), std::move(*v), memory) : value::error(memory, v.error());
}

void add_semver(cel::environment::builder& b) {
  const cel::type &v = semver_type(), &string = cel::type::string(), &boolean = cel::type::boolean(),
                  &integer = cel::type::integer();
  b.function({"semver",
              {global("string_to_semver", {string}, v, to_semver),
               global("string_bool_to_semver", {string, boolean}, v, to_semver)}});
  b.function({"isSemver",
              {global("is_semver_string", {string}, boolean, is_semver),
               global("is_semver_string_bool", {string, boolean}, boolean, is_semver)}});
  b.function({"isGreaterThan", {method("semver_is_greater_than", {v, v}, boolean, is_greater)}});
  b.function({"isLessThan", {method("semver_is_less_than", {v, v}, boolean, is_less)}});
  b.function({"compareTo", {method("semver_compare_to", {v, v}, integer, compare_to)}});
  b.function({"major", {method("semver_major", {v}, integer, part<0>)}});
  b.function({"minor", {method("semver_minor", {v}, integer, part<1>)}});
  b.function({"patch", {method("semver_patch", {v}, integer, part<2>)}});
}

}  // namespace kedge::api::expressions
