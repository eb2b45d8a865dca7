#include "cli/daemon.h"

#include <signal.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cstdlib>

#include "base/log.h"
#include "cli/node_args.h"
#include "cli/version.h"

namespace kedge::cli {

reactor::io_backend io_backend_of(std::string_view name) {
  if (name == "io_uring") return reactor::io_backend::io_uring;
  if (name == "epoll") return reactor::io_backend::epoll;
  return reactor::io_backend::automatic;
}

int run_on(reactor::cores& cores, std::function<task<int>()> main) {
  ::signal(SIGPIPE, SIG_IGN);
  raise_descriptor_limit();
  int code = 1;
  cores[0].post([&] {
    cores[0].spawn([](reactor::cores& all, std::function<task<int>()> run, int& out) -> task<void> {
      out = co_await run();
      all.stop();
    }(cores, std::move(main), code));
  });
  cores.run();
  return code;
}

result<reactor::signal_waiter> end_signals() { return reactor::signal_waiter::make({SIGTERM, SIGINT, SIGHUP}); }

task<void> stop_on_signal(reactor::signal_waiter& signals, reactor::event& stop) {
  for (;;) {
    auto n = co_await signals.next();
    if (!n) {
      log::error("{}", n.error().message);
      stop.set();
      co_return;
    }
    if (*n == SIGHUP) continue;  // a lost terminal; nothing is re-read
    if (stop.is_set()) {
      log::warning("second signal: ending at once");
      ::_exit(1);
    }
    log::info("received {}: draining and shutting down", *n == SIGTERM ? "SIGTERM" : "SIGINT");
    notify_stopping();
    stop.set();
  }
}

void notify_ready() { sd_notify(0, "READY=1"); }
void notify_stopping() { sd_notify(0, "STOPPING=1"); }

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
}

node::agent_config node_config(const agent_options& o) {
  node::agent_config c;
  c.server_url = o.server_url;
  c.token = o.token;
  c.node_name = o.node_name;
  c.with_node_id = o.with_node_id;
  c.data_dir = o.data_dir;
  // Several nodes on one machine (tests, demonstrations) need a password each.
  if (const char* folder = std::getenv("KEDGE_NODE_PASSWORD_FOLDER"); folder && *folder)
    c.password_folder = folder;
  else if (::geteuid() != 0)
    c.password_folder = o.data_dir + "/agent/etc/rancher/node";
  c.node_ips = o.node_ips;
  c.node_external_ips = o.node_external_ips;
  c.node_labels = o.node_labels;
  c.node_taints = o.node_taints;
  auto described = describe_node(o.node_args, o.node_env);
  c.node_args = described.args;
  c.node_env = described.env;
  c.version = version;
  c.container_runtime_endpoint = o.container_runtime_endpoint;
  c.snapshotter = o.snapshotter;
  c.pause_image = o.pause_image;
  return c;
}

}  // namespace kedge::cli
