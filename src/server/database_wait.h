// database_wait.h: a start that meets a database which is away or silent for a while.
//
// K3s tries 300 times, a second apart, before it ends. So does a start here, at each step that needs the database, not
// only at the first: a failover may come at any of them, and who is started again begins from the front.
#pragma once

#include <functional>
#include <string>

#include "base/error.h"
#include "reactor/task.h"

namespace kedge::server {

// Does `step`, and again for as long as only the database is what keeps it from being done; at most for five minutes.
// `doing` is for the log. A step may have been done in part, or unseen, before it is done again.
task<result<void>> wait_out_database(std::string doing, std::function<task<result<void>>()> step);

}  // namespace kedge::server
