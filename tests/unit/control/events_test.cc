// Which of what controllers tell becomes an Event.
#include "control/event_correlator.h"

#include <doctest/doctest.h>

using namespace kedge;
using namespace kedge::control;
using namespace std::chrono_literals;
using verdict = event_correlator::verdict;

namespace {
time_point t(duration d) { return time_point(1h) + d; }
notice about(std::string name, std::string message) {
  return {{"v1", "Pod", "default", std::move(name), "u"}, false, "Why", std::move(message)};
}
}  // namespace

TEST_CASE("the same event counts up the one that is there") {
  event_correlator c;
  auto first = c.observe(about("p", "m"), t(0s));
  CHECK(first.what == verdict::create);
  CHECK(first.message == "m");
  c.written(first.key, "default", "p.1");
  auto second = c.observe(about("p", "m"), t(1s));
  CHECK(second.what == verdict::count_up);
  CHECK(second.name == "p.1");
  CHECK(second.count == 2);
  CHECK(c.observe(about("q", "m"), t(1s)).what == verdict::create);
  c.lost(first.key);
  CHECK(c.observe(about("p", "m"), t(2s)).what == verdict::create);
}

TEST_CASE("ten that differ in their message are one, for ten minutes") {
  event_correlator c;
  for (int i = 0; i < 9; ++i) {
    auto a = c.observe(about("p", std::to_string(i)), t(0s));
    CHECK(a.what == verdict::create);
    CHECK(a.message == std::to_string(i));
    c.written(a.key, "default", std::to_string(i));
  }
  auto tenth = c.observe(about("p", "9"), t(1s));
  CHECK(tenth.what == verdict::create);
  CHECK(tenth.message == "(combined from similar events): 9");
  c.written(tenth.key, "default", "combined");
  auto next = c.observe(about("p", "10"), t(2s));
  CHECK(next.what == verdict::count_up);
  CHECK(next.name == "combined");
  CHECK(next.message == "(combined from similar events): 10");
  CHECK(c.observe(about("p", "11"), t(20min)).message == "11");
}

TEST_CASE("an object has 25 events, and then one every five minutes") {
  event_correlator c;
  int told = 0;
  for (int i = 0; i < 100; ++i) {
    auto a = c.observe(about("p", "m"), t(0s));
    if (a.what == verdict::create) c.written(a.key, "default", "e");
    told += a.what != verdict::drop;
  }
  CHECK(told == 25);
  CHECK(c.observe(about("p", "m"), t(4min)).what == verdict::drop);
  auto later = c.observe(about("p", "m"), t(5min));
  CHECK(later.what == verdict::count_up);
  CHECK(later.count == 102);  // what was dropped was counted
  CHECK(c.observe(about("other", "m"), t(5min)).what == verdict::create);
}
