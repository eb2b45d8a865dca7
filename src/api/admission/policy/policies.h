// policies.h: ValidatingAdmissionPolicy and MutatingAdmissionPolicy as steps of admission.
//
//   request ─▶ tables: policies that may be about the resource ─▶ match ─▶ bindings: match, params ─▶ evaluate ─▶
//   refused, warned of, noted for the audit log | changed
//
// One a core; used on that core.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <tuple>

#include "api/admission/admission.h"
#include "api/admission/policy/metrics.h"
#include "api/admission/policy/tables.h"
#include "api/authorization/authorizer.h"
#include "api/custom/conversion.h"

namespace kedge::api::policy {

// How often a request's object went through the mutating steps: once more when something was changed that steps before
// it should see. Lives as long as the mutating half of a request's admission.
struct reinvocation {
  using invocation = std::tuple<std::string, std::string, std::string>;  // policy, binding, param
  bool again = false;                                                    // this is the second time
  bool wanted = false;                                                   // there should be one
  std::set<invocation> invoked, due;  // of those that ask for it: since the last change, before it
  json::value last;                   // the object as the policies left it

  void changed() {
    wanted = true;
    due.merge(invoked);
    invoked.clear();
  }
};

class policies {
 public:
  // What is served now, for versions and params.
  using resources = std::function<std::shared_ptr<const registry>()>;
  // All outlive it. `versions`: who converts custom resources; null: nobody. `measures`: where it is counted; null:
  // nowhere.
  policies(store::store& objects, authorizer& may, resources served, custom::converter* versions, metrics* measures)
      : tables_(objects), may_(may), served_(std::move(served)), versions_(versions), counts_(measures) {}

  void follow() { tables_.follow(); }
  // Sees all that is written by now, without waiting for its events.
  void refresh() { tables_.refresh(); }

  task<api_result<void>> mutate(admission_request& r, const store::snapshot& cluster, reinvocation& rounds);
  task<api_result<void>> validate(admission_request& r, const store::snapshot& cluster);

 private:
  tables tables_;
  authorizer& may_;
  resources served_;
  custom::converter* versions_;
  policy_metrics counts_;
};

}  // namespace kedge::api::policy
