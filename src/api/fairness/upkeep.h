// upkeep.h: keeps the FlowSchemas and PriorityLevelConfigurations that every server brings, as kube-apiserver keeps
// them.
//
// A missing one is made again. The mandatory ones (exempt, catch-all) always have the server's spec; the suggested ones
// as long as their annotation apf.kubernetes.io/autoupdate-spec says so, or, without it, nobody has changed them. What
// an older server brought and this one doesn't goes.
#pragma once

#include "api/objects.h"

namespace kedge::api::fairness {

// What is to be done about one object that a server brings: nullopt when it may stay as it is. `wanted` and `now` are
// whole, with defaults.
std::optional<json::value> revised(const json::value& wanted, const json::value& now, bool mandatory);

// Looks after all of them once. The first error; what could be done was done.
task<api_result<void>> bring_up_to_date(objects& client);
// And again each minute, until dropped. Every server does.
task<void> keep_configuration(objects& client);

}  // namespace kedge::api::fairness
