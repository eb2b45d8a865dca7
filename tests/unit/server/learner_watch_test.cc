#include "server/etcd/learner_watch.h"

#include <doctest/doctest.h>

using namespace kedge;
using namespace kedge::server;
using namespace std::chrono_literals;

TEST_CASE("etcd: a learner that gets on may take as long as it needs, one that stands still goes") {
  learner_watch w;
  time_point now(1h);
  // One that hasn't started says nothing, and has its time all the same.
  CHECK(!w.stalled(7, {}, now));
  CHECK(!w.stalled(7, {}, now += learner_patience - 1s));
  CHECK(!w.stalled(7, 10, now += 500ms));
  for (std::uint64_t at = 11; at < 30; ++at) CHECK(!w.stalled(7, at, now += learner_patience - 1s));
  // It answers, and doesn't get on; or doesn't even answer.
  CHECK(!w.stalled(7, 29, now += learner_patience - 1s));
  CHECK(!w.stalled(7, 5, now += 500ms));
  CHECK(w.stalled(7, {}, now += 500ms));
  // Another one has time of its own.
  CHECK(!w.stalled(8, 3, now));
  CHECK(w.stalled(8, 3, now += learner_patience));
}
