// descriptor_state.h: what io_uring and epoll have in common for one descriptor. Internal to the reactor.
#pragma once

#include "reactor/descriptor.h"
#include "reactor/sync.h"

namespace kedge::reactor {

class descriptor_state {
 public:
  explicit descriptor_state(int fd) noexcept : fd_(fd) {}
  virtual ~descriptor_state() = default;
  int fd() const noexcept { return fd_; }

  virtual task<result<void>> ready(bool for_write) = 0;
  virtual task<result<buffer>> receive() = 0;
  virtual task<result<int>> accept() = 0;
  // Fails what waits, closes the descriptor, and frees this when the kernel holds no more of it.
  virtual void dispose() noexcept = 0;

 protected:
  // Held by every operation's coroutine: the state lives until the last of them has seen that it is closed.
  class in_use {
   public:
    explicit in_use(descriptor_state& s) noexcept : state_(s) { ++s.users_; }
    in_use(const in_use&) = delete;
    ~in_use() {
      if (--state_.users_ == 0 && state_.closed_) state_.unused();
    }

   private:
    descriptor_state& state_;
  };
  // Closed, and no coroutine left.
  virtual void unused() noexcept = 0;

  int fd_;
  bool closed_ = false;
  unsigned users_ = 0;
};

// A backend that can hold descriptors (the simulated one can't: it has streams of its own).
class descriptor_backend : public backend {
 public:
  virtual descriptor_state* adopt(int fd) = 0;
};

}  // namespace kedge::reactor
