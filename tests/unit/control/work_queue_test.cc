#include "control/work_queue.h"

#include <doctest/doctest.h>

#include <vector>

using namespace kedge;
using namespace kedge::control;
using namespace std::chrono_literals;

namespace {
void on_loop(task<void> (*test)()) {
  auto b = reactor::make_backend(reactor::io_backend::automatic);
  REQUIRE(b.has_value());
  reactor::loop l(std::move(*b));
  l.run_until(test());
}
}  // namespace

TEST_CASE("a key that waits is one key, and one that is worked on comes again") {
  on_loop([]() -> task<void> {
    work_queue q;
    q.add("a");
    q.add("a");
    q.add("b");
    CHECK(co_await q.next() == "a");
    q.add("a");  // while worked on
    CHECK(co_await q.next() == "b");
    CHECK(q.size() == 0);
    q.done("a");
    CHECK(co_await q.next() == "a");
    q.done("a");
    q.done("b");
    CHECK(q.size() == 0);
  });
}

TEST_CASE("of several times for a key the earliest counts") {
  on_loop([]() -> task<void> {
    work_queue q;
    q.add_after("late", 1h);
    q.add_after("late", 2ms);
    q.add_after("late", 2h);
    q.add_after("soon", 1ms);
    CHECK(co_await q.next() == "soon");
    CHECK(co_await q.next() == "late");
    q.add_after("x", 1h);
    q.add("x");
    CHECK(co_await q.next() == "x");
    CHECK(q.size() == 0);
  });
}

TEST_CASE("failures come back later and later, until they succeed") {
  on_loop([]() -> task<void> {
    work_queue q;
    std::vector<duration> waits;
    q.add("k");
    for (int i = 0; i < 4; ++i) {
      auto before = reactor::loop::current().now();
      CHECK(co_await q.next() == "k");
      waits.push_back(reactor::loop::current().now() - before);
      q.retry("k");
    }
    CHECK(waits[1] >= 4ms);
    CHECK(waits[3] > waits[1]);
    CHECK(co_await q.next() == "k");
    q.done("k");
    q.add("k");
    CHECK(co_await q.next() == "k");
    q.retry("k");
    auto before = reactor::loop::current().now();
    CHECK(co_await q.next() == "k");
    CHECK(reactor::loop::current().now() - before < 40ms);  // it starts anew after a success
  });
}
