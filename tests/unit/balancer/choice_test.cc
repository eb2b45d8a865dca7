// K3s's state machine as a table, and what Kedge adds to it.
#include "balancer/choice.h"

#include <doctest/doctest.h>

#include <map>

using namespace kedge;
using namespace std::chrono_literals;
using namespace balancer;

namespace {

const time_point start{1h};

// A list with one server "a" driven to `wanted` by the rules themselves.
choice in_state(state wanted, std::size_t connections, time_point& now) {
  choice c({.extended = false});
  c.set_addresses({"a:1"}, now);
  auto reached = [&] { return c.find("a:1")->state == wanted; };
  if (wanted == state::failed) c.failure("a:1", reason::dial, now);
  if (wanted == state::standby) {
    c = choice({.extended = false});
    c.set_default("a:1", now);
  }
  if (wanted >= state::recovering) c.success("a:1", reason::health_check, now);
  if (wanted >= state::healthy) c.success("a:1", reason::health_check, now);
  if (wanted == state::healthy) {
    now += 61s;
    c.success("a:1", reason::health_check, now);
  }
  if (wanted == state::active) c.success("a:1", reason::dial, now);
  REQUIRE(reached());
  c.find("a:1")->connections = connections;
  return c;
}

}  // namespace

TEST_CASE("transitions of one server") {
  enum event { dial_ok, health_ok, dial_bad, health_bad };
  struct row {
    state from;
    event what;
    std::size_t connections;
    duration later;
    state to;
    bool cut;
  };
  const row rows[] = {
      {state::unchecked, dial_ok, 0, 0s, state::recovering, false},
      {state::unchecked, health_ok, 0, 0s, state::recovering, false},
      {state::unchecked, dial_bad, 0, 0s, state::failed, false},
      {state::unchecked, health_bad, 0, 0s, state::unchecked, false},
      {state::failed, dial_ok, 0, 0s, state::recovering, false},
      {state::failed, health_ok, 0, 0s, state::recovering, false},
      {state::failed, dial_bad, 0, 0s, state::failed, false},
      {state::failed, health_bad, 0, 0s, state::failed, false},
      {state::recovering, dial_ok, 1, 0s, state::recovering, false},
      {state::recovering, health_ok, 0, 0s, state::preferred, false},
      {state::recovering, health_ok, 1, 0s, state::active, false},
      {state::recovering, dial_bad, 1, 0s, state::failed, false},
      {state::recovering, health_bad, 1, 0s, state::recovering, false},
      {state::preferred, dial_ok, 1, 0s, state::active, false},
      {state::preferred, health_ok, 0, 60s, state::preferred, false},
      {state::preferred, health_ok, 0, 61s, state::healthy, false},
      {state::preferred, dial_bad, 0, 0s, state::failed, true},
      {state::preferred, health_bad, 0, 0s, state::failed, true},
      {state::healthy, dial_ok, 1, 0s, state::active, false},
      {state::healthy, health_ok, 0, 100s, state::healthy, false},
      {state::healthy, dial_bad, 0, 0s, state::failed, true},
      {state::healthy, health_bad, 0, 0s, state::failed, true},
      {state::active, dial_ok, 2, 0s, state::active, false},
      {state::active, health_ok, 2, 100s, state::active, false},
      {state::active, dial_bad, 2, 0s, state::failed, true},
      {state::active, health_bad, 2, 0s, state::failed, true},
      {state::standby, dial_ok, 1, 0s, state::standby, false},
      {state::standby, dial_bad, 1, 0s, state::standby, false},
      {state::standby, health_ok, 0, 0s, state::standby, false},
  };
  for (auto& r : rows) {
    CAPTURE(name_of(r.from));
    CAPTURE(static_cast<int>(r.what));
    CAPTURE(r.connections);
    auto now = start;
    auto c = in_state(r.from, r.connections, now);
    auto before = c.find("a:1")->cut;
    now += r.later;
    auto why = r.what == dial_ok || r.what == dial_bad ? reason::dial : reason::health_check;
    r.what == dial_ok || r.what == health_ok ? c.success("a:1", why, now) : c.failure("a:1", why, now);
    CHECK(c.find("a:1")->state == r.to);
    CHECK((c.find("a:1")->cut != before) == r.cut);
  }
}

