// worker_reset.cc: a pod whose containers all begin anew in the sandbox that is there, since one of them ended so
// (restartPolicyRules, RestartAllContainers).
#include <algorithm>

#include "node/limits.h"
#include "node/pods/worker.h"

namespace kedge::node {

namespace {

// Without servers the pod goes on all the same.
constexpr duration told_wait = std::chrono::seconds(5);

}  // namespace

// Their logs stay. It is told first, where that can be: by its status alone an agent that begins meanwhile knows why
// containers are gone.
task<bool> pod_worker::reset(std::vector<container_to_kill> all) {
  auto& here = reactor::loop::current();
  for (const auto until = here.now() + told_wait; told_ != wanted_ && !gone_ && here.now() < until;)
    co_await status_told_.wait_until(std::min(until, here.now() + status_told_poll));
  for (auto& k : all) {
    auto c = std::ranges::find(seen_.containers, k.id, &container_seen::id);
    if (c != seen_.containers.end() && c->state != container_state::exited) {
      tell(k.name, false, "Killing", k.message);
      if (!co_await parts_.runtime.stop_container(k.id, 0)) co_return false;
    }
    if (!co_await parts_.runtime.remove_container(k.id)) co_return false;
  }
  co_return true;
}

}  // namespace kedge::node
