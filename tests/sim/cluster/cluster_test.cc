// A cluster of three servers and twenty agents through whatever may befall it: what was acknowledged stays and is
// everywhere, nobody reads what is older than what was read, leaders don't meet, nodes keep their leases and are
// reached again.
//
//   KEDGE_SIM_SEED=4711   one seed; KEDGE_SIM_SEEDS=500 so many; KEDGE_SIM_FIRST=5001 beginning with that;
//   KEDGE_SIM_LOG=1 all that they log scripts/simulate      ten thousand, on all cores
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "base/log.h"
#include "base/strings.h"
#include "checkers/history.h"
#include "checkers/leaders.h"
#include "checkers/leases.h"
#include "checkers/reach.h"
#include "cluster/cluster_world.h"
#include "cluster/quick_crypto.h"
#include "cluster/trouble.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

#if defined(__OPTIMIZE__) && !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
constexpr std::size_t usual_seeds = 16;  // some two seconds each: all of this program in less than a minute
#else
constexpr std::size_t usual_seeds = 3;  // it takes ten times as long
#endif
constexpr duration start_limit = 60s, trouble_time = 2min, recovery_limit = 2min, reach_limit = 60s;

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  auto* text = std::getenv(variable);
  return text ? parse_uint(text).value_or(otherwise) : otherwise;
}

std::vector<std::uint64_t> cluster_seeds() {
  auto first = number_from("KEDGE_SIM_FIRST", 1);
  auto all = seeds(number_from("KEDGE_SIM_SEEDS", usual_seeds));
  if (!std::getenv("KEDGE_SIM_SEED"))
    for (auto& s : all) s += first - 1;
  return all;
}

void be_quiet() {
  if (std::getenv("KEDGE_SIM_LOG"))
    log::configure({.least = log::level::debug});
  else
    log::configure({.least = log::level::error, .file = "/dev/null"});
}

// What a seed came to.
struct outcome {
  duration simulated{0}, lease_waited{0};
  std::uint64_t steps = 0;
  unsigned acknowledged = 0, read = 0, watched = 0, terms = 0, leaders_writes = 0, faults = 0;
};

outcome play(std::uint64_t seed, cluster_options options) {
  CAPTURE(seed);
  seeded_random of_openssl(seed);
  seeded_openssl seeded(of_openssl);
  cluster_world c(seed, options);
  auto began = c.w.now();
  auto why = c.wait_until_all_is_well(start_limit);
  REQUIRE_MESSAGE(why.empty(), why << "\n" << c.w.trace_text());

  lease_checker leases(c);
  leader_checker leaders(c);
  history_checker history(c);
  trouble faults(c);
  history.begin();
  faults.begin(c.w.now() + trouble_time);
  c.w.run_for(trouble_time + 100ms);

  why = c.wait_until_all_is_well(recovery_limit);
  if (!why.empty()) c.complain("recovery", "after all faults " + why);
  history.done();
  if (!c.w.run_until([&] { return history.ended(); }, 2min)) c.complain("recovery", "users wait for ever");
  history.compare();
  if (!c.w.run_until([&] { return history.compared(); }, 2min))
    c.complain("recovery", "the comparison gets no answers");
  reach_checker reach(c);
  reach.begin(reach_limit);
  if (!c.w.run_until([&] { return reach.ended(); }, reach_limit + 30s))
    c.complain("recovery", "nodes are asked for ever");

  std::string all;
  for (auto& one : c.complaints()) all += "  " + one + "\n";
  CHECK_MESSAGE(all.empty(), "seed " << seed << ":\n" << all << c.w.trace_text());
  return {c.w.now() - began, leases.longest(), c.w.steps(),      history.acknowledged(), history.read(),
          history.watched(), leaders.terms(),  leaders.writes(), faults.count()};
}

// How a server's start went, and how many questions to the database it took.
struct start {
  bool ready;
  unsigned starts, asked;
  std::string said;
};

// From the question of that number on (0: never) the database fails for a while: errors, also after a commit, or no
// answer at all.
start start_through_silence(unsigned at, bool lost) {
  constexpr auto silence = 20s;
  constexpr std::uint64_t seed = 1;  // the same questions each time, as far as that one
  seeded_random of_openssl(seed);
  seeded_openssl seeded(of_openssl);
  cluster_world c(seed, {.servers = 1, .agents = 0});
  auto& s = *c.servers.front();
  unsigned asked = 0;
  bool failing = false;
  auto ask = [&](errc code) -> std::optional<error> {
    if (++asked == at) {
      (lost ? s.link.cut : failing) = true;
      c.w.after(silence, [&] { s.link.cut = failing = false; });
    }
    if (!failing) return std::nullopt;
    return error{code, "the database is silent"};
  };
  c.db.faults.fail_read = c.db.faults.fail_before_commit = [&] { return ask(errc::unavailable); };
  c.db.faults.fail_after_commit = [&] { return ask(errc::unknown_outcome); };
  c.w.run_until([&] { return s.ready || s.starts > 1; }, 2min);
  return {s.ready, s.starts, asked, s.said};
}

}  // namespace

TEST_CASE("a cluster lives through whatever befalls it") {
  be_quiet();
  outcome all;
  auto from = std::chrono::steady_clock::now();
  auto to_play = cluster_seeds();
  for (auto seed : to_play) {
    auto one = play(seed, {.own_nodes = seed % 4 == 0});
    all.simulated += one.simulated;
    all.steps += one.steps;
    all.acknowledged += one.acknowledged;
    all.read += one.read;
    all.watched += one.watched;
    all.terms += one.terms;
    all.leaders_writes += one.leaders_writes;
    all.faults += one.faults;
    all.lease_waited = std::max(all.lease_waited, one.lease_waited);
  }
  auto took = std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
  auto simulated = std::chrono::duration<double>(all.simulated).count();
  MESSAGE(
      fmt::format("{} seeds, {:.0f} s simulated in {:.1f} s: {:.0f} a second; {} steps, {} faults, {} terms, {} "
                  "leaders' writes, {} acknowledged, {} lists, {} events; a lease waited {}",
                  to_play.size(), simulated, took, simulated / took, all.steps, all.faults, all.terms,
                  all.leaders_writes, all.acknowledged, all.read, all.watched, format_duration(all.lease_waited)));
  // Of what it is about there was some.
  CHECK(all.acknowledged > 20 * to_play.size());
  CHECK(all.read > 10 * to_play.size());
  CHECK(all.watched > 10 * to_play.size());
  CHECK(all.leaders_writes > to_play.size());
}

TEST_CASE("a start waits for a database that falls silent, wherever it has got to") {
  be_quiet();
  const auto all = start_through_silence(0, false).asked;
  REQUIRE(all > 20);
  constexpr unsigned places = 10;
  for (unsigned i = 0; i < places; ++i)
    for (bool lost : {false, true}) {
      const auto at = 1 + (all - 1) * i / (places - 1);
      CAPTURE(at);
      CAPTURE(lost);
      auto start = start_through_silence(at, lost);
      CHECK_MESSAGE(start.ready, start.said);
      CHECK(start.starts == 1);
      CHECK(start.asked >= at);
    }
}

TEST_CASE("a seed plays the same each time") {
  be_quiet();
  auto a = play(4711, {.servers = 2, .agents = 3});
  auto b = play(4711, {.servers = 2, .agents = 3});
  CHECK(a.steps == b.steps);
  CHECK(a.acknowledged == b.acknowledged);
  CHECK(a.simulated == b.simulated);
}