TEST_CASE("what becoming ACTIVE does to the others") {
  for (auto other : {state::failed, state::recovering, state::preferred, state::healthy, state::active}) {
    CAPTURE(name_of(other));
    choice c({.extended = false});
    auto now = start;
    c.set_addresses({"a:1", "b:1"}, now);
    for (int i = 0; i < 2; ++i) c.success("b:1", reason::health_check, now);  // PREFERRED
    if (other == state::failed) c.failure("a:1", reason::dial, now);
    if (other >= state::recovering) c.success("a:1", reason::health_check, now);
    if (other >= state::healthy) c.success("a:1", reason::health_check, now);
    if (other == state::healthy) c.success("a:1", reason::health_check, now + 61s);
    if (other == state::active) c.success("a:1", reason::dial, now);
    REQUIRE(c.find("a:1")->state == other);
    c.find("b:1")->connections = 1;
    auto before = *c.find("a:1");
    c.success("b:1", reason::dial, now);
    CHECK(c.find("b:1")->state == state::active);
    CHECK(c.servers().front().address == "b:1");
    CHECK((c.find("a:1")->cut != before.cut) == (other == state::failed));
    CHECK((c.find("a:1")->move != before.move) == (other != state::failed && other != state::preferred));
    if (other == state::active) CHECK(c.find("a:1")->state == state::preferred);
  }
  // The one with more connections stays, and the newcomer's move.
  choice c({.extended = false});
  c.set_addresses({"a:1", "b:1"}, start);
  for (auto* a : {"a:1", "b:1"})
    for (int i = 0; i < 2; ++i) c.success(a, reason::health_check, start);
  c.success("a:1", reason::dial, start);
  c.find("a:1")->connections = 3;
  c.find("b:1")->connections = 1;
  c.success("b:1", reason::dial, start);
  CHECK(c.find("a:1")->state == state::active);
  CHECK(c.find("b:1")->state == state::preferred);
  CHECK(c.find("b:1")->move == 1);
  CHECK(c.find("b:1")->cut == 0);
  CHECK(c.find("a:1")->move == 0);
}

TEST_CASE("a server that stops, or refuses, keeps its connections for a while") {
  for (auto why : {reason::farewell, reason::refusal})
    for (auto from : {state::unchecked, state::recovering, state::preferred, state::healthy, state::active}) {
      CAPTURE(static_cast<int>(why));
      CAPTURE(name_of(from));
      choice c;
      auto now = start;
      c.set_default("fixed:1", now);
      c.set_addresses({"a:1", "b:1"}, now);
      for (int i = 0; i < 2; ++i) c.success("b:1", reason::health_check, now);
      if (from >= state::recovering) c.success("a:1", reason::health_check, now);
      if (from >= state::healthy) c.success("a:1", reason::health_check, now);
      if (from == state::healthy) c.success("a:1", reason::health_check, now + 61s);
      if (from == state::active) c.success("a:1", reason::dial, now);
      REQUIRE(c.find("a:1")->state == from);
      c.find("a:1")->connections = 3;
      c.failure("a:1", why, now);
      CHECK(c.find("a:1")->state == state::failed);
      CHECK(c.find("a:1")->leaving);
      CHECK(c.find("a:1")->move > 0);
      CHECK(c.find("a:1")->cut == 0);
      // A stop is no sign that the server can't be relied on.
      CHECK(c.find("a:1")->failures == (why == reason::refusal ? 1 : 0));
      // New connections try all the others first.
      CHECK(c.servers().back().address == "a:1");
      // Nothing that is found out now, and nobody else's rise, cuts what it still answers.
      for (auto r : {reason::dial, reason::health_check, reason::refusal, reason::farewell}) c.failure("a:1", r, now);
      c.success("b:1", reason::dial, now);
      CHECK(c.find("b:1")->state == state::active);
      CHECK(c.find("a:1")->cut == 0);
      CHECK(c.find("a:1")->leaving);
      // It comes back, and is then what any server is.
      c.success("a:1", reason::health_check, now);
      CHECK(c.find("a:1")->state == state::recovering);
      CHECK_FALSE(c.find("a:1")->leaving);
      c.success("a:1", reason::health_check, now);
      c.failure("a:1", reason::dial, now);
      CHECK(c.find("a:1")->cut > 0);
      CHECK_FALSE(c.find("a:1")->leaving);
    }
  // K3s's rules cut, whatever the failure is.
  auto now = start;
  auto c = in_state(state::active, 1, now);
  c.failure("a:1", reason::refusal, now);
  CHECK(c.find("a:1")->cut == 1);
  CHECK_FALSE(c.find("a:1")->leaving);
}

