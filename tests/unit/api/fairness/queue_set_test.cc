#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "api/fairness/limits.h"
#include "api/fairness/queue_set.h"
#include "api/fairness/shuffle.h"

namespace kedge::api::fairness {
namespace {

using namespace std::chrono_literals;
using verdict = queue_set::verdict;

constexpr time_point start_of_time{std::chrono::hours(1)};

// Fair queueing told as plainly as it can be: everything is looked up in lists of requests, each time.
class model {
 public:
  using ticket = queue_set::ticket;
  struct request {
    ticket id;
    work cost;
    std::size_t queue;
    seat_time arrival, total;
    time_point began{};
    enum { waits, runs, lingers } what;
  };
  queue_set::settings settings;
  unsigned limit = 0, elsewhere = 0;
  std::vector<seat_time> next;  // S of each queue's next request
  std::vector<request> all;     // in the order of arrival
  seat_time progress = 0;
  time_point at{};
  std::size_t robin = 0, starts = 0;
  std::vector<ticket> dispatched;

  model(queue_set::settings s, unsigned l) : settings(s), limit(l), next(s.queues) {}

  unsigned seats() const {
    unsigned n = 0;
    for (auto& r : all)
      if (r.what != request::waits) n += r.cost.max_seats();
    return n;
  }
  std::vector<request*> waiting(std::size_t queue) {
    std::vector<request*> out;
    for (auto& r : all)
      if (r.queue == queue && r.what == request::waits) out.push_back(&r);
    return out;
  }
  bool active(std::size_t queue) const {
    return std::ranges::any_of(all, [&](auto& r) { return r.queue == queue && r.what != request::lingers; });
  }
  void advance(time_point now) {
    unsigned wanted = 0;
    std::size_t busy = 0;
    for (auto& r : all) wanted += r.cost.max_seats();
    for (std::size_t q = 0; q < next.size(); ++q) busy += active(q);
    if (busy > 0) progress += seats_for(std::min<double>(wanted, limit) / static_cast<double>(busy), now - at);
    at = now;
  }
  bool fits(unsigned n) const { return n > limit ? seats() + elsewhere == 0 : seats() + elsewhere + n <= limit; }
  void bound(std::size_t q) {
    if (auto w = waiting(q); !w.empty()) next[q] = std::max(next[q], w.front()->arrival);
  }
  void dispatch(time_point now) {
    while (seats() + elsewhere < limit) {
      auto first = std::numeric_limits<seat_time>::max();
      std::optional<std::size_t> best;
      for (std::size_t n = 1; n <= next.size(); ++n) {
        auto q = (robin + n) % next.size();
        auto w = waiting(q);
        if (!w.empty() && next[q] + w.front()->total < first) first = next[q] + w.front()->total, best = q;
      }
      if (!best) return;
      auto* r = waiting(*best).front();
      if (!fits(r->cost.max_seats())) return;
      robin = *best;
      if (r->cost.final_seats > limit) {
        r->cost.after = duration(
            static_cast<std::int64_t>(static_cast<double>(r->cost.after.count()) * r->cost.final_seats / limit));
        r->cost.final_seats = limit;
      }
      r->what = request::runs;
      r->began = now;
      next[*best] += r->total;
      bound(*best);
      dispatched.push_back(r->id);
    }
  }
  verdict start(time_point now, ticket id, work w, std::uint64_t hash) {
    advance(now);
    hand h(hash, settings.queues, settings.hand_size);
    auto cards = h.cards();
    auto offset = starts++ % cards.size();
    auto least = std::numeric_limits<seat_time>::max();
    std::size_t q = 0;
    for (std::size_t i = 0; i < cards.size(); ++i) {
      auto card = cards[(offset + i) % cards.size()];
      seat_time sum = 0;
      for (auto* r : waiting(card)) sum += r->total;
      if (sum < least) least = sum, q = card;
    }
    if (seats() + elsewhere >= limit && waiting(q).size() >= settings.queue_length) return verdict::queue_full;
    if (!active(q)) next[q] = progress;
    auto total = seats_for(w.seats, service_time) + seats_for(w.final_seats, w.after);
    all.push_back({id, w, q, progress, total, {}, request::waits});
    bound(q);
    dispatch(now);
    auto runs = std::ranges::find(all, id, &request::id)->what == request::runs;
    if (runs) std::erase(dispatched, id);
    return runs ? verdict::runs : verdict::waits;
  }
  bool cancel(time_point now, ticket id) {
    advance(now);
    auto r = std::ranges::find(all, id, &request::id);
    if (r == all.end() || r->what != request::waits) return false;
    auto q = r->queue;
    all.erase(r);
    bound(q);
    dispatch(now);
    return true;
  }
  void finish(time_point now, ticket id) {
    advance(now);
    auto r = std::ranges::find(all, id, &request::id);
    auto q = r->queue;
    next[q] -= seats_for(r->cost.seats, duration(service_time) - (now - r->began));
    r->what = request::lingers;
    bound(q);
    if (r->cost.after == duration(0)) all.erase(r);
    dispatch(now);
  }
  void release(time_point now, ticket id) {
    advance(now);
    all.erase(std::ranges::find(all, id, &request::id));
    dispatch(now);
  }
};

}  // namespace

TEST_CASE("queues decide as the model does, and give out no more seats than there are") {
  for (unsigned seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    auto below = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
    const queue_set::settings s{.queues = 1 + below(8), .hand_size = 1, .queue_length = 1 + below(6)};
    auto settings = s;
    settings.hand_size = 1 + below(std::min(3u, s.queues));
    unsigned limit = 1 + below(12);
    bool shrunk = false;
    queue_set real;
    model m(settings, limit);
    auto now = start_of_time;
    real.configure(now, settings, limit);
    m.at = now;
    std::vector<queue_set::ticket> running, lingering, waiting;
    queue_set::ticket next = 1;
    for (int step = 0; step < 400; ++step) {
      CAPTURE(step);
      if (below(3) == 0) now += std::chrono::microseconds(below(9'000));
      auto pick = [&](std::vector<queue_set::ticket>& from) {
        auto i = below(static_cast<unsigned>(from.size()));
        auto t = from[i];
        from.erase(from.begin() + i);
        return t;
      };
      switch (below(8)) {
        case 0:
        case 1:
        case 2: {
          work w{.seats = 1 + below(3)};
          if (below(4) == 0) w = {.seats = 1, .final_seats = 1 + below(14), .after = 5ms};
          auto hash = below(5) * 0x9e3779b97f4a7c15u;
          auto got = real.start(now, next, w, hash);
          REQUIRE(got == m.start(now, next, w, hash));
          if (got == verdict::runs) running.push_back(next);
          if (got == verdict::waits) waiting.push_back(next);
          ++next;
          break;
        }
        case 3:
        case 4:
          if (!running.empty()) {
            auto t = pick(running);
            m.finish(now, t);
            if (real.finish(now, t) > duration(0)) lingering.push_back(t);
          }
          break;
        case 5:
          if (!lingering.empty()) {
            auto t = pick(lingering);
            m.release(now, t);
            real.release(now, t);
          }
          break;
        case 6:
          if (!waiting.empty()) {
            auto t = pick(waiting);
            REQUIRE(real.cancel(now, t) == m.cancel(now, t));
          }
          break;
        case 7:
          if (below(3) == 0) {
            auto lower = below(limit + 1);
            m.advance(now);
            m.elsewhere = lower;
            m.dispatch(now);
            real.set_elsewhere(now, lower);
            shrunk = shrunk || real.seats_in_use() + lower > limit;
          }
          break;
      }
      auto dispatched = real.take_dispatched();
      REQUIRE(dispatched == std::exchange(m.dispatched, {}));
      for (auto t : dispatched) {
        std::erase(waiting, t);
        running.push_back(t);
      }
      REQUIRE(real.seats_in_use() == m.seats());
      REQUIRE(real.progress() == m.progress);
      REQUIRE(real.running() == running.size());
      REQUIRE(real.waiting() == waiting.size());
      const bool wide_alone = real.running() <= 1 && running.size() + lingering.size() <= 1;
      if (!shrunk && !wide_alone) REQUIRE(real.seats_in_use() + m.elsewhere <= limit);
      if (real.seats_in_use() + m.elsewhere <= limit) shrunk = false;
    }
  }
}

namespace {

// Flows that always have `backlog` requests of `width` seats waiting, each running for `takes`; seat time of each after
// a while.
struct demand_of_flow {
  unsigned width, backlog;
  duration takes;
};
std::vector<double> shares_of(const std::vector<demand_of_flow>& flows, unsigned limit, duration whole) {
  queue_set q;
  auto now = start_of_time;
  q.configure(now, {.queues = 16, .hand_size = 1, .queue_length = 1'000}, limit);
  std::vector<double> used(flows.size());
  std::vector<unsigned> waiting(flows.size());
  struct one {
    time_point ends;
    queue_set::ticket id;
    std::size_t flow;
    auto operator<=>(const one&) const = default;
  };
  std::set<one> running;
  std::vector<std::size_t> flow_of(1);
  auto began = [&](queue_set::ticket t) {
    auto f = flow_of[t];
    running.insert({now + flows[f].takes, t, f});
    used[f] += seat_seconds(seats_for(flows[f].width, flows[f].takes));
  };
  for (;;) {
    for (std::size_t f = 0; f < flows.size(); ++f)
      while (waiting[f] < flows[f].backlog) {
        auto t = flow_of.size();
        flow_of.push_back(f);
        auto v = q.start(now, t, {.seats = flows[f].width}, f);  // hash f: queue f
        REQUIRE((v == verdict::runs || v == verdict::waits));
        if (v == verdict::waits) ++waiting[f];
        if (v == verdict::runs) began(t);
        for (auto d : q.take_dispatched()) --waiting[flow_of[d]], began(d);
      }
    auto first = *running.begin();
    if (first.ends - start_of_time > whole) return used;
    now = first.ends;
    running.erase(running.begin());
    q.finish(now, first.id);
    for (auto d : q.take_dispatched()) --waiting[flow_of[d]], began(d);
  }
}

}  // namespace

TEST_CASE("flows that want more than there is get equal seat time, whatever their requests are like") {
  struct {
    std::vector<demand_of_flow> flows;
    unsigned limit;
  } cases[] = {
      {{{1, 50, 5ms}, {1, 50, 5ms}}, 10},
      {{{1, 500, 5ms}, {1, 10, 5ms}}, 10},  // how many wait gives no right
      {{{1, 50, 50ms}, {1, 50, 1ms}}, 10},  // nor how long they take
      {{{5, 50, 10ms}, {1, 50, 10ms}, {1, 50, 3ms}}, 20},
  };
  for (auto& c : cases) {
    auto used = shares_of(c.flows, c.limit, 20s);
    double all = 0;
    for (auto u : used) all += u;
    CHECK(all == doctest::Approx(c.limit * 20).epsilon(0.05));  // no seat idles
    for (auto u : used) CHECK(u == doctest::Approx(all / static_cast<double>(used.size())).epsilon(0.06));
  }
}

TEST_CASE("a flow within its share waits for hardly anybody, however many others queue") {
  queue_set q;
  auto now = start_of_time;
  q.configure(now, {.queues = 4, .hand_size = 1, .queue_length = 1'000}, 1);
  for (queue_set::ticket t = 1; t <= 500; ++t) q.start(now, t, {}, 0);
  (void)q.take_dispatched();
  REQUIRE(q.start(now, 1'000, {}, 1) == verdict::waits);
  now += 3ms;
  q.finish(now, 1);
  auto next = q.take_dispatched();
  now += 3ms;
  q.finish(now, next.at(0));
  auto then = q.take_dispatched();
  CHECK((next.at(0) == 1'000 || then.at(0) == 1'000));
}

TEST_CASE("a request wider than the level runs alone, and everybody gets their turn") {
  queue_set q;
  auto now = start_of_time;
  q.configure(now, {.queues = 4, .hand_size = 1, .queue_length = 10}, 4);
  CHECK(q.start(now, 1, {.seats = 2}, 0) == verdict::runs);
  CHECK(q.start(now, 2, {.seats = 9}, 1) == verdict::waits);
  now += 1ms;
  q.finish(now, 1);
  CHECK(q.take_dispatched() == std::vector<queue_set::ticket>{2});
  CHECK(q.start(now, 3, {}, 0) == verdict::waits);
  now += 1ms;
  q.finish(now, 2);
  CHECK(q.take_dispatched() == std::vector<queue_set::ticket>{3});
}

TEST_CASE("seats of requests with watchers stay taken for a while after their end") {
  queue_set q;
  auto now = start_of_time;
  q.configure(now, {.queues = 2, .hand_size = 1, .queue_length = 10}, 3);
  CHECK(q.start(now, 1, {.seats = 1, .final_seats = 3, .after = 5ms}, 0) == verdict::runs);
  CHECK(q.seats_in_use() == 3);
  CHECK(q.start(now, 2, {}, 1) == verdict::waits);
  now += 1ms;
  CHECK(q.finish(now, 1) == 5ms);
  CHECK(q.take_dispatched().empty());
  now += 5ms;
  q.release(now, 1);
  CHECK(q.take_dispatched() == std::vector<queue_set::ticket>{2});
}

TEST_CASE("without queues who finds no seat is refused") {
  queue_set q;
  q.configure(start_of_time, {}, 2);
  CHECK(q.start(start_of_time, 1, {}, 0) == verdict::runs);
  CHECK(q.start(start_of_time, 2, {}, 0) == verdict::runs);
  CHECK(q.start(start_of_time, 3, {}, 0) == verdict::no_seat);
  q.finish(start_of_time + 1ms, 1);
  CHECK(q.start(start_of_time + 1ms, 4, {}, 0) == verdict::runs);
}

TEST_CASE("new settings keep those who wait, and drop queues only when they are empty") {
  queue_set q;
  auto now = start_of_time;
  q.configure(now, {.queues = 8, .hand_size = 1, .queue_length = 10}, 1);
  CHECK(q.start(now, 1, {}, 7) == verdict::runs);
  CHECK(q.start(now, 2, {}, 7) == verdict::waits);
  q.configure(now, {.queues = 2, .hand_size = 1, .queue_length = 10}, 1);
  CHECK(q.queues().size() == 8);
  CHECK(q.start(now, 3, {}, 7) == verdict::waits);  // among two queues now
  now += 1ms;
  q.finish(now, 1);
  auto d = q.take_dispatched();
  REQUIRE(d.size() == 1);
  now += 1ms;
  q.finish(now, d[0]);
  auto last = q.take_dispatched();
  REQUIRE(last.size() == 1);
  now += 1ms;
  q.finish(now, last[0]);
  CHECK(q.queues().size() == 2);
  q.configure(now, {.queues = 2, .hand_size = 1, .queue_length = 10}, 5);
  CHECK(q.start(now, 4, {}, 0) == verdict::runs);
}

TEST_CASE("hands are different queues, dealt evenly, and seldom the same") {
  std::map<unsigned, int> dealt;
  std::set<std::vector<unsigned>> hands;
  std::mt19937_64 random(7);
  for (int i = 0; i < 20'000; ++i) {
    hand h(random() >> 4, 16, 4);
    std::vector<unsigned> cards(h.cards().begin(), h.cards().end());
    std::ranges::sort(cards);
    REQUIRE(std::ranges::adjacent_find(cards) == cards.end());
    REQUIRE(cards.back() < 16);
    for (auto c : cards) ++dealt[c];
    hands.insert(cards);
  }
  CHECK(hands.size() == 1'820);  // all of 16 over 4
  for (auto& [card, n] : dealt) CHECK(n == doctest::Approx(5'000).epsilon(0.06));
  // Facts of the algorithm, as kube-apiserver deals: digits of the hash in the mixed radix, each among the cards that
  // are left.
  auto cards = [](std::uint64_t hash, unsigned queues, unsigned size) {
    hand h(hash, queues, size);
    return std::vector<unsigned>(h.cards().begin(), h.cards().end());
  };
  CHECK(cards(0, 8, 3) == std::vector<unsigned>{0, 1, 2});
  CHECK(cards(7 + 8 * 6 + 56 * 5, 8, 3) == std::vector<unsigned>{7, 6, 5});
  CHECK(cards(3 + 8 * 3 + 56 * 3, 8, 3) == std::vector<unsigned>{3, 4, 5});
  CHECK(may_deal(128, 6));
  CHECK(may_deal(64, 10));
  CHECK_FALSE(may_deal(128, 9));
  CHECK_FALSE(may_deal(4, 5));
  CHECK_FALSE(may_deal(0, 1));
}

}  // namespace kedge::api::fairness
