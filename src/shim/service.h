// service.h: containerd's Task service (api/runtime/task/v2 and v3): the containers of a pod and their processes.
//
//   Create ──▶ created ──Start──▶ running ◀──Resume── paused        each change is told to containerd as an event;
//                 │                  │  └───Pause────▶  │           of a container the exit of its init comes last
//                 └───── exit ───────┴────── exit ──────┘──▶ stopped ──Delete──▶ gone
//
// All that is done to a container is done by its OCI runtime, one command at a time for each process.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "shim/cgroup.h"
#include "shim/loop.h"
#include "shim/publisher.h"
#include "shim/runtime.h"
#include "shim/server.h"
#include "shim/stdio.h"

namespace kedge::shim {

// The init of a container, or a process that was executed in it.
struct process {
  std::string id;  // the container's, or its own
  status state = status::created;
  int pid = 0;
  exit_state exit;
  std::unique_ptr<stdio> io;
  std::string spec;  // of one that was executed, until it is started
  mutex busy;        // commands about it, one at a time
  // While it is being started its exit waits: the start is told first.
  bool starting = false;
  std::optional<exit_state> early_exit;
  std::vector<reply> waiting;  // calls of Wait
};

struct container {
  std::string id, bundle, rootfs;
  runtime_options options;
  runtime oci;
  std::shared_ptr<process> init;
  std::map<std::string, std::shared_ptr<process>, std::less<>> execs;
  std::optional<cgroup> groups;
  std::unique_ptr<oom_watch> oom;
  bool pausing = false;
  // Executed processes that run. The exit of init waits until there are none.
  unsigned running_execs = 0;
  bool init_ended = false;
  std::optional<exit_state> init_exit;
};

class service {
 public:
  struct settings {
    std::string space;        // containerd's namespace
    std::string socket_path;  // ours: consoles are received at names that begin with it
  };
  // `shut_down` is called when containerd has no use for us any more.
  service(loop& l, publisher& p, settings s, std::function<void()> shut_down);

  void call(const ttrpc::request& r, reply answer);
  // No container is here, or about to be.
  bool is_idle() const noexcept { return containers_.empty() && creating_ == 0; }

 private:
  struct method;
  using container_ptr = std::shared_ptr<container>;
  using process_ptr = std::shared_ptr<process>;
  struct found {
    container_ptr of;
    process_ptr process;
    process_request request;
  };
  // A call: its message, whole, and until when it is worth something.
  struct ask {
    std::string payload;
    std::int64_t deadline;
  };
  task<void> serve(const method& m, ask a, reply answer);
  result<found> find(std::string_view payload) const;
  result<container_ptr> container_of(std::string_view id) const;

  task<result<std::string>> create(ask a);
  task<result<container_ptr>> make_container(const create_request& r, std::int64_t deadline);
  task<result<void>> run_create(container_ptr c, std::int64_t deadline);
  task<result<std::string>> start(ask a);
  task<result<void>> start_init(container_ptr c, std::int64_t deadline);
  task<result<void>> start_exec(container_ptr c, process_ptr p, std::int64_t deadline);
  task<result<void>> run_exec(container_ptr c, process_ptr p, std::int64_t deadline);
  task<result<std::string>> remove(ask a);
  task<result<void>> remove_exec(container_ptr c, process_ptr p);
  task<result<void>> remove_init(container_ptr c, std::int64_t deadline);
  task<result<std::string>> exec(ask a);
  task<result<std::string>> pids(ask a);
  task<result<std::string>> pause(ask a);
  task<result<std::string>> resume(ask a);
  task<result<std::string>> checkpoint(ask a);
  task<result<std::string>> kill(ask a);
  task<result<std::string>> resize(ask a);
  task<result<std::string>> close_io(ask a);
  task<result<std::string>> update(ask a);
  task<result<std::string>> state(ask a);
  task<result<std::string>> stats(ask a);
  task<result<std::string>> connect(ask a);
  task<result<std::string>> shutdown(ask a);
  void wait(std::string_view payload, reply answer);

  void ended(container_ptr c, process_ptr p, const exit_state& e);
  task<void> init_ended(container_ptr c, exit_state e);
  void exec_gone(const container_ptr& c);
  void finish(const container_ptr& c, const process_ptr& p, const exit_state& e);
  void follow(const container_ptr& c, const process_ptr& p);
  std::string console_path();

  loop& loop_;
  publisher& publisher_;
  settings settings_;
  std::function<void()> shut_down_;
  std::map<std::string, container_ptr, std::less<>> containers_;
  unsigned creating_ = 0;
  std::uint64_t consoles_ = 0;
};

}  // namespace kedge::shim
