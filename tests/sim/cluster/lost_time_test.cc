// Clusters whose machines lost the time: certificates that ended while all was off, clocks before 1980 and years ahead
// at a start, jumps while everything runs. All is well again once the clocks are, without a hand.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "cluster/played.h"
#include "crypto/certificate.h"
#include "crypto/files.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

constexpr duration day = 24h, year = 365 * day;
void jump(played& p, machine& m, duration by) {
  p.c.w.trace(fmt::format("{}: its clock jumps by {}", m.at->name(), format_duration(by)));
  m.at->jump_clock(by);
}

std::vector<crypto::certificate> certificates(const std::string& file) {
  auto text = crypto::read_file(file);
  REQUIRE_MESSAGE(text.has_value(), file);
  auto all = crypto::parse_bundle(*text);
  REQUIRE(all.has_value());
  return *std::move(all);
}

}  // namespace

TEST_CASE("what ended while all was off is made anew at the start, and who still shows it is told") {
  for (auto seed : seeds(2)) {
    CAPTURE(seed);
    played p(seed);
    auto& c = p.c;
    auto of_server = c.servers[0]->folder + "/data/server/tls/client-admin.crt";
    auto of_agent = c.agents[0]->folder + "/data/agent/client-kubelet.crt";
    int before = 0, after = 0;
    c.run_as_user([&]() -> task<void> { before = (co_await c.ask(0, "GET", "/api/v1/nodes")).status; });
    REQUIRE(c.w.run_until([&] { return before != 0; }, 30s));
    CHECK(before == 200);
    for (auto* m : p.all()) m->at->crash();
    for (auto& s : c.servers) s->ready = false;
    for (auto& a : c.agents) a->ready = false;
    for (auto* m : p.all()) jump(p, *m, 2 * year);
    c.users().jump_clock(2 * year);
    c.w.run_for(5s);
    for (auto& file : {of_server, of_agent}) CHECK(certificates(file).front().not_after() < p.now());
    for (auto* m : p.all()) m->at->restart();
    p.well();
    for (auto& file : {of_server, of_agent}) CHECK(certificates(file).front().not_after() > p.now() + 100 * day);
    // The user's, from before.
    json::value said;
    c.run_as_user([&]() -> task<void> {
      auto answer = co_await c.ask(0, "GET", "/api/v1/nodes");
      said = answer.body;
      after = answer.status;
    });
    REQUIRE(c.w.run_until([&] { return after != 0; }, 30s));
    CHECK(after == 401);
    CHECK(said["reason"].as_string() == "Unauthorized");
  }
}

TEST_CASE(
    "a server that starts before 1980, or beyond its authorities' end, harms nobody, and is well when its clock is") {
  // Before the epoch, too.
  for (duration by : {-45 * year, -60 * year, 15 * year}) {
    CAPTURE(format_duration(by));
    played p(7);
    auto& c = p.c;
    auto& lost = *c.servers[1];
    lost.at->crash();
    lost.ready = false;
    jump(p, lost, by);
    lost.at->restart();
    bool stayed = true;
    c.each_tick([&] { stayed = stayed && p.nodes_are_ready(); });
    c.w.run_for(3min);
    // The other one serves, and the nodes are Ready by it.
    CHECK(c.servers[0]->ready);
    CHECK(stayed);
    if (by < 0s) CHECK_FALSE(lost.ready);  // it waits
    jump(p, lost, -by);
    p.well();
    p.reachable();
  }
}

TEST_CASE("a server that starts years ahead makes nothing that is wrong when its clock is right again") {
  played p(8);
  auto& c = p.c;
  auto& ahead = *c.servers[1];
  ahead.at->crash();
  ahead.ready = false;
  jump(p, ahead, 5 * year);
  ahead.at->restart();
  REQUIRE(c.w.run_until([&] { return ahead.ready; }, played::settle));
  c.w.run_for(30s);
  jump(p, ahead, -5 * year);
  p.well();
  p.reachable();
  for (auto* name : {"client-admin", "client-kube-apiserver", "client-supervisor", "serving-kube-apiserver"}) {
    auto leaf = certificates(ahead.folder + "/data/server/tls/" + name + ".crt").front();
    CHECK_MESSAGE(leaf.not_before() <= p.now(), name);
    CHECK_MESSAGE(leaf.not_after() > p.now(), name);
  }
}

TEST_CASE("a node whose clock stands before the authorities trusts nobody, and joins as soon as its clock is right") {
  played p(9, {.servers = 1, .agents = 1});
  auto& c = p.c;
  auto& lost = *c.agents[0];
  lost.at->crash();
  lost.ready = false;
  jump(p, lost, -60 * year);
  lost.at->restart();
  c.w.run_for(60s);
  CHECK_FALSE(lost.ready);
  CHECK(lost.starts == 2);  // it waits, and doesn't end
  jump(p, lost, 60 * year);
  p.well();
  p.reachable();
}

TEST_CASE("clocks that jump by days and decades while all runs cost nothing that stays") {
  for (auto seed : seeds(2)) {
    CAPTURE(seed);
    played p(seed);
    auto& c = p.c;
    for (duration by : {2 * day, -2 * day, 2 * year, -60 * year})
      for (auto* m : p.all()) {
        CAPTURE(m->at->name());
        CAPTURE(format_duration(by));
        jump(p, *m, by);
        c.w.run_for(20s);
        // A server whose clock is wrong is nobody else's trouble.
        for (auto& s : c.servers)
          if (s.get() != m) CHECK(s->ready);
        jump(p, *m, -by);
      }
    p.well();
    p.reachable();
    for (auto* m : p.all()) CHECK(m->said.empty());  // nobody ended
  }
}
