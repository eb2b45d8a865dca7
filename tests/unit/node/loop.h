// loop.h: runs a coroutine of a test to its end on a loop of the operating system, with a deadline of its own.
#pragma once

#include <doctest/doctest.h>

#include <chrono>
#include <utility>

#include "reactor/sync.h"

// REQUIRE throws, which a coroutine does not let through: ends the coroutine instead.
#define NEEDS(result)                                                \
  do {                                                               \
    CHECK_MESSAGE((result), (result ? "" : result.error().message)); \
    if (!result) co_return;                                          \
  } while (0)

struct test_loop {
  kedge::reactor::loop loop{kedge::reactor::make_backend(kedge::reactor::io_backend::automatic).value()};

  // Fails the test when `t` has not ended after 30 s.
  void run(kedge::task<void> t) {
    using namespace std::chrono_literals;
    auto ended = loop.run_until([](kedge::task<void> work) -> kedge::task<bool> {
      auto wrapped = [](kedge::task<void> w) -> kedge::task<kedge::result<bool>> {
        co_await w;
        co_return true;
      };
      auto r =
          co_await kedge::reactor::with_deadline(wrapped(std::move(work)), kedge::reactor::loop::current().now() + 30s);
      co_return r.has_value();
    }(std::move(t)));
    CHECK(ended);
  }
};
