// pod_size.h: how many containers a pod may have, or what makes pods: admission and validation look at each.
#pragma once

#include "json/value.h"
#include "meta/status.h"

namespace kedge::api {

// Of a built-in kind's object, in its stored version: pods, and what has a template of one. Asked before anybody goes
// over the containers. `before` (null: it is new) may have as many already: it can still be told that it is to go.
void check_pod_size(causes& out, const json::value& object, const json::value& before);

}  // namespace kedge::api
