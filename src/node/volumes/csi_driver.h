// csi_driver.h: a CSI driver's node service, over gRPC on its socket. Calls fail with what the driver said (rpc_text()
// prints it as clients of gRPC do) or with errc::timeout; each has a deadline. A call that is dropped is cancelled at
// the driver, which then may or may not have done it.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "net/grpc.h"
#include "node/volumes/csi_messages.h"

namespace kedge::node {

class csi_driver {
 public:
  csi_driver(std::string name, std::string socket, reactor::network* network);

  const std::string& name() const { return name_; }

  task<result<csi_node_info>> info();
  // Asked once: a driver that is another registers anew.
  task<result<csi_capabilities>> capabilities();
  task<result<void>> stage(csi_request r);
  task<result<void>> publish(csi_request r);
  task<result<void>> unstage(std::string volume_id, std::string staging_path);
  task<result<void>> unpublish(std::string volume_id, std::string target_path);
  task<result<void>> expand(csi_expansion e);
  task<result<csi_stats>> stats(std::string volume_id, std::string volume_path);

 private:
  task<result<std::string>> call(std::string method, std::string message, duration within);

  std::string name_;
  net::grpc::channel channel_;
  std::optional<csi_capabilities> has_;
};

// Whether an error of a call says that nothing was done and nothing is under way.
bool is_final(const error& e);
// Whether the driver said it of a size: asking for it again would be in vain.
bool is_infeasible(const error& e);

}  // namespace kedge::node
