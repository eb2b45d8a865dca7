// uring.cc: the io_uring backend.
//
//   receive  one multishot recv a socket, into a ring of buffers that the kernel picks from; what arrives while nobody
//   waits
//            is queued on the descriptor, and the multishot is cancelled when that queue is full (back pressure)
//   accept   one multishot accept a listener
//   ready    one-shot poll
//   wake     a read of an eventfd, rearmed by itself
//
// Every submission's user data is an `operation`. A descriptor's state lives until its last completion has come, so the
// kernel never completes into freed memory; closing submits a cancellation of everything on that descriptor.
#include <liburing.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/log.h"
#include "reactor/backends.h"
#include "reactor/descriptor_state.h"
#include "reactor/limits.h"
#include "reactor/own_frame.h"

namespace kedge::reactor {

namespace {

class uring_backend;
class uring_state;

struct operation {
  enum class kind : unsigned char { receive, accept, poll_read, poll_write, wake, cancel };
  kind what;
  uring_state* owner = nullptr;
  bool in_flight = false;
};

constexpr int buffer_group = 1;
// A kernel that has no memory for a loop's submissions is asked again so often, for so long; after that the process
// ends, which gives some back: it serves nobody meanwhile.
constexpr std::chrono::milliseconds refused_pause{1};
constexpr std::chrono::seconds refused_time_max{30};

class uring_state final : public descriptor_state, public list_hook {
 public:
  uring_state(uring_backend& b, int fd) noexcept : descriptor_state(fd), backend_(b) {}

  task<result<void>> ready(bool for_write) override;
  task<result<buffer>> receive() override;
  task<result<int>> accept() override;
  void dispose() noexcept override;

  void completed(operation& op, int res, unsigned flags);

 private:
  void unused() noexcept override { free_if_done(); }
  void free_if_done() noexcept {
    if (closed_ && users_ == 0 && !receive_.in_flight && !accept_.in_flight && !poll_read_.in_flight &&
        !poll_write_.in_flight)
      delete this;
  }
  // What a receive gives now; nullopt when it has to wait for changed_.
  KEDGE_OWN_FRAME std::optional<result<buffer>> next_received();
  void submit_receive();
  void submit_poll(operation& op, short events);

  uring_backend& backend_;
  operation receive_{operation::kind::receive, this};
  operation accept_{operation::kind::accept, this};
  operation poll_read_{operation::kind::poll_read, this};
  operation poll_write_{operation::kind::poll_write, this};
  event changed_;  // something below changed
  event readable_, writable_;
  std::vector<buffer> received_;  // a handful at most; an idle connection's vectors cost nothing
  std::vector<int> accepted_;
  int receive_end_ = 1;  // 1: open; 0: the peer's end; negative: the error
  int accept_error_ = 0;
  bool cancelling_receive_ = false;
  bool ring_was_empty_ = false;
};

class uring_backend final : public descriptor_backend, public buffer_owner {
 public:
  uring_backend() = default;
  ~uring_backend() override {
    if (ring_made_) {
      // Sockets of this loop are closed by now; what the kernel still holds ends with the ring.
      io_uring_queue_exit(&ring_);
    }
    while (!closing_.empty()) delete &closing_.pop_front();
    if (buffers_) munmap(buffers_, receive_ring_buffers * receive_buffer_bytes);
    if (buffer_ring_) munmap(buffer_ring_, ring_bytes());
    if (wake_ >= 0) ::close(wake_);
  }

