// pod_size.h: how many containers a pod may have, or what makes pods: admission and validation look at each.
#pragma once

#include "json/value.h"
#include "meta/status.h"

namespace kedge::api {

// Of a built-in kind's object, in its stored version: pods, and what has a template of one. Asked before anybody goes
// over the containers.
void check_pod_size(causes& out, const json::value& object);

}  // namespace kedge::api
