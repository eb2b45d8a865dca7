#include "cli/first_process.h"

#include <doctest/doctest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "temporary.h"

using namespace kedge::cli;

namespace {

// A process that is to its descendants what process 1 is to a container's; its child does `work`, told where to say a
// process's number.
struct container {
  int said[2];
  pid_t first;

  explicit container(int (*work)(int)) {
    REQUIRE(::pipe(said) == 0);
    first = ::fork();
    REQUIRE(first >= 0);
    if (first == 0) {
      ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const auto ended = first_process();
      ::_exit(ended ? *ended : work(said[1]));
    }
    ::close(said[1]);
  }
  container(const container&) = delete;
  ~container() {
    if (first > 0) {
      ::kill(first, SIGKILL);
      ::waitpid(first, nullptr, 0);
    }
    ::close(said[0]);
  }

  pid_t hear() const {
    pid_t number = 0;
    REQUIRE(::read(said[0], &number, sizeof number) == sizeof number);
    return number;
  }
  int end() {
    int status = 0;
    REQUIRE(::waitpid(first, &status, 0) == first);
    first = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
};

void say(int to, pid_t number) { (void)!::write(to, &number, sizeof number); }

bool gone_soon(pid_t process) {
  for (int i = 0; i < 3000; ++i) {
    if (::kill(process, 0) != 0 && errno == ESRCH) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

int wait_for_end(int to) {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, nullptr);
  say(to, -::getpid());  // so that it is told from the others
  for (;;)
    if (const int number = ::sigwaitinfo(&all, nullptr); number != SIGCHLD) return number;
}

}  // namespace

TEST_CASE("the first process hands on what it is told, and ends as its child did") {
  for (int number : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) {
    container c(wait_for_end);
    CHECK(-c.hear() != c.first);
    ::kill(c.first, number);
    CHECK(c.end() == number);
  }
  container killed(wait_for_end);
  ::kill(-killed.hear(), SIGKILL);
  CHECK(killed.end() == 128 + SIGKILL);
}

TEST_CASE("the first process takes the ends of those who lost their parents") {
  container c([](int to) {
    for (int i = 0; i < 20; ++i) {
      if (const pid_t parent = ::fork(); parent > 0) {
        ::waitpid(parent, nullptr, 0);
      } else {
        if (::fork() != 0) ::_exit(0);
        say(to, ::getpid());
        ::_exit(0);
      }
    }
    return wait_for_end(to);
  });
  int orphans = 0;
  for (int i = 0; i <= 20; ++i)
    if (const pid_t process = c.hear(); process > 0) {
      ++orphans;
      CHECK(gone_soon(process));
    }
  CHECK(orphans == 20);
  ::kill(c.first, SIGTERM);
  CHECK(c.end() == SIGTERM);
}

TEST_CASE("a container's own control group is left, and no other") {
  namespace fs = std::filesystem;
  const temporary_folder folder;
  const auto read = [&](const std::string& name) {
    std::ifstream in(folder.path + "/" + name);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  folder.write("cgroup.procs", "1\n");
  const auto inside = folder.write("inside", "0::/\n"), below = folder.write("below", "1:cpu:/\n0::/docker/a\n");
  leave_root_group(folder.path, inside);
  CHECK_FALSE(fs::exists(folder.path + "/init"));  // these are v1's
  folder.write("cgroup.controllers", "cpu memory\n");
  leave_root_group(folder.path, below);
  CHECK_FALSE(fs::exists(folder.path + "/init"));
  leave_root_group(folder.path, inside);
  CHECK(read("init/cgroup.procs") == "1");
}
