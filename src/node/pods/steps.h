// steps.h: what is to be done next for a pod that shall run: from its specification and what is seen of it, nothing
// else.
#pragma once

#include <string>
#include <vector>

#include "node/pods/seen.h"

namespace kedge::node {

enum class kill_reason : unsigned char { none, liveness, startup, post_start };

struct container_to_kill {
  std::string id, name;
  std::string message;  // of the event Killing, behind "Stopping container X"
  kill_reason reason = kill_reason::none;
};

struct pod_steps {
  bool kill_pod = false;        // everything that runs ends, the sandbox too
  bool create_sandbox = false;  // afterwards a new one, with this attempt
  std::uint32_t attempt = 0;
  // These end at once, where they run, and are removed; before that nothing else is done.
  std::vector<container_to_kill> reset;
  std::vector<container_to_kill> kill;                // first these
  std::vector<std::string> ephemeral, init, regular;  // then these begin, in this order
  std::vector<std::string> remove;                    // ids of dead containers that nothing is told from any more

  bool nothing() const {
    return !kill_pod && !create_sandbox && reset.empty() && kill.empty() && ephemeral.empty() && init.empty() &&
           regular.empty() && remove.empty();
  }
};

pod_steps next_steps(const json::value& pod, const pod_seen& seen, const probes_seen& probes);

// Why the pod needs a sandbox, in the words of its condition; empty when it has one.
std::string_view why_no_sandbox(const json::value& pod, const pod_seen& seen);
// Whether a container that doesn't run shall be started.
bool shall_start(const json::value& container, const json::value& pod, const pod_seen& seen);
// Of a pod that ends: whether its sidecars end only after `name` has, when that runs still (KEP-753: containers first,
// then the sidecars in reverse).
std::vector<std::string> ends_before(const json::value& pod, std::string_view name);

}  // namespace kedge::node
