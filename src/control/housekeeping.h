// housekeeping.h: what kube-apiserver itself keeps true, whoever runs the controllers: it runs on every server, at all
// of them at once, and also with --disable-controller-manager.
//
//   CustomResourceDefinitions ─▶ names, Established, finalized; an APIService for each version that they serve
//   FlowSchemas ─▶ Dangling    Services ─▶ addresses and ports that nobody has any more
//   the system's own objects (namespaces, default/kubernetes, …) deleted ─▶ made again
//   extension-apiserver-authentication ─▶ has the authorities of this server
//
// Each write is decided on a revision and refused when another server was faster; doing it twice changes nothing.
#pragma once

#include "control/controller.h"

namespace kedge::control {

// Until dropped. `ensure_objects` makes those of the system's objects that are missing (api::ensure_system_objects).
task<void> run_housekeeping(context& c, std::function<task<result<void>>()> ensure_objects);

}  // namespace kedge::control