TEST_CASE("the only server, dead before it was more than dialled, keeps nobody") {
  auto now = start;
  for (bool extended : {true, false}) {
    choice c({.extended = extended});
    c.set_default("fixed:6443", now);
    c.set_addresses({"a:1"}, now);
    c.success("a:1", reason::dial, now);
    REQUIRE(c.find("a:1")->state == state::recovering);
    c.failure("a:1", reason::health_check, now);  // a tunnel that isn't there yet says nothing
    CHECK(c.find("a:1")->cut == 0);
    c.failure("a:1", reason::dial, now);
    CHECK(c.find("a:1")->state == state::failed);
    CHECK((c.find("a:1")->cut > 0) == extended);
  }
}

TEST_CASE("the default server: standby, real, standby again") {
  choice c;
  c.set_default("fixed:6443", start);
  CHECK(c.addresses().empty());
  CHECK(c.find("fixed:6443")->state == state::standby);
  CHECK(c.set_addresses({"a:1", "fixed:6443"}, start));
  CHECK_FALSE(c.set_addresses({"fixed:6443", "a:1"}, start));
  CHECK(c.find("fixed:6443")->state == state::unchecked);
  CHECK(c.addresses().size() == 2);
  CHECK(c.set_addresses({"a:1", "b:1"}, start));
  CHECK(c.find("fixed:6443")->state == state::standby);
  CHECK(c.find("fixed:6443")->move == 1);
  CHECK(c.find("fixed:6443")->cut == 0);
  CHECK(c.addresses() == std::vector<std::string>{"a:1", "b:1"});
  // Tried after what is unknown, before what has failed.
  c.failure("a:1", reason::dial, start);
  std::vector<std::string> order;
  for (auto& s : c.servers()) order.push_back(s.address);
  CHECK(order == std::vector<std::string>{"b:1", "fixed:6443", "a:1"});
  CHECK(c.set_addresses({"a:1"}, start));
  CHECK(c.find("b:1") == nullptr);
}

TEST_CASE("servers get equal shares of the agents, and a new one its share") {
  std::map<std::string, int> before, after;
  int moved_elsewhere = 0;
  for (int i = 0; i < 3000; ++i) {
    choice c({.node_name = "edge-" + std::to_string(i)});
    c.set_addresses({"10.0.0.1:6443", "10.0.0.2:6443"}, start);
    auto first = c.servers().front().address;
    ++before[first];
    c.set_addresses({"10.0.0.1:6443", "10.0.0.2:6443", "10.0.0.3:6443"}, start);
    auto then = c.servers().front().address;
    ++after[then];
    if (then != first && then != "10.0.0.3:6443") ++moved_elsewhere;
  }
  for (auto& [address, n] : before) CHECK(std::abs(n - 1500) < 150);
  REQUIRE(after.size() == 3);
  for (auto& [address, n] : after) CHECK(std::abs(n - 1000) < 150);
  CHECK(moved_elsewhere == 0);
}

