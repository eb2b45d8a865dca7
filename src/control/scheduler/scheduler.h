// scheduler.h: gives pending pods their nodes: the shell around the pure parts of this folder.
//
//   pod events ─▶ queue ─▶ place(pod, cluster_view, profile) ─▶ node │ reasons ─▶ assume ─▶ binding: one write ─▶
//   commit ─▶ confirmed by its event │ forgotten, back to the queue node, claim, … events ─▶ cluster_view ─▶ hints:
//   which refused pods may fit now
//
// One loop; a cycle is one turn. Writes of many pods are under way at once, bounded.
#pragma once

#include "control/controller.h"
#include "control/scheduler/configuration.h"

namespace kedge::control {

// Runs until dropped. `settings` must outlive it.
task<void> run_scheduler(context& c, const scheduler::configuration& settings);

}  // namespace kedge::control
