#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "api/fairness/demand.h"
#include "api/fairness/limits.h"
#include "api/fairness/retry_after.h"

namespace kedge::api::fairness {
namespace {

using namespace std::chrono_literals;
constexpr time_point start_of_time{std::chrono::hours(1)};

level_share share(unsigned nominal, unsigned lowest, double smoothed, unsigned highest_demand, unsigned most = 1'000) {
  return {.limits = {.nominal = nominal, .lowest = lowest, .highest = most},
          .wants = {.smoothed = smoothed, .highest = highest_demand}};
}

unsigned sum_of(const std::vector<level_share>& all) {
  unsigned sum = 0;
  for (auto& l : all) sum += l.gets;
  return sum;
}

}  // namespace

TEST_CASE("demand is integrated over time") {
  demand_integral d(start_of_time);
  d.set(start_of_time, 2);
  d.set(start_of_time + 1s, 6);
  auto s = d.take(start_of_time + 2s);
  CHECK(s.seconds == doctest::Approx(2));
  CHECK(s.average == doctest::Approx(4));
  CHECK(s.deviation == doctest::Approx(2));
  CHECK(s.highest == 6);
  s = d.take(start_of_time + 3s);
  CHECK(s.average == doctest::Approx(6));
  CHECK(s.deviation == doctest::Approx(0));
}

TEST_CASE("smoothed demand rises at once and halves in five minutes") {
  demand d;
  d.update({.seconds = 10, .average = 30, .deviation = 10, .highest = 50});
  CHECK(d.smoothed == doctest::Approx(40));
  CHECK(d.highest == 50);
  for (int i = 0; i < 30; ++i) d.update({.seconds = 10});
  CHECK(d.smoothed == doctest::Approx(20).epsilon(0.02));
}

TEST_CASE("limits follow from shares") {
  // The suggested levels of 600 seats, as kube-apiserver 1.37 tells them.
  struct {
    double shares;
    int lendable;
    unsigned nominal, lowest;
  } table[] = {{5, 0, 13, 13},   {20, 50, 49, 24}, {10, 0, 25, 25},   {40, 25, 98, 73},
               {30, 33, 74, 50}, {40, 50, 98, 49}, {100, 90, 245, 24}};
  for (auto& t : table) {
    auto l = limits_of(t.shares, 245, 600, false, t.lendable, -1);
    CHECK(l.nominal == t.nominal);
    CHECK(l.lowest == t.lowest);
    CHECK(l.highest == t.nominal + 600);
  }
  CHECK(limits_of(40, 100, 600, false, 0, 50).highest == 360);
  CHECK(limits_of(40, 100, 600, false, 0, 0).highest == 240);
}

TEST_CASE("seats are shared by demand, within limits, and their sum stays") {
  std::mt19937 random(3);
  for (int i = 0; i < 2'000; ++i) {
    std::vector<level_share> all;
    unsigned nominal = 0;
    for (auto n = 1 + random() % 8; n > 0; --n) {
      unsigned of = 1 + random() % 200, lowest = random() % (of + 1), highest = random() % 400;
      all.push_back(share(of, lowest, random() % 500, highest, of + random() % 300));
      nominal += of;
    }
    share_out(all);
    CHECK(std::abs(static_cast<int>(sum_of(all)) - static_cast<int>(nominal)) <= static_cast<int>(all.size()));
    for (auto& l : all) {
      CHECK(l.gets + 1 >= std::max(l.limits.lowest,
                                   std::min(l.limits.nominal, l.wants.highest)));  // what it used lately is left to it
      CHECK(l.gets <= l.limits.highest + 1);
    }
  }
}

TEST_CASE("a busy level borrows what an idle one may lend, and no more") {
  std::vector<level_share> all{share(100, 10, 300, 300), share(100, 50, 0, 0)};
  share_out(all);
  CHECK(all[0].gets == 150);
  CHECK(all[1].gets == 50);
  all[0].limits.highest = 120;
  share_out(all);
  CHECK(all[0].gets == 120);
  CHECK(all[1].gets == 80);
}

TEST_CASE("exempt demand comes first, and the others then get what they must have") {
  std::vector<level_share> all{share(100, 20, 100, 100), share(100, 40, 100, 100)};
  all.push_back({.limits = {.exempt = true}, .wants = {.highest = 100}});
  share_out(all);
  CHECK(all[2].gets == 100);
  CHECK(all[0].gets == 43);  // 20 + 80 × (100 - 60) / (200 - 60)
  CHECK(all[1].gets == 57);
  all[2].wants.highest = 1'000;
  share_out(all);
  CHECK(all[0].gets == 20);
  CHECK(all[1].gets == 40);
}

TEST_CASE("shares in proportion to targets") {
  auto p = in_proportion(100, {{10, 0, 1'000}, {30, 0, 1'000}});
  REQUIRE(p.has_value());
  CHECK(p->fair == doctest::Approx(2.5));
  CHECK(p->shares == std::vector<double>{25, 75});
  p = in_proportion(100, {{10, 0, 1'000}, {30, 0, 50}, {10, 10, 20}});
  REQUIRE(p.has_value());
  CHECK(p->shares[0] == doctest::Approx(30));
  CHECK(p->shares[1] == doctest::Approx(50));
  CHECK(p->shares[2] == doctest::Approx(20));
  CHECK_FALSE(in_proportion(10, {{20, 20, 30}}).has_value());
  CHECK_FALSE(in_proportion(100, {{20, 0, 30}}).has_value());
  CHECK(in_proportion(0, {{0, 0, 0}})->shares == std::vector<double>{0});
}

TEST_CASE("who is refused often is told to stay away longer, up to 32 s, and then less again") {
  retry_after r;
  auto now = start_of_time;
  CHECK(r.refuse(now) == 1);
  int most = 0;
  for (int second = 0; second < 200; ++second) {
    now += 1s;
    for (int i = 0; i < 10; ++i) most = std::max(most, r.refuse(now));
  }
  CHECK(most == 32);
  CHECK(r.seconds() == 32);
  for (int i = 0; i < 40; ++i) {
    now += 100s;
    r.refuse(now);
  }
  CHECK(r.seconds() == 1);
}

}  // namespace kedge::api::fairness
