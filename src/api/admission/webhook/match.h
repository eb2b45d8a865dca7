// match.h: whether a webhook is asked about a request, and as what: of equivalent resources (the same objects in
// another version or group) the one that it knows.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/admission/admission.h"
#include "api/admission/webhook/hook.h"
#include "api/registry/registry.h"

namespace kedge::api::webhook {

// What is asked for, as rules see it. Refers to the request, but for what lies in its object, which mutations exchange.
struct subject {
  operation what;
  const served* asked;  // as the URL names it
  std::string_view subresource;
  std::string ns;    // of a Namespace its own name
  std::string name;  // empty where a name is yet to be made, and for each of a collection
};
subject subject_of(const admission_request& r);

// Group, version and kind of the object in a request on `as`: of its subresource where that has another.
struct object_kind {
  std::string_view group, version, kind;
  std::string api_version() const;
};
object_kind kind_of(const served& as, std::string_view subresource);
// Whether that is the resource's own object, and no other that stands for it or for the request (a Scale, an Eviction).
bool is_own_kind(const served& as, std::string_view subresource);

// The resource as which the rules want it; null: not at all.
const served* match_rules(const hook& h, const subject& s);

// Never asked about: what decides about webhooks and policies itself, and the questions of who may what.
bool is_exempt(const served& asked);

}  // namespace kedge::api::webhook
