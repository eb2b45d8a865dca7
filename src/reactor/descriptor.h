// descriptor.h: one open file descriptor on one core's loop: readiness, and the two operations that io_uring does
// better than readiness (receive into the kernel's buffer ring, accept many). epoll gives the same through readiness.
//
// Readiness is enough for everything else (connect, send, pipes, pidfds, libpq's socket): try, and wait when it says
// EAGAIN.
#pragma once

#include <memory>

#include "base/error.h"
#include "reactor/buffer.h"
#include "reactor/loop.h"

namespace kedge::reactor {

class descriptor_state;  // the backend's part; outlives the descriptor until the kernel has let go of it

class descriptor {
 public:
  descriptor() noexcept = default;
  // Takes `fd` (non-blocking) and registers it with this thread's loop, which must run on io_uring or epoll.
  explicit descriptor(int fd);
  descriptor(descriptor&& o) noexcept;
  descriptor& operator=(descriptor&& o) noexcept;
  ~descriptor();  // closes

  int fd() const noexcept;
  explicit operator bool() const noexcept { return state_ != nullptr; }
  // Ends what waits with errc::closed, then closes the descriptor.
  void close() noexcept;

  // Until a read (write) would not block, or the peer is gone. Spurious wake-ups happen: try again.
  task<result<void>> readable();
  task<result<void>> writable();
  // The next bytes of a socket; an empty buffer is the peer's end. What arrives while nobody waits is kept, up to
  // receive_queue_max buffers, then the kernel keeps it.
  task<result<buffer>> receive();
  // The next connection of a listening socket: its descriptor number, non-blocking and close-on-exec.
  task<result<int>> accept();

 private:
  descriptor_state* state_ = nullptr;
};

}  // namespace kedge::reactor
