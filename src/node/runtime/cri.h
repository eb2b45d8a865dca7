// cri.h: the container runtime interface, over gRPC on the runtime's unix socket.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "net/grpc.h"
#include "node/limits.h"
#include "node/runtime/cri_messages.h"

namespace kedge::node {

// "unix:///run/x.sock", "unix:/run/x.sock" or "/run/x.sock" → the path; errc::invalid for anything else.
result<std::string> runtime_socket(std::string_view endpoint);

class cri_client {
 public:
  // `network` null: this machine's.
  explicit cri_client(reactor::network* network = nullptr) noexcept : network_(network) {}
  // The socket's path. Calls fail with errc::unavailable before there is one. Not while a call is under way.
  void use(const std::string& socket);

  // Each fails with what the runtime or the connection said; with errc::timeout after limits.h's runtime_deadline.
  task<result<cri_version>> version();
  task<result<cri_status>> status();
  task<result<std::vector<runtime_image>>> list_images();
  task<result<std::vector<cri_filesystem>>> image_fs_info();
  // Tells in the log when systemd makes the control groups of the runtime at `endpoint`, and it says so.
  task<void> warn_of_systemd(std::string endpoint);
  // Writes what a container is to the file `location`. `timeout_seconds`: for the runtime; 0: its own.
  task<result<void>> checkpoint(std::string container_id, std::string location, std::int64_t timeout_seconds);

 private:
  task<result<std::string>> call(std::string method, std::string message = {}, duration within = runtime_deadline);

  reactor::network* network_;
  std::string socket_;
  std::unique_ptr<net::grpc::channel> channel_;
};

}  // namespace kedge::node
