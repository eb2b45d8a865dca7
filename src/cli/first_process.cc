#include "cli/first_process.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <vector>

namespace kedge::cli {

namespace {

// What a fault of this process itself raises isn't waited for.
sigset_t awaited_signals() {
  sigset_t out;
  ::sigfillset(&out);
  for (int fault : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP}) ::sigdelset(&out, fault);
  return out;
}

// One SIGCHLD may stand for many ends. The child's own is the answer.
std::optional<int> reap(pid_t child) {
  std::optional<int> code;
  int status = 0;
  for (pid_t gone; (gone = ::waitpid(-1, &status, WNOHANG)) > 0;)
    if (gone == child) code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return code;
}

int wait_for(pid_t child, const sigset_t& awaited) {
  for (;;) {
    siginfo_t told{};
    const int number = ::sigwaitinfo(&awaited, &told);
    if (number == SIGCHLD) {
      if (auto code = reap(child)) return *code;
    } else if (number > 0 && told.si_code != SI_KERNEL) {
      // What a terminal sends (Ctrl-C) the kernel has sent to the child as well, whose group is this one's.
      ::kill(child, number);
    }
  }
}

bool is_in_root_group(const std::string& own) {
  std::ifstream in(own);
  for (std::string line; std::getline(in, line);)
    if (line == "0::/") return true;  // v2's; v1's hierarchies have numbers and names
  return false;
}

}  // namespace

std::optional<int> first_process() {
  const auto awaited = awaited_signals();
  sigset_t before;
  ::sigprocmask(SIG_SETMASK, &awaited, &before);
  const pid_t child = ::fork();
  if (child > 0) return wait_for(child, awaited);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  if (child == 0) return {};
  fmt::print(stderr, "kedge: fork: {}\n", std::strerror(errno));
  return 1;
}

void leave_root_group(const std::string& root, const std::string& own) {
  if (!std::ifstream(root + "/cgroup.controllers") || !is_in_root_group(own)) return;
  const auto init = root + "/init";
  if (::mkdir(init.c_str(), 0755) != 0 && errno != EEXIST) return;
  std::vector<std::string> processes;
  std::ifstream in(root + "/cgroup.procs");
  for (std::string process; std::getline(in, process);) processes.push_back(process);
  // One at a time is what the kernel takes. Those that are gone by now, and a kernel's own, don't move.
  for (auto& process : processes) std::ofstream(init + "/cgroup.procs") << process;
}

}  // namespace kedge::cli
