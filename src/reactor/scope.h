// scope.h: structured concurrency. A scope owns the tasks spawned into it and ends them all when it ends.
//
//   scope connections;
//   for (;;) connections.spawn(serve(co_await listener.accept()));
//
// Cancelling destroys the children in the order of their spawning; it must not be called by one of them.
#pragma once

#include "reactor/task.h"

namespace kedge::reactor {

class scope {
 public:
  scope() noexcept = default;
  scope(const scope&) = delete;
  scope& operator=(const scope&) = delete;
  ~scope() { cancel(); }

  // Runs `t` at once, up to its first wait, on the calling loop.
  void spawn(task<void> t);
  // Ends every child where it waits.
  void cancel() noexcept;
  std::size_t size() const noexcept { return size_; }

  // Waits until no child is left (also when new ones were spawned meanwhile). One waiter at a time.
  struct join_awaiter : waiter {
    scope& owner;
    explicit join_awaiter(scope& s) noexcept : owner(s) {}
    bool await_ready() const noexcept { return owner.size_ == 0; }
    void await_suspend(std::coroutine_handle<> h) noexcept;
    void await_resume() const noexcept {}
  };
  join_awaiter join() noexcept { return join_awaiter(*this); }

  struct child;  // a spawned task's own coroutine
 private:
  friend struct child;
  void ended() noexcept;
  struct child_promise;
  list<child_promise> children_;
  std::size_t size_ = 0;
  list<waiter> joining_;
};

}  // namespace kedge::reactor
