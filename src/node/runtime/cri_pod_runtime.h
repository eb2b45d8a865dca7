// cri_pod_runtime.h: pod_runtime over gRPC, on the runtime's unix socket.
#pragma once

#include <map>
#include <memory>

#include "base/exposition.h"
#include "net/grpc.h"
#include "node/runtime/pod_runtime.h"

namespace kedge::node {

class cri_pod_runtime final : public pod_runtime {
 public:
  // `network` null: this machine's.
  explicit cri_pod_runtime(reactor::network* network = nullptr) noexcept : network_(network) {}
  // The socket's path. Calls fail with errc::unavailable before there is one. A call that is under way goes on at the
  // old one.
  void use(const std::string& socket);
  // What was asked of the runtime, by the kubelet's names.
  void write_metrics(exposition& out) const;
  // Images are another's business, at this socket. Once, before any call.
  void use_for_images(const std::string& socket);

  task<result<std::string>> run_sandbox(const sandbox_config& config, std::string handler) override;
  task<result<void>> stop_sandbox(std::string id) override;
  task<result<void>> remove_sandbox(std::string id) override;
  task<result<std::vector<sandbox_info>>> sandboxes(std::string pod_uid) override;
  task<result<sandbox_status>> status_of_sandbox(std::string id) override;
  task<result<std::string>> create_container(std::string sandbox_id, const container_config& config,
                                             const sandbox_config& sandbox) override;
  task<result<void>> start_container(std::string id) override;
  task<result<void>> stop_container(std::string id, std::int64_t grace_seconds) override;
  task<result<void>> remove_container(std::string id) override;
  task<result<void>> update_resources(std::string id, container_resources resources) override;
  task<result<void>> update_sandbox(std::string id, container_resources resources,
                                    container_resources overhead) override;
  task<result<std::vector<container_info>>> containers(std::string pod_uid) override;
  task<result<container_status>> status_of_container(std::string id) override;
  task<result<void>> reopen_log(std::string id) override;
  task<result<std::vector<container_usage>>> usage() override;
  task<result<exec_result>> exec(std::string id, std::vector<std::string> command,
                                 std::int64_t timeout_seconds) override;
  task<result<std::string>> stream_url(std::string id, exec_request request) override;
  task<result<std::string>> port_forward_url(std::string sandbox_id, std::vector<int> ports) override;
  task<result<std::optional<image_info>>> image(std::string name) override;
  task<result<std::string>> pull(std::string name, const image_credentials* credentials,
                                 const sandbox_config& sandbox) override;
  task<result<std::vector<stored_image>>> images() override;
  task<result<void>> remove_image(std::string id) override;

 private:
  struct operation {
    std::uint64_t failed = 0;
    histogram took;
  };
  task<result<std::string>> call(std::string method, std::string message, duration within);
  task<result<void>> call_by_id(std::string method, std::string id, duration within);

  reactor::network* network_;
  std::string socket_;
  std::shared_ptr<net::grpc::channel> channel_, images_channel_;
  std::map<std::string, operation, std::less<>> operations_;  // by method: as many as there are calls below
};

}  // namespace kedge::node
