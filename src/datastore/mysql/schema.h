// schema.h: what must be true of a database before it is used, and kine's table where it is missing.
#pragma once

#include "datastore/mysql/connection.h"

namespace kedge::datastore::mysql {

// A link whose session has our settings (and those of the endpoint); refuses a server that is read only.
task<result<std::unique_ptr<connection>>> open_session(settings s);
// Marks the session, so that end_session can tell it from every other, on whatever server.
task<result<void>> mark_session(connection& c);
// Ends the session with that mark, which may still hold unread requests of ours, and waits until it is gone.
task<result<void>> end_session(connection& c, std::string mark);

struct table_facts {
  bool there = false;
  bool folds_case = false;  // its index holds names for the same that differ in case: made by kine
};
// Changes nothing. errc::unsupported and errc::forbidden say what is wrong and what to do.
task<result<table_facts>> inspect(connection& c);
// What to do about ids that don't fit their columns any more: as kine does with KINE_SCHEMA_MIGRATION=1.
inline constexpr std::string_view widening =
    "ALTER TABLE kine MODIFY id BIGINT UNSIGNED AUTO_INCREMENT, MODIFY create_revision BIGINT UNSIGNED, MODIFY "
    "prev_revision BIGINT UNSIGNED";
// Table, indexes and first rows, under the append lock: several servers may start at once.
task<result<void>> create_schema(connection& c);
// Over the server alone.
task<result<void>> create_database(settings s);

}  // namespace kedge::datastore::mysql
