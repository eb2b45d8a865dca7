// cluster.h: what the pods of a node ask of the API server, and tell it. The real one is api_cluster.h; tests bring one
// that plays.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "json/value.h"
#include "reactor/task.h"

namespace kedge::node {

class pod_cluster {
 public:
  virtual ~pod_cluster() = default;

  // nullopt: there is none. `since`: when the node last heard of the pod that it is for. The answer is of then or
  // later, so that a pod sees what there was when it was made, and no older than object_age_max.
  virtual task<result<std::optional<json::value>>> config_map(std::string ns, std::string name, time_point since) = 0;
  virtual task<result<std::optional<json::value>>> secret(std::string ns, std::string name, time_point since) = 0;
  // Those of `ns`, and default/kubernetes.
  virtual task<result<std::vector<json::value>>> services(std::string ns, time_point since) = 0;
  // A TokenRequest's status.
  virtual task<result<json::value>> token(std::string ns, std::string account, json::value spec) = 0;
  // A PodCertificateRequest: made, as it is then; and how it fares.
  virtual task<result<json::value>> request_certificate(std::string ns, json::value request) = 0;
  virtual task<result<std::optional<json::value>>> certificate_request(std::string ns, std::string name) = 0;
  // nullopt: there is none. Any other object that a pod names, by its path.
  virtual task<result<std::optional<json::value>>> object(std::string path) = 0;

  // errc::not_found or errc::conflict: it isn't that pod any more. Gives the pod as it is then.
  virtual task<result<json::value>> patch_status(const json::value& pod, json::value patch) = 0;
  // A merge patch of a claim's status; gives the claim as it is then. errc::conflict: it changed since it was read.
  virtual task<result<json::value>> patch_claim_status(const json::value& claim, json::value patch) = 0;
  virtual task<result<void>> remove(const json::value& pod) = 0;
  virtual task<result<json::value>> create(json::value pod) = 0;
  // At once; told in its time, or never. Of a pod, or of what says its kind.
  virtual void tell(const json::value& pod, std::string container, bool warning, std::string reason,
                    std::string message) = 0;
};

}  // namespace kedge::node
