// pod_streams.h: what the kubelet's port serves of a pod: its containers' logs, and exec, attach and port-forward,
// whose connections go on to the runtime's own streaming server.
#pragma once

#include "net/http/handler.h"
#include "node/pods/manager.h"
#include "node/runtime/pod_runtime.h"

namespace kedge::node {

class pod_streams {
 public:
  pod_streams(const pod_manager& pods, pod_runtime& runtime, reactor::network* network)
      : pods_(pods), runtime_(runtime), network_(network) {}

  // Whether `path` is one of these; then serve() answers.
  static bool serves(std::string_view path);
  task<void> serve(net::http::exchange& e);

 private:
  task<void> serve_log(net::http::exchange& e, std::string ns, std::string pod, std::string container);
  task<void> serve_run(net::http::exchange& e, std::string id);
  task<void> pass_on(net::http::exchange& e, std::string url);

  const pod_manager& pods_;
  pod_runtime& runtime_;
  reactor::network* network_;
};

// The id of the container whose log is asked for, or why there is none, in the kubelet's words.
result<std::string> container_of_log(const json::value& status, std::string_view pod, std::string_view container,
                                     bool previous);

}  // namespace kedge::node
