#include "shim/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>

#include "base/assert.h"

namespace kedge::shim {

std::int64_t now_ms() noexcept {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return std::int64_t(t.tv_sec) * 1000 + t.tv_nsec / 1'000'000;
}

loop::loop() {
  sigset_t set;
  sigemptyset(&set);
  for (int s : {SIGCHLD, SIGTERM, SIGINT}) sigaddset(&set, s);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  epoll_ = descriptor(::epoll_create1(EPOLL_CLOEXEC));
  signals_ = descriptor(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  kedge_assert(epoll_ && signals_);
  epoll_event e{.events = EPOLLIN, .data = {.ptr = nullptr}};
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, signals_.get(), &e);
}

void loop::watch(int fd, std::uint32_t events, watcher& w) {
  epoll_event e{.events = events, .data = {.ptr = &w}};
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &e);
}

void loop::change(int fd, std::uint32_t events, watcher& w) {
  epoll_event e{.events = events, .data = {.ptr = &w}};
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &e);
}

void loop::unwatch(int fd, watcher& w) {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  if (handling_) gone_.push_back(&w);
}

std::uint64_t loop::set_timer(std::int64_t when, std::function<void()> call) {
  timers_.push_back({when, next_timer_, std::move(call)});
  return next_timer_++;
}

void loop::cancel_timer(std::uint64_t id) noexcept {
  std::erase_if(timers_, [&](const timer& t) { return t.id == id; });
}

void loop::know(int pid, std::function<void(const exit_state&)> exited) {
  children_.push_back({pid, std::move(exited)});
  reap_soon_ = true;  // it may have ended already
}

namespace {

exit_state state_of(int status) {
  exit_state out{.status =
                     static_cast<std::uint32_t>(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status))};
  ::clock_gettime(CLOCK_REALTIME, &out.at);
  return out;
}

}  // namespace

void loop::reap() {
  reap_soon_ = false;
  std::vector<std::pair<child, exit_state>> ended;
  auto take = [&](int pid, int status) {
    auto known = std::ranges::find(children_, pid, &child::pid);
    if (known == children_.end()) return;
    ended.emplace_back(std::move(*known), state_of(status));
    children_.erase(known);
  };
  int status = 0;
  if (claims_ == 0) {
    for (int pid; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) take(pid, status);
  } else {
    std::vector<int> pids;
    for (auto& c : children_) pids.push_back(c.pid);
    for (int pid : pids)
      if (::waitpid(pid, &status, WNOHANG) == pid) take(pid, status);
  }
  for (auto& [c, state] : ended) c.exited(state);
}

void loop::run_timers() {
  auto now = now_ms();
  auto newest = next_timer_;  // what these set has its turn after the descriptors
  for (bool any = true; any;) {
    any = false;
    for (std::size_t i = 0; i < timers_.size(); ++i) {
      if (timers_[i].when > now || timers_[i].id >= newest) continue;
      auto call = std::move(timers_[i].call);
      timers_.erase(timers_.begin() + static_cast<std::ptrdiff_t>(i));
      call();  // may set and cancel others
      any = true;
      break;
    }
  }
}

int loop::wait_ms() const {
  if (reap_soon_) return 0;
  std::int64_t next = no_deadline;
  for (auto& t : timers_) next = std::min(next, t.when);
  if (next == no_deadline) return -1;
  return static_cast<int>(std::clamp<std::int64_t>(next - now_ms(), 0, 60'000));
}

void loop::run(const std::function<void()>& on_signal) {
  while (!stopping_) {
    std::array<epoll_event, 16> events;
    int n = ::epoll_wait(epoll_.get(), events.data(), events.size(), wait_ms());
    bool children = reap_soon_;
    handling_ = true;
    for (int i = 0; i < n; ++i) {
      auto& e = events[static_cast<std::size_t>(i)];
      if (e.data.ptr) {
        auto* w = static_cast<watcher*>(e.data.ptr);
        if (std::ranges::find(gone_, w) == gone_.end()) w->ready(e.events);
        continue;
      }
      for (signalfd_siginfo s; ::read(signals_.get(), &s, sizeof s) == sizeof s;) {
        if (s.ssi_signo == SIGCHLD)
          children = true;
        else
          on_signal();
      }
    }
    handling_ = false;
    gone_.clear();
    // After the descriptors: an OOM event, which is one of them, comes before the exit that it explains.
    if (children) reap();
    run_timers();
  }
}

}  // namespace kedge::shim
