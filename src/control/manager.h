// manager.h: runs the controllers of the table, on one loop.
//
//   run() ─▶ controllers, shells, recorders ─▶ feed: all that exists ─▶ synced: they begin to work ─▶ … ─▶ a gap: all
//   anew
//
// The loop is one of those that the store was opened with, and its own thread's: requests don't wait for a plan, and a
// plan gives way every millisecond (limits.h).
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "api/objects.h"
#include "api/request/user.h"
#include "control/settings.h"

namespace kedge::control {

namespace scheduler {
struct configuration;
}

// A client of the API that acts as this user, under the field manager's name; on the loop where run() runs.
using client_maker = std::function<std::unique_ptr<api::objects>(api::user_info user, std::string manager)>;

// What metadata.managedFields of the controllers' writes names, as kube-controller-manager's User-Agent does.
inline constexpr auto field_manager = "kube-controller-manager";

// All that are enabled, until dropped. Both outlive it.
task<void> run_controllers(const settings& s, store::store& objects, client_maker make_client);
// The scheduler beside them, as the user that it is in Kubernetes. `measures` outlives it; null: nothing is counted.
task<void> run_scheduling(const scheduler::configuration& how, client_maker make_client, api::metrics* measures);

}  // namespace kedge::control
