#include "schema/quantity.h"

#include <limits>

#include "schema/decode.h"

namespace kedge::schema {

namespace {

constexpr __int128 nano_per_unit = 1'000'000'000;
constexpr __int128 unit_max = std::numeric_limits<std::int64_t>::max();
// Beyond what Kubernetes promises to hold; a longer number stays here instead of overflowing 128 bits.
constexpr __int128 nano_max = unit_max * nano_per_unit * 1'000'000;

std::unexpected<error> wrong_format() {
  return fail(errc::invalid,
              "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
}
std::unexpected<error> wrong_suffix() { return fail(errc::invalid, "unable to parse quantity's suffix"); }

struct scale {
  int base = 10, exponent = 0;
  quantity::format format = quantity::format::decimal_si;
};

constexpr std::string_view decimal_suffixes[] = {"n", "u", "m", "", "k", "M", "G", "T", "P", "E"};  // 10^-9 to 10^18
constexpr std::string_view binary_suffixes[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};            // 2^0 to 2^60

result<scale> scale_of(std::string_view suffix) {
  for (int i = 0; i < 10; ++i)
    if (decimal_suffixes[i] == suffix) return scale{10, i * 3 - 9, quantity::format::decimal_si};
  for (int i = 1; i < 7; ++i)
    if (binary_suffixes[i] == suffix) return scale{2, i * 10, quantity::format::binary_si};
  if (suffix.size() < 2 || (suffix[0] != 'e' && suffix[0] != 'E')) return wrong_suffix();
  auto digits = suffix.substr(1);
  bool negative = digits[0] == '-';
  if (negative || digits[0] == '+') digits.remove_prefix(1);
  if (digits.empty() || digits.size() > 6) return wrong_suffix();
  int n = 0;
  for (char c : digits) {
    if (c < '0' || c > '9') return wrong_suffix();
    n = n * 10 + (c - '0');
  }
  return scale{10, negative ? -n : n, quantity::format::decimal_exponent};
}

struct parts {
  bool negative = false;
  std::string_view whole, fraction, suffix;  // without the sign and leading zeros
};

result<parts> split_quantity(std::string_view s) {
  parts p;
  auto digits = [&] {
    std::size_t n = 0;
    while (n < s.size() && s[n] >= '0' && s[n] <= '9') ++n;
    auto found = s.substr(0, n);
    s.remove_prefix(n);
    return found;
  };
  if (s.empty()) return wrong_format();
  if (s[0] == '-' || s[0] == '+') {
    p.negative = s[0] == '-';
    s.remove_prefix(1);
  }
  while (!s.empty() && s[0] == '0') s.remove_prefix(1);
  p.whole = digits();
  if (!s.empty() && s[0] == '.') {
    s.remove_prefix(1);
    p.fraction = digits();
  }
  p.suffix = s;
  auto letters = s.find_first_not_of("eEinumkKMGTP");
  if (letters != std::string_view::npos) {
    auto rest = s.substr(letters);
    if (rest[0] == '-' || rest[0] == '+') rest.remove_prefix(1);
    if (rest.find_first_not_of("0123456789") != std::string_view::npos) return wrong_format();
  }
  return p;
}

// whole.fraction × scale in nano units; what is smaller is rounded away from zero ("if you want some, you get some").
__int128 nano_of(const parts& p, const scale& s) {
  __int128 n = 0;
  int exponent = s.base == 10 ? s.exponent + 9 : 9;  // of ten, to nano units
  bool remainder = false;
  auto take = [&](std::string_view digits, bool is_fraction) {
    for (char c : digits) {
      if (n > nano_max) {  // saturated: only the magnitude counts from here on
        exponent += !is_fraction;
        remainder |= c != '0';
        continue;
      }
      n = n * 10 + (c - '0');
      exponent -= is_fraction;
    }
  };
  take(p.whole, false);
  take(p.fraction, true);
  if (s.base == 2)
    for (int i = 0; i < s.exponent && n <= nano_max; ++i) n *= 2;
  while (exponent > 0 && n != 0 && n <= nano_max) {
    n *= 10;
    --exponent;
  }
  while (exponent < 0 && n != 0) {
    remainder |= n % 10 != 0;
    n /= 10;
    ++exponent;
    if (n == 0) break;
  }
  if (remainder) ++n;
  return n > nano_max ? nano_max : n;
}

std::string digits_of(__int128 n) {
  if (n == 0) return "0";
  std::string out;
  for (auto m = n < 0 ? -n : n; m != 0; m /= 10)
    out.insert(out.begin(), static_cast<char>('0' + static_cast<int>(m % 10)));
  if (n < 0) out.insert(out.begin(), '-');
  return out;
}

std::int64_t saturate(__int128 n) {
  if (n > unit_max) return std::numeric_limits<std::int64_t>::max();
  if (n < -unit_max) return std::numeric_limits<std::int64_t>::min();
  return static_cast<std::int64_t>(n);
}

// Away from zero.
__int128 divide_up(__int128 n, __int128 by) { return n / by + (n % by > 0) - (n % by < 0); }

// ParseQuantity keeps the text where a quick look says that it is canonical; some that pass ("1.500") are not, and
// stay.
bool keeps_its_text(const parts& p, const scale& s) {
  auto whole = p.whole.empty() ? std::string_view("0") : p.whole;
  auto length = static_cast<int>(whole.size() + p.fraction.size());
  if (s.format == quantity::format::binary_si) {
    if (!p.fraction.empty()) return false;
    if (15 - length - s.exponent * 3 / 10 - 1 < 0) return false;
    int low = 0;  // a multiple of 8 might be a whole number of the next suffix
    for (char c : whole) low = (low * 10 + (c - '0')) % 8;
    return low != 0;
  }
  auto power = s.exponent - static_cast<int>(p.fraction.size());
  if (18 - length < 0 || power < -9 || power % 3 != 0 || whole[0] == '0') return false;
  auto shifted = std::string(whole) + std::string(p.fraction);
  return !shifted.ends_with("000");
}

}  // namespace

result<quantity> quantity::parse(std::string_view text) {
  KEDGE_TRY(auto p, split_quantity(text));
  KEDGE_TRY(auto s, scale_of(p.suffix));
  quantity q;
  q.format_ = s.format;
  q.nano_ = nano_of(p, s);
  if (s.format == format::binary_si) {
    if (q.nano_ > unit_max * nano_per_unit) q.nano_ = unit_max * nano_per_unit;
    if (q.nano_ < nano_per_unit && q.nano_ > 0) q.format_ = format::decimal_si;
  }
  if (p.negative) q.nano_ = -q.nano_;
  return q;
}

quantity quantity::of(std::int64_t n, format f) noexcept {
  quantity q;
  q.nano_ = n * nano_per_unit;
  q.format_ = f;
  return q;
}
quantity quantity::of_milli(std::int64_t n, format f) noexcept {
  quantity q;
  q.format_ = f;
  q.nano_ = n * (nano_per_unit / 1000);
  return q;
}

std::string quantity::text() const {
  if (nano_ == 0) return "0";
  auto f = format_;
  auto magnitude = nano_ < 0 ? -nano_ : nano_;
  if (f == format::binary_si && (magnitude < 1024 * nano_per_unit || nano_ % nano_per_unit != 0))
    f = format::decimal_si;
  if (f == format::binary_si) {
    auto n = nano_ / nano_per_unit;
    int i = 0;
    while (i < 6 && n % 1024 == 0) {
      n /= 1024;
      ++i;
    }
    return digits_of(n) + std::string(binary_suffixes[i]);
  }
  auto n = nano_;
  int exponent = -9;
  while (n % 1000 == 0 && (exponent < 18 || f == format::decimal_exponent)) {
    n /= 1000;
    exponent += 3;
  }
  if (f == format::decimal_exponent) return digits_of(n) + (exponent ? "e" + std::to_string(exponent) : "");
  return digits_of(n) + std::string(decimal_suffixes[(exponent + 9) / 3]);
}

std::int64_t quantity::value() const noexcept { return saturate(divide_up(nano_, nano_per_unit)); }
bool quantity::is_whole() const noexcept { return divide_up(nano_, nano_per_unit / 1000) % 1000 == 0; }
std::int64_t quantity::milli_value() const noexcept { return saturate(divide_up(nano_, nano_per_unit / 1000)); }
std::optional<std::int64_t> quantity::exact_integer() const noexcept {
  const __int128 n = nano_ / nano_per_unit;
  if (nano_ % nano_per_unit != 0 || n < INT64_MIN || n > INT64_MAX) return std::nullopt;
  return static_cast<std::int64_t>(n);
}
double quantity::approximate() const noexcept {
  return static_cast<double>(nano_) / static_cast<double>(nano_per_unit);
}
quantity& quantity::operator+=(const quantity& other) noexcept {
  if (nano_ == 0) format_ = other.format_;
  nano_ += other.nano_;
  return *this;
}
quantity& quantity::operator-=(const quantity& other) noexcept {
  if (nano_ == 0) format_ = other.format_;
  nano_ -= other.nano_;
  return *this;
}

result<std::string> canonical_quantity(std::string_view text) {
  if (text == "0") return std::string(text);
  KEDGE_TRY(auto p, split_quantity(text));
  KEDGE_TRY(auto s, scale_of(p.suffix));
  if (keeps_its_text(p, s)) return std::string(text);
  KEDGE_TRY(auto q, quantity::parse(text));
  return q.text();
}

}  // namespace kedge::schema
