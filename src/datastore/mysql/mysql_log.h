// mysql_log.h: the log over MySQL or MariaDB, in kine's table, shared with any number of servers (and with K3s's).
//
//   append ─▶ W: one packet of statements under the append lock: ours, COMMIT, then others' rows
//   tail, current ─▶ T: polling; nobody tells
//   load from 0, compact, gaps ─▶ connections of their own, while needed
//
// Ids are drawn before a commit, so a peer's row may become visible below one that was seen: everything given out is
// contiguous, and a missing id is waited for (kine_log.h). Whoever puts a row into the gap holds a lock on the table's
// definition until his commit: once all who write have ended for a moment, nothing can come any more.
//
// A lost connection is made again by itself. The session of a lost W is ended before anything is read for the engine,
// so that what is not in the table then can't come later (facts 2.6); it is known by a lock that only it holds, since a
// number may be another's on the server that took over. Each new connection checks that the newest known row is still
// the same one: if not, the database has lost writes, and nothing is served from it any more (facts 2.7).
#pragma once

#include <chrono>
#include <memory>

#include "datastore/log.h"
#include "datastore/mysql/settings.h"

namespace kedge::datastore {

struct mysql_options {
  mysql::settings connection;
  // How long a server that starts waits for the database.
  std::chrono::milliseconds start_wait{60'000};
  bool makes_database = true;  // where there is none; else open() fails with errc::not_found
};

std::unique_ptr<log> make_mysql_log(mysql_options options);

}  // namespace kedge::datastore
