// namespaces.h: network namespaces of a test's own: made on a thread, gone with the object.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <thread>

#include "node/network/links.h"
#include "node/network/netlink.h"

namespace kedge::node {

class test_namespace {
 public:
  test_namespace() {
    std::thread([this] {
      if (::unshare(CLONE_NEWNET) != 0) return;
      fd_ = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
      auto here = links::open();
      if (here) (void)here->set_up(1);  // lo
    }).join();
  }
  test_namespace(const test_namespace&) = delete;
  test_namespace& operator=(const test_namespace&) = delete;
  ~test_namespace() {
    if (fd_ >= 0) ::close(fd_);
  }
  // Whether this process may make any; root may.
  explicit operator bool() const noexcept { return fd_ >= 0; }
  int fd() const noexcept { return fd_; }
  std::string path() const { return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd_); }
  // Runs `f` in it, on another thread; doctest's CHECK is fine there, REQUIRE is not.
  void run(const std::function<void()>& f) const {
    auto done = netlink::in_namespace(path(), [&]() -> result<void> {
      f();
      return {};
    });
    CHECK_MESSAGE(done, (done ? "" : done.error().message));
  }

 private:
  int fd_ = -1;
};

}  // namespace kedge::node

// A result that must be good; its error is told.
#define GOOD(expression)                                                            \
  do {                                                                              \
    auto outcome_ = (expression);                                                   \
    CHECK_MESSAGE(outcome_, (outcome_ ? std::string() : outcome_.error().message)); \
  } while (0)
