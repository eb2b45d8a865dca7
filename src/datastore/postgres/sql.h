// sql.h: every statement that is run against PostgreSQL. Ids and revisions are cast to bigint wherever they are read: a
// database made before 2024 has them as int4.
#pragma once

namespace kedge::datastore::postgres::sql {

// The lock that servers of ours take around an append, so that ids become visible in their order (facts 2.1). Advisory
// locks are per database: clusters in other databases don't meet. The bytes are "kedge".
#define KEDGE_APPEND_LOCK "461262579557"
inline constexpr const char* channel = "kedge";

// ---- the session

inline constexpr const char* session =
    "SELECT set_config('statement_timeout', '10s', false), set_config('lock_timeout', '5s', false),"
    " set_config('idle_in_transaction_session_timeout', '10s', false),"
    " set_config('default_transaction_isolation', 'read committed', false),"
    " set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '2', false),"
    " set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '10000', false),"
    // What was acknowledged is on disk, whatever the database's default; a wait for standbys stays.
    " set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on'"
    "   ELSE current_setting('synchronous_commit') END, false)";

// 0 standby, 1 pid, 2 start of the session, 3 start of the server
inline constexpr const char* identity =
    "SELECT pg_is_in_recovery(), pg_backend_pid()::bigint,"
    " (SELECT backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()),"
    " pg_postmaster_start_time()::text";

// $1 pid, $2 its start: asks the session to end. 0: whether it is still there.
inline constexpr const char* terminate =
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2";

// Who holds the append lock: 0 pid, 1 application, 2 address, 3 state.
inline constexpr const char* blocker =
    "SELECT a.pid::bigint, a.application_name, coalesce(host(a.client_addr), 'local'), coalesce(a.state, '')"
    " FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
    " WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname ="
    " current_database()) AND (l.classid::bigint << 32 | l.objid::bigint) = " KEDGE_APPEND_LOCK " LIMIT 1";

// ---- what is there

// 0 version text, 1 encoding, 2 fsync, 3 full_page_writes, 4 may make temporary objects, 5 kind of relation `kine`
// (empty: none), 6 user triggers, 7 row security, 8 rights on it
inline constexpr const char* inspect =
    "SELECT version(), current_setting('server_encoding'), current_setting('fsync'),"
    " current_setting('full_page_writes'), has_database_privilege(current_database(), 'TEMP'),"
    " coalesce((SELECT relkind::text FROM pg_class WHERE oid = to_regclass('kine')), ''),"
    " coalesce((SELECT string_agg(tgname, ', ') FROM pg_trigger WHERE tgrelid = to_regclass('kine') AND NOT"
    "   tgisinternal), ''),"
    " coalesce((SELECT relrowsecurity FROM pg_class WHERE oid = to_regclass('kine')), false),"
    " coalesce(has_table_privilege(to_regclass('kine')::oid, 'SELECT') AND"
    "   has_table_privilege(to_regclass('kine')::oid, 'INSERT') AND"
    "   has_table_privilege(to_regclass('kine')::oid, 'UPDATE') AND"
    "   has_table_privilege(to_regclass('kine')::oid, 'DELETE'), true)";

// 0 column, 1 type
inline constexpr const char* columns =
    "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute"
    " WHERE attrelid = to_regclass('kine') AND attnum > 0 AND NOT attisdropped";

// Of the sequence behind kine.id: 0 increment, 1 cache, 2 last value, 3 largest, 4 name; no row without one.
inline constexpr const char* sequence =
    "SELECT s.seqincrement, s.seqcache, coalesce(pg_sequence_last_value(s.seqrelid), 0), s.seqmax, "
    "s.seqrelid::regclass::text"
    " FROM pg_sequence s WHERE s.seqrelid = pg_get_serial_sequence('kine', 'id')::regclass";

inline constexpr const char* database_exists = "SELECT count(*) FROM pg_database WHERE datname = $1";

// ---- kine's schema, as kine makes it

inline constexpr const char* lock_session = "SELECT pg_advisory_lock(" KEDGE_APPEND_LOCK ")";
inline constexpr const char* unlock_session = "SELECT pg_advisory_unlock(" KEDGE_APPEND_LOCK ")";
inline constexpr const char* schema[] = {
    "CREATE TABLE IF NOT EXISTS kine (id BIGSERIAL PRIMARY KEY, name text COLLATE \"C\", created INTEGER, deleted "
    "INTEGER,"
    " create_revision BIGINT, prev_revision BIGINT, lease INTEGER, value bytea, old_value bytea)"
    // Versions come and go: with the default of 20 % the table would be a fifth dead rows.
    " WITH (autovacuum_vacuum_scale_factor = 0.02)",
    "CREATE INDEX IF NOT EXISTS kine_name_index ON kine (name)",
    "CREATE INDEX IF NOT EXISTS kine_name_id_index ON kine (name, id)",
    "CREATE INDEX IF NOT EXISTS kine_id_deleted_index ON kine (id, deleted)",
    "CREATE INDEX IF NOT EXISTS kine_prev_revision_index ON kine (prev_revision)",
    "CREATE UNIQUE INDEX IF NOT EXISTS kine_name_prev_revision_uindex ON kine (name, prev_revision)",
    "CREATE INDEX IF NOT EXISTS kine_list_query_index ON kine (name, id DESC, deleted)",
    // The two rows that a new database begins with.
    "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)"
    " SELECT 'compact_rev_key', 1, 0, 0, 0, 0, ''::bytea, NULL"
    " WHERE NOT EXISTS (SELECT 1 FROM kine WHERE name = 'compact_rev_key') ON CONFLICT DO NOTHING",
    "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)"
    " SELECT '/registry/health', 1, 0, 0, 0, 0, convert_to('{\"health\":\"true\"}', 'UTF8'), NULL"
    " WHERE NOT EXISTS (SELECT 1 FROM kine WHERE name = '/registry/health') ON CONFLICT DO NOTHING",
};

// ---- reading

#define KEDGE_ROW_HEAD                                                                                                 \
  "k.id::bigint AS id, k.name::text AS name, coalesce(k.created, 0)::int AS created, coalesce(k.deleted, 0)::int AS "  \
  "deleted,"                                                                                                           \
  " coalesce(k.create_revision, 0)::bigint AS create_revision, coalesce(k.prev_revision, 0)::bigint AS prev_revision," \
  " coalesce(k.lease, 0)::int AS lease,"
#define KEDGE_ROW KEDGE_ROW_HEAD " CASE WHEN k.deleted = 0 THEN k.value END AS value"
// The rows above `after` in their order, at most so many, and with at most so many bytes of values, but one at least.
#define KEDGE_ROWS_AFTER(after, rows, bytes)                                                                 \
  "SELECT " KEDGE_ROW                                                                                        \
  " FROM (SELECT l.*, sum(coalesce(octet_length(l.value), 0)) OVER (ORDER BY l.id) -"                        \
  " coalesce(octet_length(l.value), 0) AS before FROM (SELECT id, name, created, deleted, create_revision, " \
  "prev_revision, lease, value"                                                                              \
  " FROM kine WHERE id > " after " ORDER BY id LIMIT " rows ") l) k WHERE k.before < " bytes " ORDER BY k.id"
#define KEDGE_COMPACTED "(SELECT coalesce(max(prev_revision), 0) FROM kine WHERE name = 'compact_rev_key')::bigint"

// $1 after, $2 at most so many, $3 of so many bytes. 0 newest id, 1 compact revision, then a row, NULL when there is
// none.
inline constexpr const char* news =
    "SELECT h.m, h.c, r.* FROM (SELECT coalesce(max(id), 0)::bigint AS m, " KEDGE_COMPACTED
    " AS c FROM kine) h LEFT JOIN LATERAL (" KEDGE_ROWS_AFTER("$1::bigint", "$2::int",
                                                              "$3::int") ") r ON true ORDER BY r.id";

// The same for a start: rows that were replaced come without their values, and 10 says so.
inline constexpr const char* news_live =
    "SELECT h.m, h.c, r.* FROM (SELECT coalesce(max(id), 0)::bigint AS m, " KEDGE_COMPACTED
    " AS c FROM kine) h LEFT JOIN LATERAL (SELECT " KEDGE_ROW_HEAD
    " CASE WHEN k.deleted = 0 AND NOT k.replaced THEN k.value END AS value, k.replaced"
    " FROM (SELECT l.*, sum(l.bytes) OVER (ORDER BY l.id) - l.bytes AS before"
    " FROM (SELECT b.*, CASE WHEN b.replaced THEN 0 ELSE coalesce(octet_length(b.value), 0) END AS bytes"
    " FROM (SELECT o.*, EXISTS (SELECT 1 FROM kine n WHERE n.name = o.name AND n.prev_revision = o.id) AS replaced"
    " FROM (SELECT id, name, created, deleted, create_revision, prev_revision, lease, value FROM kine WHERE id > "
    "$1::bigint ORDER BY id LIMIT $2::int)"
    " o) b) l) k WHERE k.before < $3::int ORDER BY k.id) r ON true ORDER BY r.id";

// What was: $1 after, $2 up to, $3 prefix of names, $4 only what replaced this or an older row, $5 with values or 0, $6
// at most so many bytes. 0 compact revision, 1 the last id that there is, then a row, then (10) whether something stood
// before, and (11) its value.
inline constexpr const char* past =
    "SELECT h.c, k.last::bigint, " KEDGE_ROW_HEAD
    " CASE WHEN $5::int <> 0 AND k.deleted = 0 THEN k.value END,"
    " p.id IS NOT NULL, p.value FROM (SELECT " KEDGE_COMPACTED
    " AS c) h"
    " LEFT JOIN LATERAL (SELECT *, max(id) OVER () AS last, sum(coalesce(octet_length(value), 0)) OVER (ORDER BY id "
    "ROWS BETWEEN"
    "   UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM kine WHERE id > $1::bigint AND id <= $2::bigint AND"
    "   starts_with(name::text, $3) AND prev_revision + 0 <= $4::bigint AND name <> 'compact_rev_key') k"
    "  ON coalesce(k.before, 0) < $6::bigint"
    " LEFT JOIN kine p ON p.id = k.prev_revision AND p.deleted = 0 ORDER BY k.id";

// 0 newest id, 1 standby
inline constexpr const char* newest = "SELECT coalesce(max(id), 0)::bigint, pg_is_in_recovery() FROM kine";

// $1 an id. 0 newest id, 1 compact revision, 2 name, 3 previous; 2 and 3 NULL when it is gone.
inline constexpr const char* lineage =
    "SELECT h.m, h.c, k.name::text, k.prev_revision::bigint"
    " FROM (SELECT coalesce(max(id), 0)::bigint AS m, " KEDGE_COMPACTED
    " AS c FROM kine) h LEFT JOIN kine k ON k.id = $1::bigint";

// $1 an id, $2 a value. Whether it is that row's; no row where it is none or a removal.
inline constexpr const char* same_value =
    "SELECT value IS NOT DISTINCT FROM $2::bytea FROM kine WHERE id = $1::bigint AND deleted = 0";

// The transactions that hold the lock under which a row gets its id and which lasts until the commit: 0 transaction, 1
// pid, 2 application, 3 address, 4 state.
inline constexpr const char* inserting =
    "SELECT coalesce(l.virtualtransaction, ''), coalesce(l.pid, 0)::bigint, coalesce(a.application_name, ''),"
    " coalesce(host(a.client_addr), 'local'), coalesce(a.state, '') FROM pg_locks l LEFT JOIN pg_stat_activity a ON "
    "a.pid = l.pid"
    " WHERE l.locktype = 'relation' AND l.granted AND l.mode = 'RowExclusiveLock' AND l.relation = to_regclass('kine')"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";

inline constexpr const char* begin_snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
// A start may be slow between two pages (decoding): the snapshot must not be taken away.
inline constexpr const char* patient = "SET LOCAL idle_in_transaction_session_timeout = '120s'";

// ---- writing

// The writer's session runs one function whose every look-up has an index. Its plans are made while the table may be
// nearly empty and are kept, so they are told not to be made for that; and made once, not for each batch (a generic
// plan: PostgreSQL 12).
inline constexpr const char* writer_session =
    "SELECT set_config('enable_seqscan', 'off', false), set_config('jit', 'off', false),"
    " CASE WHEN current_setting('plan_cache_mode', true) IS NOT NULL THEN set_config('plan_cache_mode',"
    "   'force_generic_plan', false) END";

// One batch under the append lock. `seen` with its name and previous revision is the newest row that the caller has:
// another one there means that the database has another history. A session remembers how far it has told, so that a
// batch that was sent before the answer of the one before does not get that one's rows again; that is undone with the
// transaction.
//
// A procedure, because it commits by itself: the answer is sent after the lock is free, however slowly its reader takes
// it. Nothing that can fail stands behind the commit. The answer is one row:
//   0 told         from where the rows of others begin         1 compacted   the compact revision
//   2 done, 3 ids, 4 prevs    written now: name, id, what it replaced
//   5 refused, 6 standing     not written, because this version (0: none) stands
//   7 barred                  not written, because a guard doesn't hold
//   8 to 15                   the columns of rows that others wrote before, the first of them, bounded in rows and
//   bytes
#define KEDGE_HEAD_OF(name_of)                                                                      \
  "LATERAL (SELECT k.id, k.deleted, k.create_revision, k.value FROM kine k WHERE k.name = " name_of \
  " ORDER BY k.id DESC LIMIT 1) h"
#define KEDGE_FITS                                                                                    \
  "CASE b.op WHEN 0 THEN h.id IS NULL OR h.deleted <> 0 ELSE h.id = b.expected AND h.deleted = 0 END" \
  " AND NOT b.name = ANY(done) AND NOT b.name = ANY(barred)"
inline constexpr const char* append_procedure =
    "CREATE OR REPLACE PROCEDURE pg_temp.kedge_append(seen bigint, seen_name text, seen_prev bigint, names text[],"
    " ops int[], expecteds bigint[], leases int[], vals bytea[], guard_names text[], guard_ids bigint[],"
    " guarded int[], guards int[], others_bytes int, INOUT told bigint, INOUT compacted bigint, INOUT done text[], INOUT ids bigint[],"
    " INOUT prevs bigint[], INOUT refused text[], INOUT standing bigint[], INOUT barred text[], INOUT o_ids bigint[], INOUT o_names text[],"
    " INOUT o_created int[], INOUT o_deleted int[], INOUT o_creates bigint[], INOUT o_prevs bigint[], INOUT o_leases int[],"
    " INOUT o_values bytea[]) LANGUAGE plpgsql AS $kedge$\n"
    "#variable_conflict use_column\n"
    "DECLARE more_ids bigint[]; more_prevs bigint[]; more text[]; newest bigint; failed bigint[];\n"
    "BEGIN\n"
    " done := '{}'; ids := '{}'; prevs := '{}'; barred := '{}';\n"
    " PERFORM pg_advisory_xact_lock(" KEDGE_APPEND_LOCK
    ");\n"
    // Only from here on do statements see what the holder before committed.
    " SELECT " KEDGE_COMPACTED
    " INTO compacted;\n"
    " IF seen_name IS NOT NULL AND seen > compacted AND NOT EXISTS (SELECT 1 FROM kine k WHERE k.id = seen AND k.name ="
    "   seen_name AND k.prev_revision = seen_prev) THEN\n"
    "  RAISE EXCEPTION 'revision % is not what it was', seen USING ERRCODE = 'KG001';\n"
    " END IF;\n"
    " told := greatest(seen, coalesce(nullif(current_setting('kedge.told', true), ''), '0')::bigint);\n"
    " IF EXISTS (SELECT 1 FROM kine k WHERE k.id > told) THEN\n"
    "  SELECT array_agg(r.id), array_agg(r.name), array_agg(r.created), array_agg(r.deleted), array_agg(r.create_revision),\n"
    "    array_agg(r.prev_revision), array_agg(r.lease), array_agg(r.value)\n"
    "   INTO o_ids, o_names, o_created, o_deleted, o_creates, o_prevs, o_leases, o_values\n"
    "   FROM (" KEDGE_ROWS_AFTER("told", "500", "others_bytes")
    ") r;\n"
    " END IF;\n"
    // `guarded` and `guards`: this operation has that guard.
    " IF cardinality(guard_names) > 0 THEN\n"
    "  SELECT array_agg(g.n) INTO failed FROM unnest(guard_names, guard_ids) WITH ORDINALITY AS g(name, expected, n)\n"
    "   LEFT JOIN " KEDGE_HEAD_OF("g.name")
    " ON true\n"
    "   WHERE CASE WHEN g.expected = 0 THEN h.deleted = 0 ELSE h.id IS DISTINCT FROM g.expected OR h.deleted <> 0 END;\n"
    "  IF failed IS NOT NULL THEN\n"
    "   SELECT coalesce(array_agg(DISTINCT names[p.op]), '{}') INTO barred FROM unnest(guarded, guards) AS p(op, guard)\n"
    "    WHERE p.guard = ANY(failed);\n"
    "  END IF;\n"
    " END IF;\n"
    " FOR attempt IN 1..20 LOOP\n"
    "  WITH added AS (\n"
    "   INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)\n"
    "   SELECT b.name, CASE b.op WHEN 0 THEN 1 ELSE 0 END, CASE b.op WHEN 2 THEN 1 ELSE 0 END,\n"
    "    CASE WHEN b.op <> 1 THEN 0 WHEN coalesce(h.create_revision, 0) = 0 THEN h.id ELSE h.create_revision END,\n"
    "    coalesce(h.id, 0), b.lease, CASE WHEN b.op <> 2 THEN b.value END, CASE WHEN h.deleted = 0 THEN h.value END\n"
    "   FROM unnest(names, ops, expecteds, leases, vals) WITH ORDINALITY AS b(name, op, expected, lease, value, n)\n"
    "   LEFT JOIN " KEDGE_HEAD_OF("b.name")
    " ON true WHERE " KEDGE_FITS
    "\n"
    "   ORDER BY b.n\n"
    "   ON CONFLICT DO NOTHING RETURNING id, prev_revision, name)\n"
    "  SELECT array_agg(a.id::bigint), array_agg(a.prev_revision::bigint), array_agg(a.name::text) INTO more_ids, more_prevs, more\n"
    "   FROM added a;\n"
    "  IF more IS NOT NULL THEN done := done || more; ids := ids || more_ids; prevs := prevs || more_prevs; END IF;\n"
    "  EXIT WHEN cardinality(done) + cardinality(barred) = cardinality(names);\n"
    // Left out although it still fits: somebody filled the very id that was drawn.
    "  EXIT WHEN NOT EXISTS (SELECT 1 FROM unnest(names, ops, expecteds) AS b(name, op, expected)\n"
    "   LEFT JOIN " KEDGE_HEAD_OF("b.name")
    " ON true WHERE " KEDGE_FITS
    ");\n"
    " END LOOP;\n"
    " IF cardinality(done) + cardinality(barred) < cardinality(names) THEN\n"
    "  SELECT array_agg(b.name), array_agg(CASE WHEN h.deleted = 0 THEN h.id ELSE 0 END::bigint) INTO refused, standing\n"
    "   FROM unnest(names) b(name) LEFT JOIN " KEDGE_HEAD_OF("b.name")
    " ON true\n"
    "   WHERE NOT b.name = ANY(done) AND NOT b.name = ANY(barred);\n"
    " END IF;\n"
    " IF cardinality(ids) > 0 THEN\n"
    "  newest := (SELECT max(i) FROM unnest(ids) i);\n"
    "  PERFORM set_config('kedge.told', newest::text, false);\n"
    "  PERFORM pg_notify('kedge', newest::text);\n"
    " END IF;\n"
    " COMMIT;\n"
    "END $kedge$";
inline constexpr const char* append =
    "CALL pg_temp.kedge_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, NULL, NULL, NULL, NULL, NULL, "
    "NULL, NULL, NULL,"
    " NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)";

// ---- compacting

// Forgets what the next $3 rows above $2 and up to $1 supersede, and moves the compact revision there, unless somebody
// else has come further. $4 newest ids are kept. Gives how far it looked.
inline constexpr const char* compact_function =
    "CREATE OR REPLACE FUNCTION pg_temp.kedge_compact(wanted bigint, swept bigint, most bigint, kept bigint)"
    " RETURNS bigint LANGUAGE plpgsql VOLATILE AS $kedge$\n"
    "DECLARE key bigint; upto bigint; looked bigint; last bigint;\n"
    "BEGIN\n"
    " SELECT id INTO key FROM kine WHERE name = 'compact_rev_key' ORDER BY prev_revision DESC LIMIT 1 FOR UPDATE;\n"
    " upto := least(wanted, (SELECT max(id) FROM kine) - kept);\n"
    " IF key IS NULL OR upto <= swept THEN RETURN swept; END IF;\n"
    " SELECT count(*), max(r.id) INTO looked, last FROM (SELECT k.id FROM kine k WHERE k.id > swept AND k.id <= upto "
    "ORDER BY k.id\n"
    "  LIMIT most) r;\n"
    " IF looked = most THEN upto := last; END IF;\n"
    " DELETE FROM kine k USING (SELECT p.prev_revision AS id FROM kine p WHERE p.name <> 'compact_rev_key' AND\n"
    "   p.prev_revision <> 0 AND p.id > swept AND p.id <= upto\n"
    "  UNION SELECT t.id FROM kine t WHERE t.deleted <> 0 AND t.id > swept AND t.id <= upto) gone\n"
    "  WHERE k.id = gone.id;\n"
    " UPDATE kine SET prev_revision = upto WHERE id = key AND prev_revision < upto;\n"
    " RETURN upto;\n"
    "END $kedge$";
inline constexpr const char* compact = "SELECT pg_temp.kedge_compact($1, $2, $3, $4)";

// $1 seen: an entry under loss_name, unless one says as much already.
inline constexpr const char* tell_loss =
    "WITH lock AS MATERIALIZED (SELECT pg_advisory_xact_lock(" KEDGE_APPEND_LOCK
    ")), head AS (SELECT k.id, k.deleted, k.create_revision, k.value FROM lock, kine k WHERE k.name = "
    "'/kedge/lost-history' ORDER BY k.id DESC"
    " LIMIT 1), added AS (INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, "
    "old_value)"
    " SELECT '/kedge/lost-history', CASE WHEN h.deleted = 0 THEN 0 ELSE 1 END, 0, CASE WHEN h.deleted = 0 THEN CASE "
    "WHEN h.create_revision = 0"
    " THEN h.id ELSE h.create_revision END ELSE 0 END, coalesce(h.id, 0), 0, convert_to($1::bigint::text, 'UTF8'), NULL"
    " FROM lock LEFT JOIN head h ON true WHERE h.id IS NULL OR h.deleted <> 0 OR convert_from(h.value, 'UTF8')::bigint "
    "< $1::bigint"
    " ON CONFLICT DO NOTHING RETURNING id) SELECT pg_notify('kedge', id::text) FROM added";

// After writes were lost: the next row is $2 above $1 and all that is there, and what was before is compacted, unless
// it is so already.
inline constexpr const char* pass_over_function =
    "CREATE OR REPLACE FUNCTION pg_temp.kedge_pass_over(seen bigint, jump bigint) RETURNS bigint LANGUAGE plpgsql "
    "VOLATILE AS $kedge$\n"
    "DECLARE key bigint; c bigint; height bigint;\n"
    "BEGIN\n"
    " PERFORM pg_advisory_xact_lock(" KEDGE_APPEND_LOCK
    ");\n"
    " SELECT id, prev_revision INTO key, c FROM kine WHERE name = 'compact_rev_key' ORDER BY prev_revision DESC LIMIT "
    "1 FOR UPDATE;\n"
    " IF c >= seen THEN RETURN c; END IF;\n"
    " height := greatest(seen, (SELECT max(id) FROM kine)) + jump;\n"
    " PERFORM setval(pg_get_serial_sequence('kine', 'id'), height);\n"
    " INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease) VALUES (height, 'gap-' || "
    "height, 0, 1, 0, 0, 0);\n"
    " UPDATE kine SET prev_revision = height WHERE id = key;\n"
    " PERFORM pg_notify('kedge', height::text);\n"
    " RETURN height;\n"
    "END $kedge$";
inline constexpr const char* pass_over = "SELECT pg_temp.kedge_pass_over($1, $2)";

}  // namespace kedge::datastore::postgres::sql