  result<void> start() {
    io_uring_params params{};
    // The ring belongs to the thread that enables it (in the first wait), not to the one that makes it. Deferred task
    // work (Linux 6.1) completes only when we ask, so no interrupt reaches a running coroutine.
    params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                   IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE;
    params.cq_entries = ring_entries * 4;
    int r = io_uring_queue_init_params(ring_entries, &ring_, &params);
    enabled_ = r != 0;
    if (r == -EINVAL) {
      params = {};
      r = io_uring_queue_init_params(ring_entries, &ring_, &params);
    }
    if (r < 0) return fail(os_error(-r, "io_uring_setup"));
    ring_made_ = true;
    wake_ = eventfd(0, EFD_CLOEXEC);  // blocking: the ring's read of it waits
    if (wake_ < 0) return fail(os_error(errno, "eventfd"));

    void* p = mmap(nullptr, ring_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return fail(os_error(errno, "mmap"));
    buffer_ring_ = static_cast<io_uring_buf_ring*>(p);
    p = mmap(nullptr, receive_ring_buffers * receive_buffer_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
             -1, 0);
    if (p == MAP_FAILED) return fail(os_error(errno, "mmap"));
    buffers_ = static_cast<std::byte*>(p);
    io_uring_buf_reg reg{};
    reg.ring_addr = reinterpret_cast<std::uintptr_t>(buffer_ring_);
    reg.ring_entries = receive_ring_buffers;
    reg.bgid = buffer_group;
    // Provided buffer rings and multishot receive came with Linux 5.19 and 6.0; without them epoll is the better
    // choice.
    r = io_uring_register_buf_ring(&ring_, &reg, 0);
    if (r < 0) return fail(os_error(-r, "io_uring_register_buf_ring"));
    io_uring_buf_ring_init(buffer_ring_);
    for (unsigned i = 0; i < receive_ring_buffers; ++i) offer(i);
    arm_wake();
    return {};
  }

  const char* name() const noexcept override { return "io_uring"; }
  time_point now() noexcept override { return monotonic_clock::now(); }
  wall_time wall_now() noexcept override { return system_wall_time(); }
  random_source& random() noexcept override { return system_random(); }
  void wake() noexcept override {
    std::uint64_t one = 1;
    [[maybe_unused]] auto n = ::write(wake_, &one, sizeof one);
  }

  void wait(time_point until) override {
    enable();
    const auto began = now();
    const bool may_sleep = until > began;
    const bool looks = may_sleep && woken_soon_, came = looks && comes_soon(began, until);
    if (!may_sleep || came) {
      if (kernel_has_work()) heed(io_uring_submit_and_get_events(&ring_));
    } else if (until == time_point::max()) {
      heed(io_uring_submit_and_wait(&ring_, 1));
    } else {
      auto left = std::max<duration>(until - now(), duration(0));  // the look may have used it up
      __kernel_timespec ts{};
      ts.tv_sec = left.count() / 1'000'000'000;
      ts.tv_nsec = left.count() % 1'000'000'000;
      io_uring_cqe* ignored = nullptr;
      heed(io_uring_submit_and_wait_timeout(&ring_, &ignored, 1, &ts, nullptr));
    }
    if (may_sleep) woken_soon_ = came || (!looks && now() - began < 2 * look_time);
    io_uring_cqe* cqe;
    unsigned head, seen = 0;
    io_uring_for_each_cqe(&ring_, head, cqe) {
      ++seen;
      auto* op = static_cast<operation*>(io_uring_cqe_get_data(cqe));
      if (!op) continue;  // a cancellation's own completion
      auto res = cqe->res;
      auto flags = cqe->flags;
      if (op->what == operation::kind::wake)
        arm_wake();
      else
        op->owner->completed(*op, res, flags);
      if (seen == events_per_turn_max) break;
    }
    io_uring_cq_advance(&ring_, seen);
  }

  descriptor_state* adopt(int fd) override { return new uring_state(*this, fd); }

  // A submission queue entry; when the queue is full it is submitted first.
  io_uring_sqe* entry() {
    auto* sqe = io_uring_get_sqe(&ring_);
    while (!sqe) {
      enable();
      heed(io_uring_submit(&ring_));
      sqe = io_uring_get_sqe(&ring_);
    }
    return sqe;
  }
  void submit(io_uring_sqe* sqe, operation& op) {
    io_uring_sqe_set_data(sqe, &op);
    op.in_flight = true;
  }
  // A closed state that the kernel still completes into: freed by its last completion, or with the ring.
  void keep(uring_state& s) noexcept { closing_.push_back(s); }
  void submit_now() {
    enable();
    while (has_unsubmitted()) heed(io_uring_submit(&ring_));
  }
  // Whether there are entries that the kernel hasn't seen.
  bool has_unsubmitted() const noexcept { return io_uring_sq_ready(&ring_) > 0; }

  buffer taken(unsigned id, std::size_t size) { return buffer(buffers_ + id * receive_buffer_bytes, size, *this, id); }
  void give_back(std::byte*, unsigned id) noexcept override { offer(id); }

 private:
  static std::size_t ring_bytes() { return receive_ring_buffers * sizeof(io_uring_buf); }
  void offer(unsigned id) noexcept {
    io_uring_buf_ring_add(buffer_ring_, buffers_ + id * receive_buffer_bytes, receive_buffer_bytes,
                          static_cast<unsigned short>(id), io_uring_buf_ring_mask(receive_ring_buffers), 0);
    io_uring_buf_ring_advance(buffer_ring_, 1);
  }
  void enable() {
    // By system call: Debian 12's liburing declares io_uring_enable_rings but does not export it.
    if (!std::exchange(enabled_, true))
      syscall(SYS_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
  }
  // What the kernel said to a call of ours. It refuses submissions while it has no memory for them: they stay in the
  // queue and are offered again, after a pause in which others may give some back. Nothing of this loop can go on
  // without it.
  void heed(int said) {
    const bool refused = said == -EAGAIN || said == -ENOMEM || said == -EBUSY;
    if (!refused) {
      // A completion for which it had no memory was dropped. Nobody can know whose, and who waits for it would do so
      // for ever.
      kedge_assert(said != -EBADR && "io_uring has dropped a completion for want of memory");
      kedge_assert(said >= 0 || said == -EINTR || said == -ETIME);
      if (std::exchange(refused_since_, time_point{}) != time_point{}) log::info("io_uring takes submissions again");
      return;
    }
    if (refused_since_ == time_point{}) {
      refused_since_ = now();
      log::warning("io_uring takes no submissions for want of memory ({}); trying again",
                   os_error(-said, "io_uring_enter").message);
    }
    kedge_assert(now() - refused_since_ < refused_time_max);
    ::usleep(static_cast<useconds_t>(std::chrono::microseconds(refused_pause).count()));
  }
  // Whether a look at what is complete needs a system call first: something to submit, or to be completed by us.
  bool kernel_has_work() const noexcept {
    return has_unsubmitted() || (IO_URING_READ_ONCE(*ring_.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW));
  }
  // Sleeping and being woken takes longer than what busy peers need for an answer, most of all on a virtual machine,
  // which gives its processor back and gets it again. So a loop that was woken soon the last time first looks for a
  // moment whether something comes, while others may run. After a look in vain, or a long wait, the next wait is
  // without one.
  bool comes_soon(time_point began, time_point until) {
    if (has_unsubmitted()) heed(io_uring_submit(&ring_));
    const auto end = std::min(until, began + look_time);
    while (io_uring_cq_ready(&ring_) == 0 && !kernel_has_work()) {
      if (now() >= end) return false;
      sched_yield();
    }
    return true;
  }
  void arm_wake() {
    auto* sqe = entry();
    io_uring_prep_read(sqe, wake_, &wake_count_, sizeof wake_count_, 0);
    submit(sqe, wake_operation_);
  }

  list<uring_state> closing_;
  io_uring ring_{};
  bool ring_made_ = false;
  bool enabled_ = true;
  time_point refused_since_{};
  bool woken_soon_ = false;  // the last wait was short, or a look wasn't in vain
  int wake_ = -1;
  std::uint64_t wake_count_ = 0;
  operation wake_operation_{operation::kind::wake};
  io_uring_buf_ring* buffer_ring_ = nullptr;
  std::byte* buffers_ = nullptr;
};

void uring_state::completed(operation& op, int res, unsigned flags) {
  bool more = flags & IORING_CQE_F_MORE;
  if (!more) op.in_flight = false;
  switch (op.what) {
    case operation::kind::receive:
      if (flags & IORING_CQE_F_BUFFER) {
        auto b = backend_.taken(flags >> IORING_CQE_BUFFER_SHIFT, res > 0 ? static_cast<std::size_t>(res) : 0);
        if (res > 0 && !closed_) received_.push_back(std::move(b));
      }
      if (!more) cancelling_receive_ = false;
      if (res == -ENOBUFS)
        ring_was_empty_ = true;  // the next receive reads into the heap
      else if (res == 0 || (res < 0 && res != -ECANCELED))
        receive_end_ = res;
      if (more && received_.size() >= receive_queue_max && !cancelling_receive_ && !closed_) {
        cancelling_receive_ = true;
        auto* sqe = backend_.entry();
        io_uring_prep_cancel(sqe, &receive_, 0);
        io_uring_sqe_set_data(sqe, nullptr);
      }
      break;
    case operation::kind::accept:
      if (res >= 0)
        closed_ ? void(::close(res)) : accepted_.push_back(res);
      else if (res != -ECANCELED)
        accept_error_ = res;
      break;
    case operation::kind::poll_read: readable_.set(); break;
    case operation::kind::poll_write: writable_.set(); break;
    case operation::kind::wake:
    case operation::kind::cancel: break;
  }
  changed_.pulse();
  free_if_done();
}

void uring_state::submit_receive() {
  auto* sqe = backend_.entry();
  io_uring_prep_recv_multishot(sqe, fd_, nullptr, 0, 0);
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->buf_group = buffer_group;
  backend_.submit(sqe, receive_);
}

void uring_state::submit_poll(operation& op, short events) {
  auto* sqe = backend_.entry();
  io_uring_prep_poll_add(sqe, fd_, static_cast<unsigned>(events));
  backend_.submit(sqe, op);
}

task<result<void>> uring_state::ready(bool for_write) {
  in_use guard(*this);
  auto& op = for_write ? poll_write_ : poll_read_;
  auto& e = for_write ? writable_ : readable_;
  if (closed_) co_return fail(errc::closed, "the connection was closed at this end");
  e.reset();
  if (!op.in_flight) submit_poll(op, for_write ? POLLOUT : POLLIN | POLLRDHUP);
  co_await e.wait();
  if (closed_) co_return fail(errc::closed, "the connection was closed at this end");
  co_return result<void>();
}

std::optional<result<buffer>> uring_state::next_received() {
  if (closed_) return fail(errc::closed, "the connection was closed at this end");
  if (!received_.empty()) {
    auto b = std::move(received_.front());
    received_.erase(received_.begin());
    return std::move(b);
  }
  if (receive_end_ == 0) return buffer();
  if (receive_end_ < 0) return fail(os_error(-receive_end_, "receive"));
  if (receive_.in_flight) return std::nullopt;
  if (ring_was_empty_) {
    // All buffers are out. Read into the heap this once, so that nobody starves behind the holders.
    ring_was_empty_ = false;
    auto b = buffer::allocate(receive_buffer_bytes);
    auto n = ::recv(fd_, b.writable().data(), b.size(), MSG_DONTWAIT);
    if (n >= 0) {
      b.truncate(static_cast<std::size_t>(n));
      if (n == 0) receive_end_ = 0;
      return std::move(b);
    }
    if (errno != EAGAIN && errno != EINTR) return fail(os_error(errno, "receive"));
  }
  submit_receive();
  return std::nullopt;
}

// Every idle connection has this frame.
task<result<buffer>> uring_state::receive() {
  in_use guard(*this);
  for (;;) {
    if (auto b = next_received()) co_return *std::move(b);
    co_await changed_.wait();
  }
}

task<result<int>> uring_state::accept() {
  in_use guard(*this);
  for (;;) {
    if (closed_) co_return fail(errc::closed, "the listener was closed");
    if (!accepted_.empty()) {
      int fd = accepted_.front();
      accepted_.erase(accepted_.begin());
      co_return fd;
    }
    if (auto e = std::exchange(accept_error_, 0); e && e != -ECONNABORTED && e != -EINTR && e != -EAGAIN)
      co_return fail(os_error(-e, "accept"));
    if (!accept_.in_flight) {
      auto* sqe = backend_.entry();
      io_uring_prep_multishot_accept(sqe, fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      backend_.submit(sqe, accept_);
    }
    co_await changed_.wait();
  }
}

void uring_state::dispose() noexcept {
  closed_ = true;
  for (int fd : accepted_) ::close(fd);
  accepted_.clear();
  received_.clear();
  if (receive_.in_flight || accept_.in_flight || poll_read_.in_flight || poll_write_.in_flight) {
    // The operations hold the open file: without the shutdown the peer would see the end only after the cancellations.
    ::shutdown(fd_, SHUT_RDWR);
    // What the kernel hasn't seen may name this descriptor, whose number can be another's as soon as it is closed.
    if (backend_.has_unsubmitted()) backend_.submit_now();
    for (auto* op : {&receive_, &accept_, &poll_read_, &poll_write_}) {
      if (!op->in_flight) continue;
      auto* sqe = backend_.entry();
      io_uring_prep_cancel(sqe, op, 0);
      io_uring_sqe_set_data(sqe, nullptr);
    }
    backend_.keep(*this);
  }
  ::close(fd_);
  changed_.pulse();
  readable_.set();
  writable_.set();
  free_if_done();
}

}  // namespace

result<std::unique_ptr<backend>> make_uring_backend() {
  auto b = std::make_unique<uring_backend>();
  KEDGE_CHECK(b->start());
  return b;
}

}  // namespace kedge::reactor
