// random.h: randomness as an interface, so that a simulated world can repeat itself from one seed.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"

namespace kedge {

class random_source {
 public:
  virtual ~random_source() = default;
  virtual void fill(mutable_bytes out) = 0;

  std::uint64_t next();
  std::uint64_t below(std::uint64_t bound);  // uniform in [0, bound); bound > 0
  std::string hex_text(std::size_t byte_count);
  std::string uuid();  // RFC 9562 version 4
  // Kubernetes' utilrand: letters and digits that spell no words.
  std::string name_suffix(std::size_t length = 5);
};

// getrandom(2): for keys, tokens, names.
random_source& system_random();

// xoshiro256** from a seed: for simulation only, never for secrets.
class seeded_random final : public random_source {
 public:
  explicit seeded_random(std::uint64_t seed);
  void fill(mutable_bytes out) override;

 private:
  std::uint64_t step();
  std::uint64_t state_[4];
};

}  // namespace kedge
