// runtime.h: the OCI runtime (runc, crun or another with their command line), which does all that is done to
// containers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "shim/loop.h"
#include "shim/messages.h"
#include "shim/spawn.h"

namespace kedge::shim {

// What the Go shim uses when the options name no root.
inline constexpr std::string_view default_runtime_root = "/run/containerd/runc";

// A runtime for the containers of one namespace. The commands are the ones of runc's manual; each waits for its end,
// and is killed when the deadline passes (errc::timeout).
class runtime {
 public:
  // `binary` is a path. `folder` is the bundle: the runtime's log is written there while a command runs.
  runtime(std::string binary, std::string root, bool systemd_cgroup, std::string folder);

  struct standard {
    int in = -1, out = -1, err = -1;
  };
  // What a command says, for people: the error is the last line of its log, or what it printed.
  struct command {
    std::vector<std::string> arguments;
    const standard* io = nullptr;  // of the container; else its output is read
    int input = -1;                // when there is no io
    std::string log = "log.json";  // in the folder
    std::int64_t deadline = no_deadline;
  };
  // What it printed.
  task<result<std::string>> run(loop& l, command c) const;

  const std::string& binary() const noexcept { return binary_; }
  // A command as a program, for those who run it without a loop.
  program call(const std::string& log, const std::vector<std::string>& arguments) const;

 private:
  std::string binary_, root_, folder_;
  bool systemd_cgroup_;
};

// The runtime's path: the one asked for (by a node that found a crun which will do, node/runtime/containerd.h), else
// runc, as with the Go shim, else crun. Empty: there is none.
std::string choose_runtime(const std::string& asked);

// The message of the last error in a runtime's log (a JSON object a line); empty when there is none.
std::string last_error(std::string_view log);

// Whether a runtime's words say that the container or its process isn't there any more.
enum class absence { no, finished, unknown_container };
absence absence_of(std::string_view message);

}  // namespace kedge::shim
