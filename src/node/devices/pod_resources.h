// pod_resources.h: what containers have of the node, for monitors on it: the pod resources API (k8s.io/kubelet
// podresources/v1) at pod-resources/kubelet.sock.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "net/grpc_server.h"
#include "node/devices/device_manager.h"

namespace kedge::node {

class pod_resources final : private net::grpc::service {
 public:
  struct parts {
    std::string folder;  // "/var/lib/kubelet/pod-resources"
    reactor::network* network = nullptr;
    device_manager& devices;
    std::function<std::vector<std::shared_ptr<const json::value>>()> pods;  // that take something of the node
    // CPUs: a container's own, and all that may be given; none where nobody has any.
    std::function<std::set<int>(std::string_view uid, std::string_view container)> cpus = nullptr;
    std::function<std::set<int>()> allocatable_cpus = nullptr;
    // Memory of NUMA nodes, likewise.
    std::function<std::vector<memory_block>(std::string_view uid, std::string_view container)> memory = nullptr;
    std::function<std::vector<memory_block>()> allocatable_memory = nullptr;
  };
  explicit pod_resources(parts p) : parts_(std::move(p)) {}

  // Until dropped. Once.
  task<void> run();

 private:
  task<result<std::string>> answer(std::string method, std::string message) override;
  pod_has describe(const json::value& pod) const;

  parts parts_;
};

}  // namespace kedge::node
