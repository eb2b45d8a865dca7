#include "shim/loop.h"

#include <sys/wait.h>

#include "shim/spawn.h"
#include "support.h"

using namespace kedge::shim;

TEST_CASE("an exit that comes before its pid is known isn't lost while a claim is held") {
  loop l;
  run(l, [](loop& on) -> task<void> {
    loop::claim mine(on);
    auto pid = spawn({.argv = {"/bin/sh", "-c", "exit 7"}});
    REQUIRE(pid);
    co_await on.sleep(50);  // it has ended, the loop has been told, and nobody knew it
    event ended;
    exit_state state;
    on.know(*pid, [&](const exit_state& s) {
      state = s;
      ended.set();
    });
    bool in_time = co_await ended.until(on, now_ms() + 5'000);
    CHECK(in_time);
    CHECK(state.status == 7);
  }(l));
}

TEST_CASE("children that nobody knows are reaped once nothing is claimed") {
  loop l;
  run(l, [](loop& on) -> task<void> {
    auto pid = spawn({.argv = {"/bin/true"}});
    REQUIRE(pid);
    for (auto latest = now_ms() + 5'000; ::kill(*pid, 0) == 0 && now_ms() < latest;) co_await on.sleep(5);
    CHECK(::kill(*pid, 0) < 0);
  }(l));
}

TEST_CASE("a signal's exit is what a shell says of it") {
  loop l;
  run(l, [](loop& on) -> task<void> {
    auto pid = spawn({.argv = {"/bin/sh", "-c", "kill -9 $$"}});
    REQUIRE(pid);
    event ended;
    on.know(*pid, [&](const exit_state& s) {
      CHECK(s.status == 137);
      CHECK(s.at.tv_sec > 0);
      ended.set();
    });
    co_await ended;
  }(l));
}

TEST_CASE("timers fire in time, and not when they are cancelled") {
  loop l;
  run(l, [](loop& on) -> task<void> {
    int fired = 0;
    auto id = on.set_timer(now_ms() + 5, [&] { ++fired; });
    on.set_timer(now_ms() + 6, [&] { fired += 10; });
    on.cancel_timer(id);
    co_await on.sleep(30);
    CHECK(fired == 10);
    event never;
    bool set = co_await never.until(on, now_ms() + 5);
    CHECK_FALSE(set);
  }(l));
}

TEST_CASE("timers that set others for now don't keep the loop from its descriptors") {
  loop l;
  run(l, [](loop& on) -> task<void> {
    auto pid = spawn({.argv = {"/bin/true"}});
    REQUIRE(pid);
    bool ended = false;
    on.know(*pid, [&](const exit_state&) { ended = true; });
    for (auto latest = now_ms() + 5'000; !ended && now_ms() < latest;) co_await on.sleep(0);
    CHECK(ended);
  }(l));
}

TEST_CASE("a mutex is held by one, in the order of asking") {
  loop l;
  run(l, [](loop& on) -> task<void> {
    mutex m;
    std::string order;
    auto hold = [](loop& o, mutex& by, std::string& out, char name) -> task<void> {
      auto held = co_await by.lock();
      out += name;
      co_await o.sleep(5);
      out += name;
    };
    for (char c : {'a', 'b', 'c'}) detach(hold(on, m, order, c));
    co_await on.sleep(60);
    CHECK(order == "aabbcc");
  }(l));
}
