// cgroup.h: what a container's cgroups say: their metrics, in containerd's protobuf of cgroups v1 or v2 (its cgroups
// module), and that the kernel killed something for want of memory.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/descriptor.h"
#include "base/error.h"
#include "shim/loop.h"

namespace kedge::shim {

// The places of a process's cgroups below `root`.
class cgroup {
 public:
  // From /proc/PID/cgroup's text. Version 2 when `root` is a unified hierarchy.
  static cgroup of(std::string_view proc_cgroup, std::string root, bool unified);
  // Of a process that runs. Blocking, a little.
  static result<cgroup> of_process(int pid);

  bool unified() const noexcept { return unified_; }
  // The folder of a controller ("memory"); for version 2 there is only one. Empty: the process has none.
  std::string folder(std::string_view controller) const;
  // The folders that a path has, in all hierarchies of this machine, where it is there.
  static std::vector<std::string> all_folders(const std::string& path);
  // The metrics as an Any.
  std::string metrics() const;

 private:
  std::string root_;
  bool unified_ = false;
  std::map<std::string, std::string, std::less<>> paths_;  // by controller
};

// Kills what is in the cgroup and below, and takes them away. Blocking, for at most a second.
result<void> remove_cgroup(const std::string& folder);

// Calls `killed` for each time that processes of the cgroup were killed because memory ran out.
class oom_watch final : public watcher {
 public:
  oom_watch(loop& l, const cgroup& c, std::function<void()> killed);
  oom_watch(const oom_watch&) = delete;
  oom_watch& operator=(const oom_watch&) = delete;
  ~oom_watch();

  void ready(std::uint32_t events) override;
  // Looks now: an exit shall not be told before the OOM that it is of.
  void look();

 private:
  std::uint64_t kills() const;

  loop& loop_;
  std::string file_;  // memory.events, or memory.oom_control
  bool unified_;
  descriptor fd_;  // inotify's, or the eventfd
  std::uint64_t seen_ = 0;
  std::function<void()> killed_;
};

}  // namespace kedge::shim
