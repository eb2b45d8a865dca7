// quick_crypto.h: OpenSSL's randomness from a world's seed. A program that is linked with it also has a scrypt that
// takes no time.
#pragma once

#include "base/random.h"

namespace kedge::sim {

// While it lives. One at a time.
class seeded_openssl {
 public:
  explicit seeded_openssl(random_source& from);
  seeded_openssl(const seeded_openssl&) = delete;
  ~seeded_openssl();
};

}  // namespace kedge::sim
