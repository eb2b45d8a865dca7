// pod_certificates.h: certificates that pods have projected into them: a key that is made here and never leaves, and a
// PodCertificateRequest, which a signer of the cluster answers.
//
//   nothing ─▶ asked ─▶ issued ─▶ asked again, when its signer said so ─▶ issued …
//                └─▶ denied, failed: for good
//
// Of one pod and one source; an agent that starts anew asks anew, as the kubelet does.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/time.h"
#include "json/value.h"
#include "node/pods/cluster.h"
#include "reactor/task.h"

namespace kedge::node {

struct credential_bundle {
  std::string key, chain;  // PEM: PKCS#8, and the certificate with what leads from it to its authority
};

struct pod_certificate {
  struct key_and_proof {
    std::string key, proof;  // PKCS#8, and the request (PKCS#10, DER) that shows who has it
  };
  std::optional<credential_bundle> issued;
  wall_time renew_at{}, ends_at{};  // of what was issued
  bool overdue_told = false, end_told = false;
  // Of the certificate that comes next: one key, however often it has to be asked for.
  std::optional<key_and_proof> next;
  std::string asked;  // the name of the request for it; empty: there is none
  std::optional<error> refused;
};
using pod_certificates = std::map<std::string, pod_certificate>;  // by volume and source

// What a podCertificate source has now, after one step towards what it shall have. An error while nothing has been
// issued yet: to be tried again soon, but for refusals, which stay. `state` lives as long as the task.
task<result<credential_bundle>> certificate_for(json::value pod, json::value source, std::string node,
                                                pod_cluster& cluster, pod_certificate& state);

}  // namespace kedge::node
