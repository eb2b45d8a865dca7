#include "reactor/signal.h"

#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>

namespace kedge::reactor {

result<signal_waiter> signal_waiter::make(std::initializer_list<int> numbers) {
  sigset_t set;
  sigemptyset(&set);
  for (int n : numbers) sigaddset(&set, n);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  if (fd < 0) return fail(os_error(errno, "signalfd"));
  return signal_waiter(fd);
}

task<result<int>> signal_waiter::next() {
  for (;;) {
    signalfd_siginfo info;
    auto n = ::read(descriptor_.fd(), &info, sizeof info);
    if (n == sizeof info) co_return static_cast<int>(info.ssi_signo);
    if (n < 0 && errno != EAGAIN && errno != EINTR) co_return fail(os_error(errno, "signalfd"));
    KEDGE_CO_CHECK(co_await descriptor_.readable());
  }
}

}  // namespace kedge::reactor
