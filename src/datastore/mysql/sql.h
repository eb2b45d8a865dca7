// sql.h: every statement that is run against MySQL or MariaDB, as text: neither has a protocol for several statements
// with parameters in one round trip.
//
// Names are compared byte by byte. kine's own tables say so neither in their collation (ascii_general_ci) nor in its
// statements, so where the table's collation folds case each comparison says it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "datastore/guards.h"
#include "datastore/log.h"

namespace kedge::datastore::mysql::sql {

// ---- the session

// What `lock_name` is set to: the lock that servers of ours take around an append, so that ids become visible in their
// order (facts 2.1). The server's locks are for all databases: clusters in other ones don't meet.
std::string session(bool mariadb);
// 0 id, 1 read only, 2 version, 3 largest packet
inline constexpr const char* identity =
    "SELECT CONNECTION_ID(), @@GLOBAL.read_only NOT IN ('0', 'OFF'), VERSION(), @@SESSION.max_allowed_packet";
// Takes a lock that says that the session lives; 0: 1 when it got it.
std::string mark(std::string_view name);
// 0: the session that has the mark, NULL when none has.
std::string marked(std::string_view name);
std::string kill(std::int64_t id);
// Who holds the append lock: 0 id, 1 user, 2 host, 3 what it does.
inline constexpr const char* blocker =
    "SELECT ID, USER, HOST, COALESCE(INFO, COMMAND) FROM information_schema.PROCESSLIST WHERE ID = "
    "IS_USED_LOCK(@kedge_lock)";
inline constexpr const char* give_up_append =
    "ROLLBACK; DO RELEASE_LOCK(@kedge_lock); SET SESSION wait_timeout = 28800";

// ---- what is there

// name, value
inline constexpr const char* variables =
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('auto_increment_increment', 'auto_increment_offset', "
    "'innodb_flush_log_at_trx_commit', 'sync_binlog', 'log_bin', 'binlog_format', 'wsrep_on', "
    "'group_replication_single_primary_mode', 'innodb_doublewrite')";
// 0 kind, 1 engine; no row without a table
inline constexpr const char* table =
    "SELECT TABLE_TYPE, COALESCE(ENGINE, '') FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND "
    "TABLE_NAME = 'kine'";
// 0 column, 1 type, 2 the whole type, 3 collation, 4 extra
inline constexpr const char* columns =
    "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, COALESCE(COLLATION_NAME, ''), EXTRA FROM information_schema.COLUMNS "
    "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'kine'";
// 0 name, 1 whether it is unique, 2 columns
inline constexpr const char* indexes =
    "SELECT INDEX_NAME, MAX(NON_UNIQUE) = 0, GROUP_CONCAT(COLUMN_NAME ORDER BY SEQ_IN_INDEX) FROM "
    "information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'kine' GROUP BY INDEX_NAME";
inline constexpr const char* triggers =
    "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = DATABASE() AND "
    "EVENT_OBJECT_TABLE = 'kine'";
inline constexpr const char* largest_id = "SELECT COALESCE(MAX(id), 0) FROM kine";

// ---- kine's schema

std::string create_database(std::string_view name);
inline constexpr const char* create_table =
    "CREATE TABLE IF NOT EXISTS kine (id BIGINT UNSIGNED AUTO_INCREMENT, name VARCHAR(630) CHARACTER SET ascii COLLATE "
    "ascii_bin, created INTEGER, deleted INTEGER, create_revision BIGINT UNSIGNED, prev_revision BIGINT UNSIGNED, "
    "lease INTEGER, value MEDIUMBLOB, old_value MEDIUMBLOB, PRIMARY KEY (id), INDEX kine_name_index (name), INDEX "
    "kine_name_id_index (name, id), INDEX kine_id_deleted_index (id, deleted), INDEX kine_prev_revision_index "
    "(prev_revision), UNIQUE INDEX kine_name_prev_revision_uindex (name, prev_revision)) ENGINE=InnoDB";
struct index {
  const char *name, *columns, *create;
};
// Those that a start needs, where somebody else made the table and is not there yet.
inline constexpr index wanted_indexes[] = {
    {"kine_name_id_index", "name,id", "CREATE INDEX kine_name_id_index ON kine (name, id)"},
    {"kine_name_prev_revision_uindex", "name,prev_revision",
     "CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision)"},
    {"kine_prev_revision_index", "prev_revision", "CREATE INDEX kine_prev_revision_index ON kine (prev_revision)"},
};
// The two rows that a new database begins with.
inline constexpr const char* first_rows[] = {
    "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value) SELECT "
    "'compact_rev_key', 1, 0, 0, 0, 0, _binary'', NULL FROM (SELECT 1) o WHERE NOT EXISTS (SELECT 1 FROM kine WHERE "
    "name = 'compact_rev_key')",
    "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value) SELECT "
    "'/registry/health', 1, 0, 0, 0, 0, _binary'{\"health\":\"true\"}', NULL FROM (SELECT 1) o WHERE NOT EXISTS "
    "(SELECT 1 FROM kine WHERE name = '/registry/health')",
};
inline constexpr const char* lock_schema = "SELECT GET_LOCK(@kedge_lock, 30)";
inline constexpr const char* unlock_schema = "DO RELEASE_LOCK(@kedge_lock)";

// ---- reading

// The rows above `after` in their order, at most so many, and with at most so many bytes of values, but one at least. 0
// newest id, 1 compact revision, then a row, NULL when there is none; in any order. `live`: rows that were replaced
// come without their values, and 10 says so.
std::string news(revision after, int rows, int bytes, bool live = false);
// 0 newest id, 1 read only
inline constexpr const char* newest = "SELECT COALESCE(MAX(id), 0), @@GLOBAL.read_only NOT IN ('0', 'OFF') FROM kine";
// 0 newest id, 1 compact revision, 2 name, 3 previous, 4 whether that is its value, 5 whether it is a removal; 2 and
// following NULL when it is gone.
std::string lineage(revision at, std::string_view value);
// log.h, past_question. 0 compact revision, 1 the last id that there is, then a row, then (10) whether something stood
// before, and (11) its value; in any order.
std::string past(const past_question& q, revision upto, std::size_t bytes);
// 0 place, 1 the revision that stands or 0
std::string standing(const std::vector<operation>& ops, std::span<const std::size_t> places, bool folds_case);

inline constexpr const char* begin_snapshot =
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

// Waits for the rows between two that somebody has put there without having ended his transaction.
std::string wait_for_rows(revision after, revision before);
// Waits for all who write to the table, a second.
inline constexpr const char* stop_writers = "SET SESSION lock_wait_timeout = 1; LOCK TABLES kine READ";
inline constexpr const char* let_writers = "UNLOCK TABLES";
// Takes the ids between two, so that nobody else can have them.
std::string fill(revision after, revision before);

// ---- writing

// One batch under the append lock. The row `seen` with its name and previous revision is the newest that the caller
// has: another one there means that the database has another history.
//
// A session remembers how far it has told, so that a batch that was sent before the answer of the one before does not
// get that one's rows again. Rows of others are asked for when the lock is free, so a reader that takes them slowly
// holds nobody up.
enum class append_state : unsigned char { done, locked, forked, read_only };
struct append_text {
  std::vector<std::string> packets;
  // Of the results: the first INSERT's place, COMMIT's, and that of the answer: 0 append_state, 1 told, 2 a digit for
  // each guard, 3 compact revision, 4 what the last one written replaced, then rows of others
  // in any order.
  std::size_t first = 0, commit = 0, answer = 0;
  std::size_t statement_bytes_max = 0;  // the longest of them
};
struct append_base {
  revision seen = 0;
  std::string_view seen_name;  // empty: nothing to compare
  revision seen_previous = 0;
};
append_text append(const std::vector<operation>& ops, const numbered_guards& guards, const append_base& base,
                   bool folds_case, std::size_t packet_bytes, int others_rows, int others_bytes);

// ---- compacting

// Of the next `most` rows above `swept` and up to `wanted` without the newest `kept`: 0 the mark's id, 1 how far they
// go.
std::string compaction_step(revision wanted, revision swept, std::uint64_t most, std::uint64_t kept);
// Forgets what those supersede.
std::string compact(std::int64_t mark, revision swept, revision upto);

// An entry under loss_name, unless one says as much already. 0: whether the lock was had.
std::string tell_loss(revision seen);
// After writes were lost: the next row is `jump` above `seen` and all that is there, and what was before is compacted,
// unless it is so already. 0: whether the lock was had.
std::string pass_over(revision seen, std::uint64_t jump);

}  // namespace kedge::datastore::mysql::sql
