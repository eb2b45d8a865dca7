// api_backoff.h: how long to wait before the API is asked again: it doubles from api_retry_first to api_retry_most.
#pragma once

#include <algorithm>

#include "node/limits.h"
#include "reactor/loop.h"

namespace kedge::node {

class api_backoff {
 public:
  reactor::sleep_awaiter wait() {
    auto d = next_;
    next_ = std::min(next_ * 2, api_retry_most);
    return reactor::sleep_for(d);
  }

 private:
  duration next_ = api_retry_first;
};

}  // namespace kedge::node
