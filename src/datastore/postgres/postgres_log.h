// postgres_log.h: the log over PostgreSQL, in kine's table, shared with any number of servers (and with K3s's).
//
//   append ─▶ W: one function call under the append lock: others' rows, ours, NOTIFY; up to two on their way
//   tail, current ─▶ T: LISTEN, and polling beside it
//   load from 0, compact, filling holes ─▶ connections of their own, while needed
//
// Ids are drawn before a commit, so a peer's row may become visible below one that was seen: everything given out is
// contiguous, and a missing id is waited for, then occupied with a `gap-` row as kine does (facts 2.1, 2.2).
//
// A lost connection is made again by itself. The session of a lost W is ended before anything is read for the engine,
// so that what is not in the table then can't come later (facts 2.6). Each new connection checks that the newest known
// row is still the same one: if not, the database has lost writes, and nothing is served from it any more (facts 2.7).
#pragma once

#include "datastore/log.h"
#include "datastore/postgres/connection.h"

namespace kedge::datastore {

struct postgres_options {
  postgres::settings connection;  // host, port, dbname, user, password, sslmode, …
  // How long a server that starts waits for the database.
  std::chrono::milliseconds start_wait{60'000};
  bool makes_database = true;  // where there is none; else open() fails with errc::not_found
};

std::unique_ptr<log> make_postgres_log(postgres_options options);

}  // namespace kedge::datastore
