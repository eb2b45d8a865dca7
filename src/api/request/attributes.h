// attributes.h: what is asked for, and by whom.
#pragma once

#include <string>

#include "api/request/user.h"
#include "meta/selector.h"

namespace kedge::api {

// What is asked for, as authorizers, admission, audit and routing see it (RequestInfo of the real server).
struct attributes {
  user_ref user;
  std::string verb;  // get list watch create update patch delete deletecollection; for paths the lower-case method
  bool is_resource = false;
  std::string api_group, api_version, resource, subresource, ns, name;
  std::string path;       // non-resource requests
  field_selector fields;  // of a list, watch or deletion of a collection: what it is narrowed to
};

}  // namespace kedge::api
