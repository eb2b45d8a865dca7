// input.h: what expressions see of a request: the object in the version that a policy names, what was there before, the
// request itself, its namespace.
#pragma once

#include <deque>
#include <memory>

#include "api/admission/policy/match.h"
#include "json/value.h"

namespace kedge::api::policy {

// AdmissionRequest, without its objects. `as`: the resource as the policy matched it.
json::value request_value(const admission_request& r, const subject& s, const served& as);

// The values of one request, made when they are first asked for. Lives as long as the request.
class inputs {
 public:
  inputs(const admission_request& r, const subject& s) : request_(r), subject_(s) {}

  // Null when there is none. In the version that `as` has.
  const json::value* object(const served& as) { return in_version(request_.object, as, objects_); }
  const json::value* old(const served& as) { return in_version(request_.old, as, olds_); }
  const json::value& request(const served& as);
  // The namespace as policies see it: metadata without owners, spec, status. Null for what has none; also when it isn't
  // there.
  const json::value* home();

 private:
  struct versioned {
    const served* as;
    json::value value;
  };
  const json::value* in_version(const json::value* o, const served& as, std::deque<versioned>& made) const;

  const admission_request& request_;
  const subject& subject_;
  std::deque<versioned> objects_, olds_, requests_;
  bool looked_ = false;
  json::value home_;
};

// The namespace that a request is in; "" for cluster-scoped ones, and for Namespaces.
std::string_view home_of(const subject& s) noexcept;

// What a policy made of the object in its version, as admission has it.
void take_back(json::value& object, json::value changed, const served& as);

}  // namespace kedge::api::policy
