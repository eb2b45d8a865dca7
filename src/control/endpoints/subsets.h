// subsets.h: the subsets of v1 Endpoints. Pure.
#pragma once

#include <string>
#include <vector>

#include "json/value.h"

namespace kedge::control {

// The same addresses and ports in as few subsets as there are sets of addresses, each sorted: one that is somewhere not
// ready for a port isn't ready for it (k8s.io/kubernetes/pkg/api/v1/endpoints).
json::array repacked(const json::value& subsets);

// At most so many addresses are left, the ready ones first, from all subsets alike. True: some had to go.
bool shorten(json::array& subsets, std::size_t most);

}  // namespace kedge::control
