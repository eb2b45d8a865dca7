// loop_metrics.h: how long the turns of the event loops take, for /metrics.
#pragma once

#include <span>
#include <string>

#include "reactor/loop.h"

namespace kedge::api {

struct measured_loop {
  std::string name;
  reactor::loop* loop;
};

// Appends the families kedge_reactor_…; from any thread, while the loops stand.
void append_loop_metrics(std::string& out, std::span<const measured_loop> loops);

}  // namespace kedge::api
