// worker_reset.cc: a pod whose containers all begin anew in the sandbox that is there, since one of them ended so
// (restartPolicyRules, RestartAllContainers).
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "node/limits.h"
#include "node/logs/log_files.h"
#include "node/pods/worker.h"
#include "reactor/offload.h"

namespace kedge::node {

namespace {

// Without servers the pod goes on all the same.
constexpr duration told_wait = std::chrono::seconds(5);

}  // namespace

// Of their logs those of the round before go, as when a container starts again. It is told first, where that can be: by
// its status alone an agent that begins meanwhile knows why containers are gone.
task<bool> pod_worker::reset(std::vector<container_to_kill> all) {
  auto& here = reactor::loop::current();
  for (const auto until = here.now() + told_wait; told_ != wanted_ && !gone_ && here.now() < until;)
    co_await status_told_.wait_until(std::min(until, here.now() + status_told_poll));
  for (auto& k : all) {
    auto c = std::ranges::find(seen_.containers, k.id, &container_seen::id);
    const int before = c == seen_.containers.end() ? -1 : c->restarts - 1;
    if (c != seen_.containers.end() && c->state != container_state::exited) {
      tell(k.name, false, "Killing", k.message);
      if (!co_await parts_.runtime.stop_container(k.id, 0)) co_return false;
    }
    if (!co_await parts_.runtime.remove_container(k.id)) co_return false;
    if (before < 0) continue;
    (void)co_await reactor::offload(
        [logs = parts_.settings.logs, link = log_link(k.name, k.id),
         path = fmt::format("{}/{}/{}.log", parts_.settings.logs_of(*pod_), k.name, before)] {
          ::unlink(link.c_str());
          return remove_logs(logs, path);
        });
  }
  co_return true;
}

}  // namespace kedge::node
