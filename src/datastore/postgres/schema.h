// schema.h: what must be true of a database before it is used, and kine's table where it is missing.
#pragma once

#include "datastore/postgres/connection.h"

namespace kedge::datastore::postgres {

// The session's settings; refuses a standby. Gives when the session began, which with its pid names it for ever.
task<result<std::string>> begin_session(connection& c);
// Changes nothing; gives whether the table is there. errc::unsupported and errc::forbidden say what is wrong and what
// to do.
task<result<bool>> inspect(connection& c);
// What to do about ids that don't fit their columns any more.
inline constexpr std::string_view widening =
    "stop all servers, then: ALTER TABLE kine ALTER COLUMN id TYPE bigint, ALTER COLUMN create_revision TYPE bigint, "
    "ALTER COLUMN prev_revision "
    "TYPE bigint; ALTER SEQUENCE kine_id_seq AS bigint";
// Table, indexes and first rows, under the append lock: several servers may start at once. A sequence that is narrower
// than its column is widened.
task<result<void>> create_schema(connection& c);
// Ends a session that may still hold unread requests of ours, and waits until it is gone.
task<result<void>> end_session(connection& c, int pid, std::string started);
// When the server says that the database `name` doesn't exist: makes it, over the one that is always there.
task<result<bool>> has_database(settings s);
task<result<void>> create_database(settings s);

}  // namespace kedge::datastore::postgres
