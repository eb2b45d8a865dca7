// environment.h: CEL as Kubernetes 1.37 uses it: the language's own functions and Kubernetes' libraries, with their
// costs; and what admission declares on top. Each is made once and shared by all cores.
#pragma once

#include <memory>

#include "cel/environment.h"

namespace kedge::api::expressions {

// Everything but variables.
std::shared_ptr<const cel::environment> base_environment();

// What match conditions and policies see: object and oldObject (dyn), request, namespaceObject, and on demand the rest.
struct admission_variables {
  bool params = false;
  bool authorizer = false;  // authorizer, authorizer.requestResource
  bool patches = false;     // Object{…}, JSONPatch{…}, jsonpatch.escapeKey: of mutating policies
  bool operator==(const admission_variables&) const = default;
};
std::shared_ptr<const cel::environment> admission_environment(admission_variables which);

}  // namespace kedge::api::expressions
