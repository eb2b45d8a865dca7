#include "control/clock_watch.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"

namespace kedge::control {

namespace {

// Far beyond what a synchronised clock is off by, and within what certificates and tokens forgive.
constexpr duration told_from = std::chrono::seconds(10);
constexpr duration told_again = std::chrono::hours(1);

}  // namespace

duration clock_watch::one::best() const { return *std::max_element(ahead.begin(), ahead.end()); }

void clock_watch::saw(const std::string& server, wall_time theirs, wall_time here) {
  std::lock_guard lock(mutex_);
  auto& o = servers_[server];
  o.ahead[o.seen++ % observations] = theirs - here;
}

void clock_watch::forget(const std::string& server) {
  std::lock_guard lock(mutex_);
  servers_.erase(server);
}

void clock_watch::forget_all() {
  std::lock_guard lock(mutex_);
  for (auto& [name, o] : servers_) o.seen = 0;
}

void clock_watch::judge(time_point now) {
  std::lock_guard lock(mutex_);
  for (auto& [name, o] : servers_) {
    if (!o.known()) continue;
    auto by = o.best();
    bool differs = by > told_from || by < -told_from;
    if (!differs && o.told != time_point{}) {
      o.told = {};
      log::info("the clocks of this server and of the one at {} agree again", name);
    }
    if (!differs || (o.told != time_point{} && now - o.told < told_again)) continue;
    o.told = now;
    auto by_text = format_duration(std::chrono::floor<std::chrono::seconds>(by < duration::zero() ? -by : by));
    log::warning(
        "the clock of the server at {} is {} {} this one's; certificates, tokens and leases need clocks that agree: "
        "see to both machines' time synchronisation",
        name, by_text, by > duration::zero() ? "ahead of" : "behind");
  }
}

std::map<std::string, duration> clock_watch::differences() const {
  std::lock_guard lock(mutex_);
  std::map<std::string, duration> out;
  for (auto& [name, o] : servers_)
    if (o.known()) out.emplace(name, o.best());
  return out;
}

void clock_watch::append_metrics(std::string& out) const {
  auto all = differences();
  if (all.empty()) return;
  constexpr auto name = "kedge_server_clock_difference_seconds";
  out += fmt::format("# HELP {0} How far another server's clock is ahead of this one's.\n# TYPE {0} gauge\n", name);
  for (auto& [server, by] : all)
    out += fmt::format("{}{{server=\"{}\"}} {:.3f}\n", name, server, std::chrono::duration<double>(by).count());
}

}  // namespace kedge::control
