// sqlite_log.h: the log over a SQLite file of this machine, for one server.
//
//   owner core ─ bounded queue ─▶ writer thread: takes all appends that wait (one BEGIN … COMMIT for them)
//       ▲                            │  between groups: load, compaction step, checkpoint when idle or the WAL is large
//       └──── the loop's mailbox ────┘  revisions of the group, or its one error
#pragma once

#include "datastore/sqlite/database.h"

namespace kedge::datastore {

// Starts the writer thread; the file is first looked at by open(). Dropping the log without close() stops after the
// group that is being written, as a crash of the process would.
std::unique_ptr<log> make_sqlite_log(sqlite_options options);

}  // namespace kedge::datastore
