#include <vector>

#include "reactor_backends.h"

using namespace kedge;
using namespace kedge::reactor;
using namespace std::chrono_literals;

TEST_CASE("an event lets all its waiters through, and times out those with a deadline") {
  on_every_backend([]() -> task<void> {
    event e;
    int through = 0;
    scope s;
    for (int i = 0; i < 3; ++i)
      s.spawn([](event& ev, int& n) -> task<void> {
        co_await ev.wait();
        ++n;
      }(e, through));
    CHECK_FALSE(co_await e.wait_until(loop::current().now() + 2ms));
    CHECK(through == 0);
    e.set();
    co_await s.join();
    CHECK(through == 3);
    CHECK(co_await e.wait_until(loop::current().now() + 1h));
  });
}

TEST_CASE("a semaphore serves in order and takes back what a dropped waiter was granted") {
  on_every_backend([]() -> task<void> {
    semaphore units(1);
    co_await units.acquire();
    std::vector<int> order;
    scope s;
    auto use = [](semaphore& u, int n, std::vector<int>& out) -> task<void> {
      co_await u.acquire();
      out.push_back(n);
      u.release();
    };
    s.spawn(use(units, 1, order));
    s.spawn(use(units, 2, order));
    {
      scope dropped;
      dropped.spawn(use(units, 3, order));
    }
    units.release();
    co_await s.join();
    CHECK(order == std::vector<int>{1, 2});
    CHECK(units.available() == 1);
    {
      co_await units.acquire();
      scope granted;
      granted.spawn(use(units, 4, order));
      units.release();  // grants, but the waiter is dropped before it runs
    }
    CHECK(units.available() == 1);
  });
}

TEST_CASE("a channel holds back its sender when full and ends its receiver when closed") {
  on_every_backend([]() -> task<void> {
    channel<int> c(2);
    std::vector<int> got;
    scope s;
    s.spawn([](channel<int>& in) -> task<void> {
      for (int i = 0; i < 10; ++i) co_await in.send(i);
      in.close();
    }(c));
    CHECK(c.size() == 2);
    while (auto n = co_await c.receive()) got.push_back(*n);
    CHECK(got.size() == 10);
    CHECK(got.back() == 9);
    CHECK_FALSE(co_await c.send(11));
  });
}
