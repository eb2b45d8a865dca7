// backends.h: runs a test's coroutine once on each backend that this kernel has.
#pragma once

#include <doctest/doctest.h>

#include "reactor/sync.h"

namespace kedge::reactor {

template <typename F>
void on_every_backend(F f) {
  for (auto which : {io_backend::io_uring, io_backend::epoll}) {
    auto b = make_backend(which);
    if (!b && which == io_backend::io_uring) {
      MESSAGE("io_uring is not available here: " << b.error().message);
      continue;
    }
    REQUIRE(b.has_value());
    loop l(std::move(*b));
    INFO("backend: " << l.io().name());
    l.run_until(f());
  }
}

}  // namespace kedge::reactor
