#include "server/database_wait.h"

#include <algorithm>

#include "base/log.h"
#include "reactor/sync.h"

namespace kedge::server {

namespace {

constexpr auto patience = std::chrono::minutes(5);
constexpr duration pause_min = std::chrono::milliseconds(100), pause_max = std::chrono::seconds(1);
constexpr auto told_each = std::chrono::seconds(30);

bool may_pass(const error& e) {
  return e.code == errc::unavailable || e.code == errc::timeout || e.code == errc::closed ||
         e.code == errc::unknown_outcome;
}

}  // namespace

task<result<void>> wait_out_database(std::string doing, std::function<task<result<void>>()> step) {
  auto& loop = reactor::loop::current();
  const auto until = loop.now() + patience;
  auto tell = loop.now();
  bool waited = false;
  for (auto pause = pause_min;; pause = std::min(2 * pause, pause_max)) {
    auto done = co_await step();
    if (done && waited) log::info("{}: the database answers again, and the start goes on", doing);
    if (done || !may_pass(done.error()) || loop.now() + pause > until) co_return done;
    waited = true;
    if (loop.now() >= tell) {
      log::warning("{}: {}; the start waits for the database, at most until {} from now", doing, done.error().message,
                   format_duration(std::chrono::floor<std::chrono::seconds>(until - loop.now())));
      tell = loop.now() + told_each;
    }
    co_await reactor::sleep_for(pause);
  }
}

}  // namespace kedge::server
