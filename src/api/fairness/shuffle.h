// shuffle.h: shuffle sharding: which queues a flow may use.
//
// Each flow is dealt a hand of queues by its hash. Two flows seldom have the same hand, so a flow that fills its own
// queues leaves nearly all others at least one that is short.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "api/fairness/limits.h"

namespace kedge::api::fairness {

// The first `cards` are a hand of different queues below `queues`. `cards` <= queues, hand_size_max.
class hand {
 public:
  hand(std::uint64_t hash, unsigned queues, unsigned cards) noexcept;
  std::span<const unsigned> cards() const noexcept { return {cards_.data(), count_}; }

 private:
  std::array<unsigned, hand_size_max> cards_{};
  unsigned count_;
};

// Whether flows' hashes have enough bits for such hands.
bool may_deal(unsigned queues, unsigned cards) noexcept;

}  // namespace kedge::api::fairness
