// stands_still.h: waits for what a test says must come to a halt: first that it has begun at all, then that nothing
// more happens.
#pragma once

#include "reactor/loop.h"

namespace kedge::tests {

// Until `count` has grown and then stays for `still`; false when that has not come within 10 s.
template <typename Number>
task<bool> stands_still(const Number& count, duration still = std::chrono::milliseconds(50)) {
  const auto end = reactor::loop::current().now() + std::chrono::seconds(10);
  for (auto before = count; reactor::loop::current().now() < end;) {
    co_await reactor::sleep_for(still);
    if (count != Number() && count == before) co_return true;
    before = count;
  }
  co_return false;
}

}  // namespace kedge::tests
