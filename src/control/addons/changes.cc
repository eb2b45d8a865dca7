#include "control/addons/changes.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "control/addons/limits.h"
#include "reactor/descriptor_state.h"
#include "reactor/sync.h"

namespace kedge::control::addons {

namespace {
constexpr std::uint32_t signs = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB |
                                IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
}

changes::changes() {
  if (!dynamic_cast<reactor::descriptor_backend*>(&reactor::loop::current().io())) return;
  if (const int fd = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC); fd >= 0)
    events_ = reactor::descriptor(fd);
  else
    log::warning("no inotify: manifests are looked at every {}", format_duration(slow_look));
}

void changes::watch(const std::vector<std::string>& folders) {
  if (!events_) return;
  std::map<std::string, int> now;
  for (auto& f : folders) {
    if (now.size() == watches_max) break;
    if (const int number = ::inotify_add_watch(events_.fd(), f.c_str(), signs); number >= 0) now.emplace(f, number);
  }
  for (auto& [f, number] : watched_)
    if (std::ranges::none_of(now, [&](auto& one) { return one.second == number; }))
      ::inotify_rm_watch(events_.fd(), number);
  watched_ = std::move(now);
}

bool changes::drain() {
  char piece[16 * 1024];
  bool any = false;
  while (::read(events_.fd(), piece, sizeof piece) > 0) any = true;
  return any;
}

task<void> changes::wait(time_point until) {
  auto& loop = reactor::loop::current();
  if (!events_) {
    co_await reactor::sleep_for(until - loop.now());
    co_return;
  }
  while (!drain()) {
    auto woken = co_await reactor::with_deadline(events_.readable(), until);
    if (woken) continue;
    if (woken.error().code != errc::timeout) co_await reactor::sleep_for(until - loop.now());
    co_return;
  }
  const auto latest = loop.now() + settle_max;
  while (loop.now() < latest) {
    auto more = co_await reactor::with_deadline(events_.readable(), std::min(latest, loop.now() + settle));
    if (!more || !drain()) co_return;
  }
}

}  // namespace kedge::control::addons
