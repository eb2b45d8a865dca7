#include <vector>

#include "reactor/wait_limit.h"

#include "reactor_backends.h"

using namespace kedge;
using namespace kedge::reactor;
using namespace std::chrono_literals;

namespace {
struct counted {
  explicit counted(int& n) : n_(n) { ++n_; }
  ~counted() { --n_; }
  int& n_;
};
task<int> answer() { co_return 42; }
task<int> deep(int n) {
  if (n == 0) co_return 0;
  co_return 1 + co_await deep(n - 1);
}
task<void> hold(int& alive) {
  counted c(alive);
  co_await sleep_for(1h);
}
}  // namespace

TEST_CASE("a task gives its value to its awaiter, however deep") {
  on_every_backend([]() -> task<void> {
    CHECK(co_await answer() == 42);
    CHECK(co_await deep(2'000) == 2'000);
  });
}

TEST_CASE("dropping a task destroys its frame where it waits") {
  on_every_backend([]() -> task<void> {
    int alive = 0;
    {
      scope s;
      for (int i = 0; i < 3; ++i) s.spawn(hold(alive));
      CHECK(alive == 3);
      CHECK(s.size() == 3);
    }
    CHECK(alive == 0);
    co_return;
  });
}

TEST_CASE("a scope's join waits for the last child") {
  on_every_backend([]() -> task<void> {
    scope s;
    int ended = 0;
    for (auto d : {3ms, 1ms, 2ms})
      s.spawn([](duration wait, int& n) -> task<void> {
        co_await sleep_for(wait);
        ++n;
      }(d, ended));
    co_await s.join();
    CHECK(ended == 3);
    CHECK(s.size() == 0);
  });
}

TEST_CASE("timers fire in order of time, and not after they were dropped") {
  on_every_backend([]() -> task<void> {
    std::vector<int> order;
    scope s;
    for (int i : {5, 1, 4, 2, 3})
      s.spawn([](int n, std::vector<int>& out) -> task<void> {
        co_await sleep_for(n * 2ms);
        out.push_back(n);
      }(i, order));
    {
      scope dropped;
      dropped.spawn([](std::vector<int>& out) -> task<void> {
        co_await sleep_for(1ms);
        out.push_back(99);
      }(order));
    }
    co_await s.join();
    CHECK(order == std::vector<int>{1, 2, 3, 4, 5});
  });
}

TEST_CASE("a deadline ends work that takes too long, and only that") {
  on_every_backend([]() -> task<void> {
    auto slow = [](duration d) -> task<result<int>> {
      co_await sleep_for(d);
      co_return 7;
    };
    auto late = co_await with_deadline(slow(1h), loop::current().now() + 5ms);
    CHECK_FALSE(late);
    CHECK(late.error().code == errc::timeout);
    auto early = co_await with_deadline(slow(1ms), loop::current().now() + 10s);
    CHECK(early.value() == 7);
  });
}

TEST_CASE("a limit ends one wait after another, each at its own time") {
  on_every_backend([]() -> task<void> {
    int alive = 0;
    auto slow = [&](duration d) -> task<result<int>> {
      counted c(alive);
      if (d > 0s) co_await sleep_for(d);
      co_return 7;
    };
    auto in = [](duration d) { return loop::current().now() + d; };
    wait_limit limit;
    for (int i = 0; i < 3; ++i) {
      auto early = co_await limit.until(in(1h), slow(1ms));
      CHECK(early.value() == 7);
      auto at_once = co_await limit.until(in(-1s), slow(0s));
      CHECK(at_once.value() == 7);
      auto late = co_await limit.until(in(5ms), slow(1h));  // earlier than the one before
      CHECK(late.error().code == errc::timeout);
      CHECK(alive == 0);
    }
    auto moved = co_await limit.until(in(1ms), slow(0s));
    auto end = in(20ms);
    moved = co_await limit.until(end, slow(1h));  // the timer fires for the wait before, and looks again
    CHECK(moved.error().code == errc::timeout);
    CHECK(loop::current().now() >= end);
    auto for_ever = co_await limit.until(time_point::max(), slow(30ms));
    CHECK(for_ever.value() == 7);
    // Both at once: the work is done, and nothing is left in the ready queue.
    event both;
    auto waits = [](event& e) -> task<result<int>> {
      co_await e.wait();
      co_return 8;
    };
    scope beside;
    beside.spawn([](event& e, time_point when) -> task<void> {
      co_await sleep_until(when);
      e.set();
    }(both, end = in(5ms)));
    auto tie = co_await limit.until(end, waits(both));
    CHECK((tie ? *tie == 8 : tie.error().code == errc::timeout));
    {
      scope dropped;
      dropped.spawn([](auto& work) -> task<void> {
        wait_limit own;
        (void)co_await own.until(loop::current().now() + 1h, work(1h));
      }(slow));
      CHECK(alive == 1);
    }
    CHECK(alive == 0);
  });
}
