// late_writes.h: short writes that wait for the end of the loop's turn. Internal to net/.
#pragma once

#include <algorithm>
#include <coroutine>
#include <vector>

#include "net/limits.h"
#include "reactor/list.h"
#include "reactor/loop.h"

namespace kedge::net {

// Short writes of this loop's streams, put off until what is ready now has run, or a few of them wait (more in a turn
// that has many). Each write wakes its reader, and a peer that has many connections here (a proxy, an informer's
// client, a benchmark) then reads several answers for one waking instead of going back to sleep after each.
class late_write : public reactor::list_hook {
 public:
  virtual void write_now() noexcept = 0;

 protected:
  ~late_write() = default;
};

class late_writes {
 public:
  static void add(late_write& w) {
    auto& mine = here();
    mine.waiting_.push_back(w);
    if (!mine.turn_.linked()) reactor::loop::current().schedule(mine.turn_);
    if (++mine.count_ < mine.most_) return;
    mine.write_all();
    mine.most_ = std::min(2 * mine.most_, late_writes_burst_max);
  }

 private:
  struct end_of_turn : reactor::waiter {
    struct awaiter {
      end_of_turn& w;
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> h) const noexcept { w.handle = h; }
      void await_resume() const noexcept {}
    };
    awaiter operator co_await() noexcept { return {*this}; }
  };

  late_writes() { all().push_back(this); }
  ~late_writes() { std::erase(all(), this); }

  // A thread has one loop, but in the simulated world.
  static std::vector<late_writes*>& all() {
    thread_local std::vector<late_writes*> of_thread;
    return of_thread;
  }
  static late_writes& here() {
    auto& loop = reactor::loop::current();
    for (;;) {
      for (auto* w : all())
        if (&w->loop_ == &loop) return *w;
      loop.spawn(run());
    }
  }
  static task<void> run() {
    late_writes mine;
    for (;;) {
      co_await mine.turn_;
      mine.write_all();
      mine.most_ = late_writes_max;
    }
  }
  void write_all() noexcept {
    count_ = 0;
    while (!waiting_.empty()) waiting_.pop_front().write_now();
  }

  reactor::loop& loop_ = reactor::loop::current();
  reactor::list<late_write> waiting_;
  std::size_t count_ = 0;  // of those that were put in; some may have gone
  std::size_t most_ = late_writes_max;
  end_of_turn turn_;
};

}  // namespace kedge::net
