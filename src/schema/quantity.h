// quantity.h: resource.Quantity: an exact decimal with a suffix that remembers how the user likes to write it.
//
// Arithmetic is in nano units in 128 bits, which holds what int64 holds with 9 decimals (the range Kubernetes
// promises).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace kedge::schema {

class quantity {
 public:
  enum class format : unsigned char { decimal_si, binary_si, decimal_exponent };

  quantity() = default;
  static result<quantity> parse(std::string_view text);
  static quantity of(std::int64_t n, format f = format::decimal_si) noexcept;
  static quantity of_milli(std::int64_t n, format f = format::decimal_si) noexcept;

  std::string text() const;                                    // canonical
  std::int64_t value() const noexcept;                         // rounded away from zero, as Quantity.Value(); saturates
  std::int64_t milli_value() const noexcept;                   // likewise, as MilliValue(); saturates
  bool is_whole() const noexcept;                              // no fraction, when it is rounded to thousandths
  std::optional<std::int64_t> exact_integer() const noexcept;  // nothing for fractions, and beyond 64 bits
  double approximate() const noexcept;
  bool is_zero() const noexcept { return nano_ == 0; }
  int sign() const noexcept { return nano_ < 0 ? -1 : nano_ > 0; }
  quantity& operator+=(const quantity& other) noexcept;
  quantity& operator-=(const quantity& other) noexcept;
  friend bool operator==(const quantity& a, const quantity& b) noexcept { return a.nano_ == b.nano_; }
  friend bool operator<(const quantity& a, const quantity& b) noexcept { return a.nano_ < b.nano_; }

 private:
  __int128 nano_ = 0;
  format format_ = format::decimal_si;
};

}  // namespace kedge::schema
