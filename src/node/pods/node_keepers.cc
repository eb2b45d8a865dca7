#include "node/pods/node_keepers.h"

#include <fmt/format.h>

#include <utility>

#include "base/log.h"
#include "node/machine/oom_log.h"

namespace kedge::node {

node_keepers::node_keepers(parts p)
    : parts_(std::move(p)),
      shutdown_({.pods = parts_.pods,
                 .phases = parts_.settings.shutdown,
                 .bus = system_bus_socket(),
                 .changed =
                     [this](bool goes_down) {
                       parts_.of_pods.goes_down = goes_down;
                       parts_.look();
                     },
                 .tell = [this](std::string reason,
                                std::string message) { parts_.tell(false, std::move(reason), std::move(message)); }}) {
  if (!reactor::loop::current().io().is_real()) return;
  auto active = [this] {
    shared_pods out;
    for (auto* w : parts_.pods.all())
      if (!w->has_ended() && !is_terminal_phase(w->status()["phase"].as_string())) out.push_back(w->pod());
    return out;
  };
  groups_.emplace(pod_groups::parts{.settings = parts_.settings,
                                    .pods = parts_.of_pods,
                                    .machine = parts_.machine,
                                    .active = std::move(active),
                                    .tell = parts_.tell,
                                    .tree = group_tree()});
}

task<result<void>> node_keepers::prepare(json::value pod) {
  if (!groups_) co_return result<void>();
  co_return co_await groups_->prepare(std::move(pod));
}

// What a container's own limit ended is told of that container.
task<void> node_keepers::tell_oom_kills() {
  auto ended = co_await watch_oom_kills("/dev/kmsg", [this](const oom_kill& k) {
    if (k.group != "/") return;
    std::string message = "System OOM encountered";
    if (!k.process.empty() && k.pid != 0) message += fmt::format(", victim process: {}, pid: {}", k.process, k.pid);
    parts_.tell(true, "SystemOOM", std::move(message));
  });
  log::warning("nobody is told when the machine is out of memory: {}", ended.error().message);
}

task<void> node_keepers::run() {
  if (!groups_) co_return;
  tasks_.spawn(groups_->run());
  tasks_.spawn(shutdown_.run());
  tasks_.spawn(tell_oom_kills());
  co_await tasks_.join();
}

}  // namespace kedge::node
