// messages.h: messages of the kubelet's plugin API for claims of devices (k8s.io/kubelet dra/v1; v1beta1 has the same
// bytes) as values. Readers take any bytes.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace kedge::node {

struct claim_id {
  std::string ns, uid, name;
};
// NodePrepareResourcesRequest, and NodeUnprepareResourcesRequest.
std::string encode_claims(const std::vector<claim_id>& claims);

// What a driver made of a device.
struct prepared_device {
  std::string pool, name;
  std::optional<std::string> share_id;
  std::vector<std::string> requests;  // that it is for; none: all
  std::vector<std::string> cdi_devices;
  friend bool operator==(const prepared_device&, const prepared_device&) = default;
};
struct claim_answer {
  std::vector<prepared_device> devices;  // of NodePrepareResources
  std::string error;                     // empty: it went well
};
// By the claims' uids. errc::protocol when the bytes are no such message.
result<std::map<std::string, claim_answer, std::less<>>> decode_prepared(std::string_view message);
result<std::map<std::string, claim_answer, std::less<>>> decode_unprepared(std::string_view message);

}  // namespace kedge::node
