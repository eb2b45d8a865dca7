// image_policy.h: whether the images of a pod may be run, as another server says (ImagePolicyWebhook,
// imagepolicy.k8s.io/v1alpha1 ImageReview).
//
// One a core.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "api/admission/admission.h"
#include "api/remote/remote.h"
#include "base/strings.h"

namespace kedge::api {

struct image_policy_settings {
  std::shared_ptr<const remote_server> server;  // null: there is none
  duration allow_ttl = std::chrono::minutes(5), deny_ttl = std::chrono::seconds(30);
  duration retry_pause = std::chrono::milliseconds(500);
  bool allows_on_failure = false;
};

class image_policy {
 public:
  explicit image_policy(image_policy_settings settings, reactor::network* network = nullptr);
  ~image_policy();

  static bool concerns(const admission_request& r);
  // May mark the pod as one that nobody has judged.
  task<api_result<void>> judge(admission_request& r);

 private:
  struct answer {
    json::value status;
    time_point until{};
  };
  task<result<json::value>> status_of(std::string review);
  const image_policy_settings settings_;
  remote to_;
  std::unordered_map<std::string, answer, string_hash, std::equal_to<>> answers_;
};

}  // namespace kedge::api
