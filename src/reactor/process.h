// process.h: child processes, waited for through a pidfd.
#pragma once

#include <string>
#include <vector>

#include "reactor/descriptor.h"

namespace kedge::reactor {

struct process_options {
  std::vector<std::string> argv;         // argv[0] is looked up in PATH when it has no '/'
  std::vector<std::string> environment;  // "NAME=value"; empty: the parent's
  std::string output_file;               // standard output and error are appended here; empty: the parent's
  bool capture_output = false;           // standard output and error through `output()` instead
  bool die_with_parent = true;           // SIGKILL when the thread that spawned it ends (PR_SET_PDEATHSIG)
};

class process {
 public:
  static result<process> spawn(const process_options& options);
  process(process&&) noexcept = default;
  process& operator=(process&&) noexcept = default;
  ~process();  // kills it if it was not waited for, and reaps it

  int pid() const noexcept { return pid_; }
  void signal(int number) noexcept;
  // The exit code, or 128 + the signal that ended it.
  task<result<int>> wait();
  // With capture_output: everything that it writes until it closes both, at most `limit` bytes (more is
  // errc::too_large).
  task<result<std::string>> output(std::size_t limit);

 private:
  process() = default;
  int pid_ = -1;
  descriptor pidfd_;
  descriptor output_;
};

}  // namespace kedge::reactor
