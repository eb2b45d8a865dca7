// loop_metrics.h: how long the turns of the event loops take, for /metrics.
#pragma once

#include <string>

#include "reactor/cores.h"

namespace kedge::api {

// Appends the families kedge_reactor_…; from any thread, while the loops stand.
void append_loop_metrics(std::string& out, reactor::cores& cores);

}  // namespace kedge::api
