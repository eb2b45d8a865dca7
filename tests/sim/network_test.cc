#include <doctest/doctest.h>

#include "world.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

// Answers each line with the same line.
task<void> echo(host& h) {
  auto l = h.listen({"", 7});
  kedge_assert(l.has_value());
  reactor::scope connections;
  for (;;) {
    auto s = co_await (*l)->accept();
    if (!s) co_return;
    connections.spawn([](std::unique_ptr<reactor::stream> c) -> task<void> {
      for (;;) {
        auto b = co_await c->receive();
        if (!b || b->empty()) co_return;
        if (!co_await c->send(b->view())) co_return;
      }
    }(std::move(*s)));
  }
}

struct tally {
  int answered = 0, failed = 0;
};

task<void> ask(host& h, std::string address, tally& t, int times) {
  for (int i = 0; i < times; ++i) {
    auto c = co_await h.connect({address, 7});
    if (!c) {
      ++t.failed;
      co_await reactor::sleep_for(10ms);
      continue;
    }
    auto question = "question " + std::to_string(i) + "\n";
    if (!co_await (*c)->send(as_bytes(question))) {
      ++t.failed;
      continue;
    }
    std::string answer;
    while (answer.size() < question.size()) {
      auto b = co_await (*c)->receive();
      if (!b || b->empty()) break;
      answer += as_text(b->view());
    }
    if (answer == question)
      ++t.answered;
    else
      ++t.failed;
    CHECK(question.starts_with(answer));  // delayed, cut or reset, but never altered or reordered
  }
}

std::string run(std::uint64_t seed) {
  world w(seed, {.reset_probability = 0.02, .refuse_probability = 0.02});
  auto& server = w.add_host("server");
  auto& client = w.add_host("client");
  tally t;
  server.start(echo);
  client.start([&](host& h) { return ask(h, server.address(), t, 200); });
  w.after(50ms, [&] { server.crash(); });
  w.after(80ms, [&] { server.restart(); });
  w.after(120ms, [&] { w.cut(server, client); });
  w.after(900ms, [&] { w.heal(server, client); });
  bool ended = w.run_until([&] { return t.answered + t.failed == 200; }, 1h);
  INFO(w.trace_text());
  CHECK(ended);
  CHECK(t.answered > 100);
  CHECK(t.failed > 0);
  w.trace(std::to_string(t.answered) + " answered, " + std::to_string(t.failed) + " failed");
  return w.trace_text();
}

}  // namespace

TEST_CASE("a conversation survives delay, resets, a crash and a partition of its server") {
  for (auto seed : seeds(30)) run(seed);
}

TEST_CASE("a seed replays exactly, and another seed is another history") {
  CHECK(run(7) == run(7));
  CHECK(run(7) != run(8));
}

TEST_CASE("hours of simulated time cost no real time") {
  world w(1);
  auto& h = w.add_host("sleeper");
  int ticks = 0;
  h.start([&](host&) -> task<void> {
    for (;;) {
      co_await reactor::sleep_for(10s);
      ++ticks;
    }
  });
  w.run_for(24h);
  CHECK(ticks == 24 * 360);
}