TEST_CASE("an agent's own server takes over once it is settled, and not while it flaps") {
  choice c({.node_name = "edge-1"});
  auto now = start;
  c.set_addresses({"a:1", "b:1"}, now);
  auto own = c.servers().front().address, other = own == "a:1" ? std::string("b:1") : std::string("a:1");
  c.failure(own, reason::dial, now);
  for (int i = 0; i < 2; ++i) c.success(other, reason::health_check, now);
  c.success(other, reason::dial, now);
  c.find(other)->connections = 5;
  CHECK(c.servers().front().address == other);
  for (int i = 0; i < 2; ++i) c.success(own, reason::health_check, now);
  CHECK(c.find(own)->state == state::preferred);
  now += 6s;  // one failure doubles the five seconds
  c.tick(now);
  CHECK(c.servers().front().address == other);
  now += 5s;
  c.tick(now);
  CHECK(c.servers().front().address == own);
  c.find(own)->connections = 1;
  c.success(own, reason::dial, now);
  CHECK(c.find(own)->state == state::active);
  CHECK(c.find(other)->state == state::preferred);
  CHECK(c.find(other)->move > 0);
  for (int i = 0; i < 4; ++i) {
    c.failure(own, reason::health_check, now);
    for (int k = 0; k < 2; ++k) c.success(own, reason::health_check, now);
  }
  now += 60s;
  c.tick(now);
  c.success(other, reason::dial, now);
  CHECK(c.servers().front().address == other);
}

TEST_CASE("a slow server comes behind the quick ones and gives way") {
  choice c({.node_name = "edge-1"});
  c.set_addresses({"a:1", "b:1"}, start);
  auto own = c.servers().front().address, other = own == "a:1" ? std::string("b:1") : std::string("a:1");
  for (auto& a : {own, other})
    for (int i = 0; i < 2; ++i) c.success(a, reason::health_check, start);
  c.success(own, reason::dial, start);
  c.find(own)->connections = 9;
  c.measured(other, 2ms);
  for (int i = 0; i < 2; ++i) c.measured(own, 900ms);
  CHECK_FALSE(c.find(own)->slow);
  c.measured(own, 900ms);
  CHECK(c.find(own)->slow);
  c.tick(start + 10s);
  CHECK(c.servers().front().address == other);
  c.find(other)->connections = 1;
  c.success(other, reason::dial, start + 10s);
  CHECK(c.find(other)->state == state::active);
  CHECK(c.find(own)->state == state::preferred);
  for (int i = 0; i < 20; ++i) c.measured(own, 2ms);
  CHECK_FALSE(c.find(own)->slow);
  // A link on which all are slow has no slow server.
  choice far({.node_name = "edge-1"});
  far.set_addresses({"a:1", "b:1"}, start);
  for (auto* a : {"a:1", "b:1"})
    for (int i = 0; i < 2; ++i) far.success(a, reason::health_check, start);
  for (int i = 0; i < 9; ++i)
    for (auto* a : {"a:1", "b:1"}) far.measured(a, 900ms);
  CHECK_FALSE(far.find("a:1")->slow);
  CHECK_FALSE(far.find("b:1")->slow);
}

TEST_CASE("a hanging dial sends new connections elsewhere, and cuts nobody until it ends") {
  choice c({.node_name = "edge-1"});
  c.set_addresses({"a:1", "b:1"}, start);
  auto own = c.servers().front().address, other = own == "a:1" ? std::string("b:1") : std::string("a:1");
  for (auto& a : {own, other})
    for (int i = 0; i < 2; ++i) c.success(a, reason::health_check, start);
  c.success(own, reason::dial, start);
  c.find(own)->connections = 9;
  c.doubt(own, true, start);
  CHECK(c.servers().front().address == other);
  c.find(other)->connections = 1;
  c.success(other, reason::dial, start);
  for (auto& a : {own, other}) CHECK(c.find(a)->cut + c.find(a)->move == 0);
  c.failure(own, reason::dial, start + 10s);
  CHECK(c.find(own)->state == state::failed);
  CHECK(c.find(own)->cut == 1);
  c.success(other, reason::dial, start + 11s);
  CHECK(c.find(other)->state == state::active);
}
