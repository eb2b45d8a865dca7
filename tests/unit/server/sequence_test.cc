// The order in which the parts of a server start, leave and stop, played with parts that only write down what happens
// to them.
#include "server/sequence.h"

#include <doctest/doctest.h>

#include "base/strings.h"
#include "reactor/loop.h"

using namespace kedge;
using namespace kedge::server;
using words = std::vector<std::string>;

namespace {

// What happened, in order: "+a" it stands, "!a" its start failed, "?a" its start was dropped, ">a" it left, "-a" it
// stopped.
struct recording final : part {
  std::string called;
  words& log;
  bool fails = false, waits = false;
  recording(std::string n, words& l) : called(std::move(n)), log(l) {}

  std::string_view name() const noexcept override { return called; }
  task<result<void>> start() override {
    struct dropped {
      recording& p;
      bool ended = false;
      ~dropped() {
        if (!ended) p.log.push_back("?" + p.called);
      }
    } mark{*this};
    if (waits) {
      reactor::event never;
      co_await never.wait();
    }
    mark.ended = true;
    log.push_back((fails ? "!" : "+") + called);
    if (fails) co_return fail(errc::invalid, called + " can't");
    co_return result<void>();
  }
  task<void> leave() override {
    log.push_back(">" + called);
    co_return;
  }
  task<void> stop() override {
    log.push_back("-" + called);
    co_return;
  }
};

struct house {
  reactor::loop loop{*reactor::make_backend(reactor::io_backend::epoll)};
  reactor::loop::current_guard here{loop};
  words log;
  recording a{"a", log}, b{"b", log}, c{"c", log}, d{"d", log};
  reactor::event stop;
  sequence order{{&a, &b, &c, &d}, {&c, &b}, {&c, &d, &b, &a}};

  // Starts, leaves and stops; what start() said.
  std::string live() {
    auto started = loop.run_until(order.start(stop));
    loop.run_until([](sequence& s) -> task<void> {
      co_await s.leave();
      co_await s.stop();
    }(order));
    return started ? "" : started.error().message;
  }
};

}  // namespace

TEST_CASE("parts start in their order, and leave and stop in orders of their own") {
  house h;
  CHECK(h.live() == "");
  CHECK(join(h.log, " ") == "+a +b +c +d >c >b -c -d -b -a");
  // Once.
  h.log.clear();
  h.loop.run_until(h.order.leave());
  h.loop.run_until(h.order.stop());
  CHECK(h.log.empty());
}

TEST_CASE("a start that fails ends it: those that stand leave, those that began stop, nobody else is touched") {
  struct row {
    recording house::* fails;
    const char* said;
    const char* log;
  };
  for (auto& r : {row{&house::a, "a can't", "!a -a"}, row{&house::b, "b can't", "+a !b -b -a"},
                  row{&house::c, "c can't", "+a +b !c >b -c -b -a"},
                  row{&house::d, "d can't", "+a +b +c !d >c >b -c -d -b -a"}}) {
    house h;
    (h.*r.fails).fails = true;
    CHECK(h.live() == r.said);
    CHECK(join(h.log, " ") == r.log);
  }
}

TEST_CASE("a start that is told to stop is dropped where it waits") {
  struct row {
    recording house::* waits;
    const char* log;
  };
  for (auto& r : {row{&house::a, "?a -a"}, row{&house::b, "+a ?b -b -a"}, row{&house::c, "+a +b ?c >b -c -b -a"},
                  row{&house::d, "+a +b +c ?d >c >b -c -d -b -a"}}) {
    house h;
    (h.*r.waits).waits = true;
    h.loop.post([&h] { h.stop.set(); });
    CHECK(h.live() == "stopped");
    CHECK(join(h.log, " ") == r.log);
  }
  house before;
  before.stop.set();
  CHECK(before.live() == "stopped while it started");
  CHECK(before.log.empty());
}
