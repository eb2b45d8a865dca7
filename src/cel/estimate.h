// estimate.h: what a checked expression may cost at least and at most.
#pragma once

#include "cel/ast.h"
#include "cel/check.h"
#include "cel/cost.h"
#include "cel/environment.h"

namespace kedge::cel {

range estimate(const node& root, const checked& types, const environment& env, const size_model* sizes);

}  // namespace kedge::cel
