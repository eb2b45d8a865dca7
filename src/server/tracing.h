// tracing.h: the tracing of a server, as --kube-apiserver-arg=tracing-config-file says.
#pragma once

#include "server/shared.h"

namespace kedge::server {

// On the home loop. `s.traces` stays null without a file.
result<void> start_tracing(shared& s);
// Tells what still waits, as far as there is time. After the last request.
task<void> end_tracing(shared& s);

}  // namespace kedge::server
