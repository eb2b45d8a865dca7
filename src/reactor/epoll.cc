// epoll.cc: the fallback where io_uring is forbidden. Edge-triggered: one registration a descriptor, and the two ready
// flags are cleared by whoever meets EAGAIN.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "reactor/backends.h"
#include "reactor/descriptor_state.h"
#include "reactor/limits.h"

namespace kedge::reactor {

namespace {

class epoll_state final : public descriptor_state {
 public:
  epoll_state(int epoll, int fd) noexcept : descriptor_state(fd), epoll_(epoll) {}

  void happened(std::uint32_t events) {
    if (events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP | EPOLLERR)) readable_.set();
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) writable_.set();
  }

  task<result<void>> ready(bool for_write) override {
    // The caller met EAGAIN: wait for the next edge. An edge that came between its try and this call has set the flag.
    in_use guard(*this);
    auto& e = for_write ? writable_ : readable_;
    co_await e.wait();
    e.reset();
    if (closed_) co_return fail(errc::closed, "the connection was closed at this end");
    co_return result<void>();
  }

  task<result<buffer>> receive() override {
    in_use guard(*this);
    buffer b;
    for (;;) {
      if (closed_) co_return fail(errc::closed, "the connection was closed at this end");
      if (readable_.is_set()) {
        if (b.empty()) b = buffer::allocate(receive_buffer_bytes);
        auto n = ::recv(fd_, b.writable().data(), b.size(), 0);
        if (n >= 0) {
          b.truncate(static_cast<std::size_t>(n));
          co_return std::move(b);
        }
        if (errno == EINTR) continue;
        if (errno != EAGAIN) co_return fail(os_error(errno, "receive"));
        readable_.reset();
        b.release();
      }
      co_await readable_.wait();
    }
  }

  task<result<int>> accept() override {
    in_use guard(*this);
    for (;;) {
      if (closed_) co_return fail(errc::closed, "the listener was closed");
      int fd = ::accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) co_return fd;
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno != EAGAIN) co_return fail(os_error(errno, "accept"));
      readable_.reset();
      co_await readable_.wait();
    }
  }

  void dispose() noexcept override {
    closed_ = true;
    epoll_ctl(epoll_, EPOLL_CTL_DEL, fd_, nullptr);  // a child process may share the open file and keep it alive
    ::close(fd_);
    readable_.set();
    writable_.set();
    if (users_ == 0) unused();
  }
  bool closed() const noexcept { return closed_; }

 private:
  void unused() noexcept override { delete this; }
  int epoll_;
  event readable_, writable_;
};

class epoll_backend final : public descriptor_backend {
 public:
  epoll_backend(int epoll, int wake) noexcept : epoll_(epoll), wake_(wake) {
    epoll_event e{};
    e.events = EPOLLIN;
    e.data.ptr = nullptr;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &e);
  }
  ~epoll_backend() override {
    ::close(wake_);
    ::close(epoll_);
  }
  const char* name() const noexcept override { return "epoll"; }
  time_point now() noexcept override { return monotonic_clock::now(); }
  wall_time wall_now() noexcept override { return system_wall_time(); }
  random_source& random() noexcept override { return system_random(); }
  void wake() noexcept override {
    std::uint64_t one = 1;
    [[maybe_unused]] auto n = ::write(wake_, &one, sizeof one);
  }

  void wait(time_point until) override {
    epoll_event events[256];
    int timeout = -1;
    if (until != time_point::max()) {
      auto left = until - now();
      timeout = left <= duration(0) ? 0
                                    : static_cast<int>(std::min<std::int64_t>(
                                          std::chrono::ceil<std::chrono::milliseconds>(left).count(), 3'600'000));
    }
    int n = epoll_wait(epoll_, events, 256, timeout);
    for (int i = 0; i < n; ++i) {
      if (auto* s = static_cast<epoll_state*>(events[i].data.ptr)) {
        if (!s->closed()) s->happened(events[i].events);
      } else {
        std::uint64_t count;
        [[maybe_unused]] auto r = ::read(wake_, &count, sizeof count);
      }
    }
  }

  descriptor_state* adopt(int fd) override {
    auto* s = new epoll_state(epoll_, fd);
    epoll_event e{};
    e.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    e.data.ptr = s;
    // Plain files can't be watched and are always ready; nobody waits for them.
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &e) != 0) s->happened(EPOLLIN | EPOLLOUT);
    return s;
  }

 private:
  int epoll_, wake_;
};

}  // namespace

result<std::unique_ptr<backend>> make_epoll_backend() {
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) return fail(os_error(errno, "epoll_create1"));
  int wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (wake < 0) {
    ::close(epoll);
    return fail(os_error(errno, "eventfd"));
  }
  return std::make_unique<epoll_backend>(epoll, wake);
}

}  // namespace kedge::reactor
