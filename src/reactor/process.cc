#include "reactor/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/strings.h"

extern char** environ;

namespace kedge::reactor {

result<process> process::spawn(const process_options& o) {
  kedge_assert(!o.argv.empty());
  // Everything the child touches is made before the fork: after it, only async-signal-safe calls.
  std::vector<char*> argv, env;
  for (auto& a : o.argv) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  for (auto& e : o.environment) env.push_back(const_cast<char*>(e.c_str()));
  env.push_back(nullptr);
  int out[2] = {-1, -1}, failed[2];
  if (pipe2(failed, O_CLOEXEC) != 0) return fail(os_error(errno, "pipe"));
  int file = -1;
  if (o.capture_output) {
    if (pipe2(out, O_CLOEXEC) != 0) {
      auto e = os_error(errno, "pipe");
      ::close(failed[0]);
      ::close(failed[1]);
      return fail(std::move(e));
    }
    fcntl(out[0], F_SETFL, O_NONBLOCK);
  } else if (!o.output_file.empty()) {
    file = ::open(o.output_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  }
  int pid = fork();
  if (pid == 0) {
    if (o.die_with_parent) prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    int to = o.capture_output ? out[1] : file;
    if (to >= 0) {
      dup2(to, 1);
      dup2(to, 2);
    }
    if (!o.environment.empty()) environ = env.data();
    execvp(argv[0], argv.data());
    int problem = errno;
    [[maybe_unused]] auto n = ::write(failed[1], &problem, sizeof problem);
    _exit(127);
  }
  int fork_error = errno;
  ::close(failed[1]);
  if (out[1] >= 0) ::close(out[1]);
  if (file >= 0) ::close(file);
  process p;
  if (out[0] >= 0) p.output_ = descriptor(out[0]);
  if (pid < 0) {
    ::close(failed[0]);
    return fail(os_error(fork_error, "fork"));
  }
  p.pid_ = pid;
  int problem = 0;
  auto n = ::read(failed[0], &problem, sizeof problem);  // ends at exec
  ::close(failed[0]);
  if (n == sizeof problem) {
    waitpid(pid, nullptr, 0);
    p.pid_ = -1;
    return fail(os_error(problem, "run " + quote(o.argv[0])));
  }
  int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, O_NONBLOCK));
  if (pidfd < 0) return fail(os_error(errno, "pidfd_open"));
  fcntl(pidfd, F_SETFD, FD_CLOEXEC);
  p.pidfd_ = descriptor(pidfd);
  return p;
}

process::~process() {
  if (!pidfd_) return;  // moved from
  if (pid_ > 0 && waitpid(pid_, nullptr, WNOHANG) == 0) {
    ::kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
}

void process::signal(int number) noexcept {
  if (pid_ > 0) ::kill(pid_, number);
}

task<result<int>> process::wait() {
  for (;;) {
    int status = 0;
    auto r = pid_ > 0 ? waitpid(pid_, &status, WNOHANG) : -1;
    if (r == pid_) {
      pid_ = -1;
      co_return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    if (r < 0) co_return fail(os_error(pid_ > 0 ? errno : ECHILD, "wait for child"));
    KEDGE_CO_CHECK(co_await pidfd_.readable());
  }
}

task<result<std::string>> process::output(std::size_t limit) {
  std::string all;
  char part[4096];
  for (;;) {
    auto n = ::read(output_.fd(), part, sizeof part);
    if (n == 0) co_return std::move(all);
    if (n > 0) {
      if (all.size() + static_cast<std::size_t>(n) > limit)
        co_return fail(errc::too_large, "the child's output is over the limit");
      all.append(part, static_cast<std::size_t>(n));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) co_return fail(os_error(errno, "read the child's output"));
    KEDGE_CO_CHECK(co_await output_.readable());
  }
}

}  // namespace kedge::reactor
