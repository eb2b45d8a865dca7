// webhooks.h: asking admission's webhooks about a request.
//
//   request ─▶ match: rules, namespace's labels, object's labels ─▶ review ─▶ callout ─▶ verdict
//     mutating: one after the other, each sees what those before it made; patches apply to the version that it knows
//     validating: all at once
//
// A failure to ask is a refusal, or nothing, as the webhook's policy says; that is decided here alone. While a webhook
// is asked no lock, no turn and no state of the store is held.
#pragma once

#include <set>
#include <string>

#include "api/admission/webhook/configurations.h"
#include "api/admission/webhook/match.h"
#include "api/admission/webhook/metrics.h"
#include "api/callout/caller.h"

namespace kedge::api::custom {
class converter;
}

namespace kedge::api::webhook {

// Of one request: which webhooks are to be asked again when what they saw has changed.
struct rounds {
  bool second = false;                              // this is the last round
  bool changed = false;                             // a webhook changed the object in this round
  json::value seen;                                 // the object as the last round left it
  std::set<std::string, std::less<>> asked, again;  // by id: that may be asked again, and that shall be
};

// One a core.
class webhooks {
 public:
  struct parts {
    store::store& objects;
    callout::caller& calls;
    custom::converter* versions = nullptr;  // of custom resources; null: none is converted by webhook
    metrics* measures = nullptr;
  };
  explicit webhooks(parts p);
  // Follows the configurations.
  void follow();
  // Whom matchConditions ask who may what. It outlives this.
  void judge_access_by(authorizer& may) noexcept { may_ = &may; }

  task<api_result<void>> mutate(admission_request& r, const store::snapshot& cluster, rounds& so_far);
  task<api_result<void>> validate(admission_request& r, const store::snapshot& cluster);
  // Whether any could be asked about the request: most requests end here.
  bool concern(const admission_request& r, bool mutating) const;

 private:
  struct called;
  struct answered;
  task<api_result<const served*>> match(const hook& h, const subject& s, const admission_request& r,
                                        const store::snapshot& cluster);
  task<api_result<bool>> matches_namespace(const hook& h, const subject& s, const admission_request& r,
                                           const store::snapshot& cluster);
  task<api_result<bool>> meets_conditions(const hook& h, const served& as, const subject& s, const admission_request& r,
                                          const store::snapshot& cluster);
  task<api_result<json::value>> shown(const served& as, const admission_request& r, bool before);
  task<answered> ask(const hook& h, const served& as, const subject& s, const admission_request& r,
                     const json::value* object, const json::value* old);
  task<api_result<bool>> mutate_by(const hook& h, const served& as, const subject& s, admission_request& r,
                                   std::size_t index, bool second);
  task<api_result<bool>> take_patch(const hook& h, const served& as, admission_request& r, const json::value& before,
                                    const json::value& patch);
  task<void> judge_by(const hook& h, const served& as, const subject& s, const admission_request& r, answered& out);
  void measure(const hook& h, operation what, const answered& a, duration took);

  parts parts_;
  configurations mutating_, validating_;
  authorizer* may_ = nullptr;
};

}  // namespace kedge::api::webhook
