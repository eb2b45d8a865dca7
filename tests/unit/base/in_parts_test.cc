#include "base/in_parts.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace kedge {
namespace {

TEST_CASE("a call in parts goes on where it was left, with all that it had") {
  std::vector<int> seen;
  auto held = std::make_shared<int>(7);
  in_parts work([&seen, held] {
    std::string own(1000, 'x');
    for (int i = 0; i < 3; ++i) {
      seen.push_back(i);
      in_parts::pause();
      own += 'y';
    }
    seen.push_back(static_cast<int>(own.size()));
  });
  CHECK(seen.empty());
  for (int i = 0; i < 3; ++i) {
    CHECK_FALSE(work.step());
    CHECK(seen.size() == static_cast<std::size_t>(i) + 1);
  }
  CHECK(work.step());
  CHECK(seen == std::vector<int>{0, 1, 2, 1003});
  CHECK_FALSE(in_parts::is_dropped());
  in_parts::pause();  // nobody's
}

TEST_CASE("calls in parts may be many, take turns, be moved, and begin others") {
  int sum = 0;
  std::vector<in_parts> all;
  for (int i = 0; i < 50; ++i)
    all.emplace_back([&sum, i] {
      in_parts inner([&sum] {
        ++sum;
        in_parts::pause();
        ++sum;
      });
      while (!inner.step()) in_parts::pause();
      sum += i;
    });
  for (auto& one : all) CHECK_FALSE(one.step());
  CHECK(sum == 50);
  for (auto& one : all) CHECK(one.step());
  CHECK(sum == 100 + 49 * 50 / 2);
}

TEST_CASE("a call for which there is no stack is made as a whole") {
  const pid_t child = ::fork();
  if (child == 0) {
    std::make_unique<char[]>(16 * 1024).reset();  // what the heap has then is enough for the rest
    const rlimit none{0, 0};
    int n = 0;
    const bool limited = ::setrlimit(RLIMIT_AS, &none) == 0;
    in_parts work([&n] {
      ++n;
      in_parts::pause();
      ++n;
    });
    ::_exit(limited && work.step() && n == 2 ? 0 : 1);
  }
  int status = -1;
  CHECK(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

TEST_CASE("one that nobody waits for comes to its end, and gives back what it had") {
  auto held = std::make_shared<int>(1);
  bool told = false;
  {
    in_parts work([&told, held] {
      auto more = held;
      while (!in_parts::is_dropped()) in_parts::pause();
      told = true;
    });
    CHECK_FALSE(work.step());
    CHECK(held.use_count() == 3);
  }
  CHECK(told);
  CHECK(held.use_count() == 1);
  // One that was never begun isn't begun for that.
  in_parts never([&told] { told = false; });
  { in_parts gone(std::move(never)); }
  CHECK(told);
}

int deep(int levels) {
  volatile char room[512] = {static_cast<char>(levels)};
  if (levels % 100 == 0) in_parts::pause();
  return levels == 0 ? room[0] : deep(levels - 1) + 1;
}

TEST_CASE("it may be left however deep, on each thread for itself") {
  auto work = [] {
    int got = 0;
    in_parts one([&] { got = deep(5'000); });
    int steps = 1;
    while (!one.step()) ++steps;
    CHECK(got == 5'000);
    CHECK(steps == 52);
  };
  std::thread beside(work);
  work();
  beside.join();
}

}  // namespace
}  // namespace kedge
