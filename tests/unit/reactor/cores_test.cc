#include "reactor/cores.h"

#include "reactor_backends.h"

using namespace kedge;
using namespace kedge::reactor;
using namespace std::chrono_literals;

TEST_CASE("a call to another core runs there and answers here") {
  for (auto which : {io_backend::automatic, io_backend::epoll}) {
    auto c = cores::make(3, which);
    REQUIRE(c.has_value());
    auto& all = **c;
    int sum = 0;
    all[0].post([&] {
      all[0].spawn([](cores& cs, int& out) -> task<void> {
        for (int round = 0; round < 200; ++round)
          for (std::size_t i = 0; i < cs.size(); ++i)
            out += co_await call_on(cs[i], [&cs, i]() -> task<int> {
              CHECK(&loop::current() == &cs[i]);
              co_await yield();
              co_return static_cast<int>(i);
            });
        cs.stop();
      }(all, sum));
    });
    all.run();
    CHECK(sum == 200 * 3);
  }
}

TEST_CASE("a background loop is none of those that serve, and is called as they are") {
  auto c = cores::make(2, io_backend::automatic, 1);
  REQUIRE(c.has_value());
  auto& all = **c;
  CHECK(all.size() == 2);
  CHECK(all.backgrounds() == 1);
  bool ran = false;
  all[0].post([&] {
    all[0].spawn([](cores& cs, bool& out) -> task<void> {
      out = co_await call_on(cs.background(0),
                             [&cs]() -> task<bool> { co_return &loop::current() == &cs.background(0); });
      CHECK(&loop::current() == &cs[0]);
      cs.stop();
    }(all, ran));
  });
  all.run();
  CHECK(ran);
}

TEST_CASE("posts from many threads all arrive") {
  auto b = make_backend(io_backend::automatic);
  loop l(std::move(*b));
  std::atomic<int> got = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 5'000; ++i)
        l.post([&] {
          if (++got == 20'000) l.stop();
        });
    });
  l.run();
  for (auto& t : threads) t.join();
  CHECK(got == 20'000);
}
