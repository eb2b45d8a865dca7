// review.h: what a webhook is sent, and what its answer means: AdmissionReview of admission.k8s.io/v1 and v1beta1.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "api/admission/webhook/match.h"

namespace kedge::api::webhook {

struct question {
  const hook& to;
  const subject& about;
  const served& as;  // what the webhook knows it as
  const user_info& user;
  bool dry_run = false;
  // Objects in the version of `as`, and the options; null: there is none.
  const json::value* object = nullptr;
  const json::value* old = nullptr;
  const json::value* options = nullptr;
};
// The request without objects, as expressions see it.
json::value request_value(const question& q);
// The request's body.
std::string review_text(const question& q, std::string_view uid);

struct verdict {
  bool allowed = false;
  std::string patch;  // JSON; empty: none
  std::string patch_type;
  std::map<std::string, std::string> notes;
  std::vector<std::string> warnings;
  status refused;  // when not allowed
};
// errc::invalid: what is wrong with the answer, in kube-apiserver's words.
result<verdict> read_verdict(const hook& of, std::string_view uid, const json::value& review);

}  // namespace kedge::api::webhook
