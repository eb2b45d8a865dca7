// run_agent.cc: `kedge agent`: one loop, one node, until a signal.
#include "base/log.h"
#include "cli/daemon.h"
#include "cli/heap.h"
#include "cli/node_settings.h"
#include "cli/run.h"
#include "node/agent.h"

namespace kedge::cli {

namespace {

// After which a node does little new; and once more after what follows ten seconds later, its lease's first renewal on
// a connection of its own.
constexpr std::chrono::seconds settling_times[] = {std::chrono::seconds(5), std::chrono::seconds(10)};

// As K3s: requests go through the balancer, since server and API share a port.
node::agent_config worker_config(const agent_options& o) {
  auto c = node_config(o);
  if (!o.disable_apiserver_lb) c.balancer_port = o.lb_server_port;
  c.proxy = proxy_of_this_process();
  return c;
}

task<int> serve(agent_options options) {
  auto signals = end_signals();
  if (!signals) {
    log::error("{}", signals.error().message);
    co_return 1;
  }
  node::agent_control control;
  std::optional<result<void>> ended;
  reactor::event over;
  reactor::scope tasks;
  tasks.spawn([](node::agent_config c, node::agent_control& a, std::optional<result<void>>& out,
                 reactor::event& e) -> task<void> {
    do {
      if (std::exchange(a.start_anew, false)) {
        a.stop.reset();
        a.registered.reset();
        a.joined.reset();
      }
      out.emplace(co_await node::run_node(c, a));
    } while (*out && a.start_anew);
    e.set();
  }(worker_config(options), control, ended, over));
  tasks.spawn([](node::agent_control& a) -> task<void> {
    co_await a.ready.wait();
    notify_ready();
  }(control));
  tasks.spawn(stop_on_signal(*signals, control.stop));
  tasks.spawn([](node::agent_control& a) -> task<void> {
    co_await a.registered.wait();
    for (const auto pause : settling_times) {
      co_await reactor::sleep_for(pause);
      release_thread_heap();
      (void)co_await reactor::offload([] {
        release_startup_memory();
        return true;
      });
    }
  }(control));
  co_await over.wait();
  if (!*ended) {
    log::error("{}", ended->error().message);
    co_return 1;
  }
  co_return 0;
}

}  // namespace

int run_agent(agent_options options) {
  auto which = io_backend_of(options.io_backend);
  auto cores = reactor::cores::make(1, which);
  if (!cores) {
    log::error("{}", cores.error().message);
    return 1;
  }
  return run_on(**cores, [o = std::move(options)]() mutable { return serve(std::move(o)); });
}

}  // namespace kedge::cli
