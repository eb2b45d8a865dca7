#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/log.h"
#include "reactor_backends.h"

using namespace kedge;
using namespace kedge::reactor;
using namespace std::chrono_literals;

namespace {

void busy_for(duration d) {
  for (auto began = monotonic_clock::now(); monotonic_clock::now() - began < d;) continue;
}

// What is logged while it lives.
class logged {
 public:
  logged() : path_(std::filesystem::temp_directory_path() / ("kedge-turns-" + std::to_string(::getpid()))) {
    REQUIRE(log::configure({.file = path_.c_str()}));
  }
  ~logged() {
    log::configure({});
    std::filesystem::remove(path_);
  }
  std::string text() const {
    std::ostringstream all;
    all << std::ifstream(path_).rdbuf();
    return all.str();
  }

 private:
  std::filesystem::path path_;
};

}  // namespace

TEST_CASE("what waits is resumed as the activity that it waited for, and its children are their own") {
  on_every_backend([]() -> task<void> {
    CHECK(activity::running() == nullptr);
    event go;
    int wrong = 0, right = 0;
    auto work = [](std::string name, event& e, int& good, int& bad) -> task<void> {
      named_activity a(std::move(name));
      auto check = [&] { (activity::running() == &a ? good : bad)++; };
      check();
      co_await e.wait();
      check();
      co_await sleep_for(1ms);
      check();
      co_await yield();
      check();
    };
    {
      named_activity own("own");
      scope s;
      s.spawn(work("one", go, right, wrong));
      s.spawn(work("two", go, right, wrong));
      CHECK(activity::running() == &own);
      go.set();
      co_await s.join();
      CHECK(activity::running() == &own);
    }
    CHECK(activity::running() == nullptr);
    CHECK(right == 8);
    CHECK(wrong == 0);
  });
}

TEST_CASE("a long turn is counted, and logged with the name of what took it") {
  logged log;
  on_every_backend([]() -> task<void> {
    auto& l = loop::current();
    auto before = l.turns().count();
    scope s;
    // Ends in the step that is long; goes on after it; ended long ago, when what it waits for comes.
    s.spawn([]() -> task<void> {
      named_activity a("the one that ends");
      co_await yield();
      busy_for(turn_long_time + 20ms);
    }());
    co_await s.join();
    co_await sleep_for(turn_report_pause);
    s.spawn([]() -> task<void> {
      named_activity a("the one that goes on");
      co_await yield();
      busy_for(turn_long_time + 20ms);
      co_await sleep_for(1ms);
    }());
    co_await s.join();
    co_await sleep_for(turn_report_pause);
    s.spawn([]() -> task<void> {
      auto gone = std::make_unique<named_activity>("the one that is gone");
      auto wait = yield();
      gone.reset();
      co_await wait;
      busy_for(turn_long_time + 20ms);
    }());
    co_await s.join();
    co_await yield();
    auto after = l.turns().count();
    // A busy machine may stop the process in any turn, and so make others long.
    CHECK(after.long_turns >= before.long_turns + 3);
    CHECK(after.longest >= turn_long_time + 15ms);
    CHECK(after.sum >= 3 * turn_long_time);
    std::uint64_t slow = 0;
    for (std::size_t i = 6; i < after.turns.size(); ++i) slow += after.turns[i] - before.turns[i];
    CHECK(slow >= 3);
  });
  auto text = log.text();
  CHECK(text.find("for the one that ends") != std::string::npos);
  CHECK(text.find("for the one that goes on") != std::string::npos);
  CHECK(text.find("for the one that is gone") == std::string::npos);
  CHECK(text.find("for what has no name") != std::string::npos);
}

TEST_CASE("who yields when it is due lets others run, and costs nothing when it isn't") {
  on_every_backend([]() -> task<void> {
    std::size_t others = 0, steps = 0;
    bool done = false;
    scope s;
    s.spawn([](std::size_t& n, bool& end) -> task<void> {
      while (!end) {
        co_await yield();
        ++n;
      }
    }(others, done));
    co_await yield();
    others = 0;
    for (auto began = monotonic_clock::now(); monotonic_clock::now() - began < 50 * turn_step_time; ++steps)
      co_await maybe_yield();
    CHECK(others >= 2);
    CHECK(others < steps / 10);
    done = true;
    co_await s.join();
  });
}

TEST_CASE("sockets and timers are looked at after a turn's time, however much is ready or in the mailbox") {
  on_every_backend([]() -> task<void> {
    auto& l = loop::current();
    constexpr int many = 500;
    struct look final : timer {
      int &ran, &messages, ran_before = many, messages_before = many;
      look(loop& at, int& r, int& m) : timer(at), ran(r), messages(m) { arm(at.now() + 1ms); }
      void fired() override {
        ran_before = ran;
        messages_before = messages;
      }
    };
    int ran = 0, messages = 0;
    scope s;
    event go;
    for (int i = 0; i < many; ++i) {
      s.spawn([](event& e, int& n) -> task<void> {
        co_await e.wait();
        busy_for(100us);
        ++n;
      }(go, ran));
      l.post([&] {
        busy_for(100us);
        ++messages;
      });
    }
    look first(l, ran, messages);
    go.set();
    co_await s.join();
    while (messages < many) co_await yield();
    CHECK(first.ran_before < many / 2);
    CHECK(first.messages_before < many / 2);
    CHECK(first.ran_before + first.messages_before > 0);
  });
}
