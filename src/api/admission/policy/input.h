// input.h: what expressions see of a request: the object in the version that a policy names, what was there before, the
// request itself, its namespace. Another version of a custom resource may take its webhook's word: then it is waited
// for.
#pragma once

#include <deque>
#include <memory>

#include "api/admission/policy/match.h"
#include "api/custom/conversion.h"
#include "json/value.h"
#include "reactor/task.h"

namespace kedge::api::policy {

// AdmissionRequest, without its objects. `as`: the resource as the policy matched it.
json::value request_value(const admission_request& r, const subject& s, const served& as);

// The values of one request, made when they are first asked for. Lives as long as the request.
class inputs {
 public:
  // `versions`: who converts custom resources; null: nobody.
  inputs(const admission_request& r, const subject& s, custom::converter* versions)
      : request_(r), subject_(s), versions_(versions) {}

  // Makes object(), or old(), ready to be asked for in this version. What is wrong when it can't be had; else nothing.
  task<std::string> bring_object(const served& as) { return bring(request_.object, as, objects_); }
  task<std::string> bring_old(const served& as) { return bring(request_.old, as, olds_); }
  // Null when there is none. In the version that `as` has.
  const json::value* object(const served& as) const { return in_version(request_.object, as, objects_); }
  const json::value* old(const served& as) const { return in_version(request_.old, as, olds_); }
  const json::value& request(const served& as);
  // The namespace as policies see it: metadata without owners, spec, status. Null for what has none; also when it isn't
  // there.
  const json::value* home();

 private:
  struct versioned {
    const served* as;
    json::value value;
  };
  static const json::value* in_version(const json::value* o, const served& as, const std::deque<versioned>& made);
  task<std::string> bring(const json::value* o, const served& as, std::deque<versioned>& made);

  const admission_request& request_;
  const subject& subject_;
  custom::converter* const versions_;
  std::deque<versioned> objects_, olds_, requests_;
  bool looked_ = false;
  json::value home_;
};

// The namespace that a request is in; "" for cluster-scoped ones, and for Namespaces.
std::string_view home_of(const subject& s) noexcept;

// What a policy made of the object in its version `as`, as admission has it. What is wrong when it can't be had so.
task<std::string> take_back(json::value& object, json::value changed, const served& as, const served& asked,
                            custom::converter* versions);

}  // namespace kedge::api::policy
