// runner.h: a loop that a test drives by hand, and what it must get from it.
#pragma once

#include <doctest/doctest.h>

#include "backends.h"
#include "reactor/loop.h"

namespace kedge::datastore {

// What a moment may take longer where others work on the machine, too: links are given up after 13 s.
inline constexpr int busy = 3;

struct runner {
  reactor::loop loop{*reactor::make_backend(reactor::io_backend::automatic)};
  reactor::loop::current_guard here{loop};
  template <typename T>
  T must(task<result<T>> t) {
    auto r = loop.run_until(std::move(t));
    REQUIRE_MESSAGE(r.has_value(), (r ? std::string() : r.error().message));
    if constexpr (!std::is_void_v<T>) return std::move(*r);
  }
  // Opens it as a server does; gives the newest revision that was there.
  revision start(log& l) {
    must(l.open());
    revision at = 0;
    auto load = [&] {
      for (bool done = false; !done;) {
        auto p = must(l.load(at));
        at = p.at;
        done = p.done;
      }
    };
    load();
    must(l.begin());
    load();
    return at;
  }
  time_point in(std::chrono::milliseconds d) { return monotonic_clock::now() + d; }
  void end(server& s) { loop.run_until(s.raw().close()); }
  // Turns the loop until it is so; false when it isn't in time.
  template <typename F>
  bool until(F condition, std::chrono::milliseconds limit = patience) {
    auto end = monotonic_clock::now() + limit;
    while (!condition()) {
      if (monotonic_clock::now() > end) return false;
      loop.turn(monotonic_clock::now() + std::chrono::milliseconds(5));
    }
    return true;
  }
};

}  // namespace kedge::datastore
