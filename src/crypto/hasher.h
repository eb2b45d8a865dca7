// hasher.h: SHA-256 of what comes in pieces. Moves; belongs to one thread at a time.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace kedge::crypto {

class sha256_hasher {
 public:
  sha256_hasher();
  sha256_hasher(sha256_hasher&&) noexcept;
  sha256_hasher& operator=(sha256_hasher&&) noexcept;
  ~sha256_hasher();

  void update(std::string_view piece);
  // 64 lower-case hexadecimal digits of all pieces; begins anew.
  std::string hex();

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace kedge::crypto
