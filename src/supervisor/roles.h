// roles.h: the RBAC objects that K3s adds to those of Kubernetes, for the agents' own clients.
#pragma once

#include <vector>

#include "api/objects.h"

namespace kedge::supervisor {

// ClusterRole and binding system:k3s-controller, which are of K3s's AddOn rolebindings.
std::vector<json::value> controller_roles();

// Creates what is missing: ClusterRole and binding system:k3s-controller, as which agents read the servers' addresses.
// Another server may do the same at the same time.
task<result<void>> make_roles(api::objects& objects);

}  // namespace kedge::supervisor
