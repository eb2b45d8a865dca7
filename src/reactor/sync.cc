#include "reactor/sync.h"

namespace kedge::reactor::detail {

task<bool> done_before(task<void> work, event& done, time_point deadline) {
  scope children;
  children.spawn(std::move(work));
  co_return co_await done.wait_until(deadline);
}

task<void> done_or_set(task<void> work, event& done, event& stop) {
  scope children;
  children.spawn(std::move(work));
  children.spawn([](event& s, event& d) -> task<void> {
    co_await s.wait();
    d.set();
  }(stop, done));
  co_await done.wait();
}

}  // namespace kedge::reactor::detail
