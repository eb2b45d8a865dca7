#include "shim/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

extern char** environ;

namespace kedge::shim {

namespace {

constexpr int first_free = 3;

// The mounts below keep their propagation: what a container mounts for others still comes out.
bool hide(const program& p) {
  return ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, p.hidden_in.c_str(), nullptr, MS_PRIVATE, nullptr) == 0 &&
         ::umount2(p.hidden.c_str(), MNT_DETACH) == 0;
}

// In the child, which shares our memory until it executes (vfork): system calls only.
void become(const program& p, int* fds, int count, char** argv, char** env, int parent) {
  if (p.own_group) ::setpgid(0, 0);
  if (p.dies_with_us) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) return;
  }
  if (!p.hidden.empty() && !hide(p)) return;
  if (!p.folder.empty() && ::chdir(p.folder.c_str()) < 0) return;
  // All are above what they become, so none is overwritten before it is moved.
  for (int i = 0; i < count; ++i)
    if (::dup2(fds[i], i) < 0) return;
  ::signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(argv[0], argv, env);
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (auto& t : texts) out.push_back(const_cast<char*>(t.c_str()));
  return out;
}

}  // namespace

result<int> spawn(const program& p) {
  auto argv = pointers(p.argv);
  argv.push_back(nullptr);
  auto env = pointers(p.environment);
  for (char** e = environ; *e; ++e) env.push_back(*e);
  env.push_back(nullptr);

  std::vector<int> given = {p.in, p.out, p.err}, high;
  given.insert(given.end(), p.more.begin(), p.more.end());
  int count = static_cast<int>(given.size()), error = 0;
  for (int fd : given) {
    int null = fd < 0 ? ::open("/dev/null", O_RDWR | O_CLOEXEC) : -1;
    int moved = ::fcntl(fd < 0 ? null : fd, F_DUPFD_CLOEXEC, std::max(count, first_free));
    if (moved < 0) error = errno;
    if (null >= 0) ::close(null);
    if (moved >= 0) high.push_back(moved);
  }
  int pid = -1;
  if (error == 0) {
    volatile int failed = 0;
    int parent = ::getpid();
    pid = ::vfork();
    if (pid == 0) {
      become(p, high.data(), count, argv.data(), env.data(), parent);
      failed = errno ? errno : ECHILD;
      ::_exit(127);
    }
    if (pid < 0) error = errno;
    if (pid > 0 && failed != 0) {
      error = failed;
      ::waitpid(pid, nullptr, 0);
    }
  }
  for (int fd : high) ::close(fd);
  if (error != 0) return fail(os_error(error, "execute " + p.argv[0]));
  return pid;
}

}  // namespace kedge::shim
