#include <vector>

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
