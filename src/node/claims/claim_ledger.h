// claim_ledger.h: which claims of devices are prepared on the node, for which pods, and what their drivers made of
// them. Values, no I/O; the kubelet's claim info cache (pkg/kubelet/cm/dra) and its file dra_manager_state.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "json/value.h"
#include "node/claims/messages.h"

namespace kedge::node {

struct prepared_claim {
  claim_id id;
  std::set<std::string, std::less<>> pods;  // uids
  std::map<std::string, std::vector<prepared_device>, std::less<>>
      drivers;               // every driver of the claim, also without devices
  bool prepared = false;     // by this agent: another one's claims are prepared again for a pod that begins
  bool unpreparing = false;  // no pod may begin to use it
};

// What a claim is to be prepared for: of a ResourceClaim. Fails with the kubelet's words ("not allocated").
result<prepared_claim> claim_to_prepare(const json::value& claim);

class claim_ledger {
 public:
  // A pod is to use the claim. errc::conflict: it can't now.
  result<void> use(const prepared_claim& claim, std::string_view pod_uid);
  prepared_claim* find(std::string_view ns, std::string_view name);
  const prepared_claim* find(std::string_view ns, std::string_view name) const;
  void erase(std::string_view ns, std::string_view name);
  // Of a pod.
  std::vector<claim_id> claims_of(std::string_view pod_uid) const;
  // The pods that use any.
  std::set<std::string, std::less<>> pods() const;

  // CDI names of the claim's devices that are for the request; empty: for all of them.
  std::vector<std::string> cdi_devices(std::string_view ns, std::string_view name, std::string_view request) const;

  // The kubelet's file, with its checksum.
  std::string checkpoint() const;
  // errc::corrupt: it isn't as it was written.
  result<void> restore(std::string_view text);

 private:
  std::map<std::string, prepared_claim, std::less<>> claims_;  // by namespace/name
};

}  // namespace kedge::node
