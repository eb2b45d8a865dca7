#include "api/fairness/shuffle.h"

#include <algorithm>
#include <cmath>

#include "base/assert.h"

namespace kedge::api::fairness {

hand::hand(std::uint64_t hash, unsigned queues, unsigned cards) noexcept : count_(cards) {
  kedge_assert(cards >= 1 && cards <= queues && cards <= hand_size_max);
  // The hash in the factorial number system: each digit says which of the queues that are left comes next. `dealt` has
  // those that are gone in ascending order: each of them at or below the card moves it on by one.
  std::array<unsigned, hand_size_max> dealt{};
  for (unsigned i = 0; i < cards; ++i) {
    auto left = queues - i;
    auto card = static_cast<unsigned>(hash % left);
    hash /= left;
    unsigned below = 0;
    while (below < i && dealt[below] <= card) {
      ++card;
      ++below;
    }
    std::copy_backward(dealt.begin() + below, dealt.begin() + i, dealt.begin() + i + 1);
    dealt[below] = card;
    cards_[i] = card;
  }
}

bool may_deal(unsigned queues, unsigned cards) noexcept {
  if (queues == 0 || cards == 0 || cards > queues || cards > hand_size_max) return false;
  return std::ceil(std::log2(static_cast<double>(queues)) * cards) <= hash_bits_max;
}

}  // namespace kedge::api::fairness
