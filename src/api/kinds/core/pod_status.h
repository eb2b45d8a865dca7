// pod_status.h: what a node says of its pods, and what of it may change.
#pragma once

#include <string>
#include <vector>

#include "meta/validate.h"

namespace kedge::api {

// Of an update of the status: what it doesn't say stays where it must.
void prepare_pod_status(json::value& o, const json::value& old);
void check_pod_status(causes& out, const json::value& o, const json::value& old);
void warn_pod_status(std::vector<std::string>& out, const json::value& o);

}  // namespace kedge::api
