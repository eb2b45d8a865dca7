// handlers.h: what a probe or a lifecycle hook does once: run a command in the container, ask over HTTP or gRPC,
// connect, or sleep.
#pragma once

#include <string>

#include "node/pods/seen.h"
#include "reactor/stream.h"

namespace kedge::node {

struct handler_target {
  std::string container_id;
  std::string pod_ip;                   // the host where a handler names none
  reactor::network* network = nullptr;  // null: this machine's
};

struct probe_outcome {
  probe_result result = probe_result::unknown;
  std::string output;    // of a failure, in the kubelet's words
  bool warned = false;   // a success of which something is to be said
  bool errored = false;  // it couldn't be tried: says nothing about the container
};

// One try of container[`probe`], within its own timeout.
task<probe_outcome> probe_once(json::value probe, json::value container, handler_target at, pod_runtime& runtime);

// A postStart or preStop handler; who calls sets the deadline.
task<result<void>> run_hook(json::value handler, json::value container, handler_target at, pod_runtime& runtime);

}  // namespace kedge::node
