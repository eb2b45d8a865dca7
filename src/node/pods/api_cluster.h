// api_cluster.h: pod_cluster at the real API server, as this node.
#pragma once

#include <memory>

#include "node/join/api_client.h"
#include "node/limits.h"
#include "node/pods/cluster.h"
#include "node/pods/events.h"
#include "node/pods/object_cache.h"
#include "reactor/sync.h"

namespace kedge::node {

class api_pod_cluster final : public pod_cluster {
 public:
  api_pod_cluster(api_client& api, pod_events& events) : api_(api), events_(events) {}

  task<result<std::optional<json::value>>> config_map(std::string ns, std::string name, time_point since) override;
  task<result<std::optional<json::value>>> secret(std::string ns, std::string name, time_point since) override;
  task<result<std::vector<json::value>>> services(std::string ns, time_point since) override;
  task<result<json::value>> token(std::string ns, std::string account, json::value spec) override;
  task<result<json::value>> request_certificate(std::string ns, json::value request) override;
  task<result<std::optional<json::value>>> certificate_request(std::string ns, std::string name) override;
  task<result<std::optional<json::value>>> object(std::string path) override;
  task<result<json::value>> patch_status(const json::value& pod, json::value patch) override;
  task<result<json::value>> patch_claim_status(const json::value& claim, json::value patch) override;
  task<result<void>> remove(const json::value& pod) override;
  task<result<json::value>> create(json::value pod) override;
  void tell(const json::value& pod, std::string container, bool warning, std::string reason,
            std::string message) override;

 private:
  task<result<std::optional<json::value>>> kept(std::string path, time_point since);

  api_client& api_;
  pod_events& events_;
  reactor::semaphore requests_{pod_requests_max};
  object_cache kept_;
};

}  // namespace kedge::node
