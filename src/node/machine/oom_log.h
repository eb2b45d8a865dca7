// oom_log.h: what the kernel's log says of processes that it killed for want of memory.
//
//   "… invoked oom-killer: …"                                 begins
//   "oom-kill:constraint=…,oom_memcg=…,task=…,pid=…"          ends it: a group had too little
//   "Out of memory: Killed process 123 (name) …"              ends it: the machine had
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "reactor/task.h"

namespace kedge::node {

struct oom_kill {
  std::string process;
  std::int64_t pid = 0;
  std::string group = "/";  // whose limit it was; "/": the machine's
};

// Reads messages in their order.
class oom_parser {
 public:
  // A message that ends a kill gives it.
  std::optional<oom_kill> take(std::string_view message);

 private:
  bool begun_ = false;
  oom_kill now_;
};

// Tells of each kill from now on, until dropped; of none before, so that a start tells nothing again. Ends only when
// `file` (/dev/kmsg) can't be read, with the reason.
task<result<void>> watch_oom_kills(std::string file, std::function<void(const oom_kill&)> tell);

}  // namespace kedge::node
