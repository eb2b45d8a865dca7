#include "cel/cost.h"

#include <algorithm>
#include <cmath>

namespace kedge::cel {

namespace {

std::uint64_t add(std::uint64_t a, std::uint64_t b) noexcept { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

std::uint64_t multiply(std::uint64_t a, std::uint64_t b) noexcept {
  std::uint64_t out = 0;
  return __builtin_mul_overflow(a, b, &out) ? UINT64_MAX : out;
}

std::uint64_t scale(std::uint64_t n, double factor) noexcept {
  const double x = static_cast<double>(n);
  constexpr double two_to_64 = 18446744073709551616.0;
  if (x > 0 && factor > 0 && x > static_cast<double>(UINT64_MAX) / factor) return UINT64_MAX;
  const double up = std::ceil(x * factor);
  return up >= two_to_64 ? UINT64_MAX : static_cast<std::uint64_t>(up);
}

}  // namespace

range range::operator+(range other) const noexcept { return {add(min, other.min), add(max, other.max)}; }
range range::operator*(range other) const noexcept { return {multiply(min, other.min), multiply(max, other.max)}; }
range range::scaled(double factor) const noexcept { return {scale(min, factor), scale(max, factor)}; }
range range::either(range other) const noexcept { return {std::min(min, other.min), std::max(max, other.max)}; }

range size_of(const estimated_part& part, const size_model* sizes) {
  if (part.size) return *part.size;
  if (sizes)
    if (auto s = sizes->size_of(part)) return *s;
  return range::unknown();
}

std::uint64_t constant_or(const estimated_part& part, std::uint64_t otherwise) noexcept {
  if (!part.constant) return otherwise;
  return *part.constant < 0 ? 0 : static_cast<std::uint64_t>(*part.constant);
}

std::uint64_t size_for_cost(const value& v) noexcept {
  if (v.is(kind::optional)) return v.held() ? size_for_cost(*v.held()) : 1;
  return v.size().value_or(1);
}

}  // namespace kedge::cel
