// auditing.h: the audit of a server, put together from its arguments and files.
#pragma once

#include "server/shared.h"

namespace kedge::server {

// Opens the backends that are asked for; on the home loop. `s.audit` stays null without a policy or a backend.
task<result<void>> start_auditing(shared& s);
// Tells what still waits. After the last request.
task<void> end_auditing(shared& s);

}  // namespace kedge::server
