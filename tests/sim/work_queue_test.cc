// The controllers' work queue in virtual time, where "after 5 ms" is exact.
#include "control/work_queue.h"

#include <doctest/doctest.h>

#include <vector>

#include "world.h"

using namespace kedge;
using namespace kedge::control;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

void on_host(task<void> (*test)()) {
  world w(1);
  bool over = false;
  w.add_host("h").start([&](host&) -> task<void> {
    co_await test();
    over = true;
  });
  CHECK(w.run_until([&] { return over; }, 48h));
}

time_point now() { return reactor::loop::current().now(); }

task<duration> wait_for(work_queue& q, const std::string& key) {
  auto before = now();
  CHECK(co_await q.next() == key);
  co_return now() - before;
}

}  // namespace

TEST_CASE("a key that waits is one key, and one that is worked on comes again") {
  on_host([]() -> task<void> {
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
    CHECK(q.take() == std::nullopt);
  });
}

TEST_CASE("of several times for a key the earliest counts") {
  on_host([]() -> task<void> {
    work_queue q;
    auto start = now();
    q.add_after("late", 1h);
    q.add_after("late", 2min);
    q.add_after("late", 2h);
    q.add_after("soon", 1s);
    CHECK(q.take() == std::nullopt);
    CHECK(co_await q.next() == "soon");
    CHECK(now() - start == 1s);
    CHECK(co_await q.next() == "late");
    CHECK(now() - start == 2min);
    q.done("soon");
    q.done("late");
    q.add_after("x", 1h);
    q.add("x");
    CHECK(co_await wait_for(q, "x") == 0s);
    CHECK(q.size() == 0);
  });
}

TEST_CASE("failures come back later and later, and anew after a success") {
  on_host([]() -> task<void> {
    work_queue q;
    q.add("k");
    CHECK(co_await wait_for(q, "k") == 0s);
    for (auto pause = 5ms; pause < 1000s; pause *= 2) {
      q.retry("k");
      CHECK(co_await wait_for(q, "k") == pause);
    }
    q.retry("k");
    CHECK(co_await wait_for(q, "k") == 1000s);
    q.done("k");
    q.add("k");
    CHECK(co_await wait_for(q, "k") == 0s);
    q.retry("k");
    CHECK(co_await wait_for(q, "k") == 5ms);
    q.retry("k", 2s);  // but no sooner than it is told
    CHECK(co_await wait_for(q, "k") == 2s);
  });
}

TEST_CASE("a failure does not keep what changed meanwhile waiting for its pause") {
  on_host([]() -> task<void> {
    work_queue q;
    q.add("k");
    CHECK(co_await q.next() == "k");
    for (int i = 0; i < 12; ++i) {
      q.retry("k");
      (void)co_await q.next();
    }
    q.add("k");
    q.retry("k");
    CHECK(co_await wait_for(q, "k") < 20s);
  });
}

TEST_CASE("what goes on in a queue is told under client-go's names") {
  on_host([]() -> task<void> {
    api::metrics all;
    work_queue q;
    auto board = work_in_progress::told_by(all);
    q.measure(std::make_unique<queue_metrics>(all, board, "some"));
    q.add("a");
    q.add("a");
    q.add("b");
    co_await reactor::sleep_for(2s);
    CHECK(co_await q.next() == "a");
    co_await reactor::sleep_for(5s);
    CHECK(co_await q.next() == "b");
    co_await reactor::sleep_for(15s);
    auto text = all.text();
    for (auto line : {"workqueue_unfinished_work_seconds{name=\"some\"} 35\n",
                      "workqueue_longest_running_processor_seconds{name=\"some\"} 20\n"})
      CHECK_MESSAGE(text.find(line) != std::string::npos, line);
    q.retry("a");
    q.done("b");
    text = all.text();
    for (auto line : {"workqueue_adds_total{name=\"some\"} 2\n", "workqueue_depth{name=\"some\"} 0\n",
                      "workqueue_retries_total{name=\"some\"} 1\n",
                      "workqueue_queue_duration_seconds_bucket{name=\"some\",le=\"1\"} 0\n",
                      "workqueue_queue_duration_seconds_bucket{name=\"some\",le=\"10\"} 2\n",
                      "workqueue_work_duration_seconds_bucket{name=\"some\",le=\"10\"} 0\n",
                      "workqueue_work_duration_seconds_count{name=\"some\"} 2\n",
                      "workqueue_unfinished_work_seconds{name=\"some\"} 0\n"})
      CHECK_MESSAGE(text.find(line) != std::string::npos, line);
  });
}
