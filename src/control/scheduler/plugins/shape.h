// shape.h: a score as a line through points: how good a node is at which utilization (kube-scheduler's
// FunctionShape).
#pragma once

#include "control/scheduler/plugin.h"

namespace kedge::control::scheduler {

struct shape_point {
  std::int64_t utilization, score;  // in percent; up to score_max
};

// Between its points straight, beyond them flat.
std::int64_t on_shape(const std::vector<shape_point>& shape, std::int64_t utilization);
// A configuration's list of points. errc::invalid names the point, under `path`.
result<std::vector<shape_point>> shape_of(const json::value& list, std::string_view path);

}  // namespace kedge::control::scheduler
