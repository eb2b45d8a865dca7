#include "datastore/mysql/sql.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace kedge::datastore::mysql::sql {

namespace {

// Between quotes, in a session whose sql_mode is ours and whose character set is bytes.
void put_escaped(std::string& to, std::string_view raw) {
  for (std::size_t at = 0;;) {
    auto special = raw.find_first_of("'\\", at);
    to += raw.substr(at, special - at);
    if (special == std::string_view::npos) return;
    to += raw[special];
    to += raw[special];
    at = special + 1;
  }
}
std::string literal(std::string_view charset, std::string_view raw) {
  std::string out;
  out.reserve(charset.size() + raw.size() + raw.size() / 16 + 4);
  out += charset;
  out += '\'';
  put_escaped(out, raw);
  out += '\'';
  return out;
}
std::string bytes(std::string_view raw) { return literal("_binary", raw); }
std::string name_literal(std::string_view name) { return literal("_ascii", name); }

std::string is_name(std::string_view name, bool folds_case) {
  if (!folds_case) return "name = " + name_literal(name);
  return fmt::format("name = {} AND CAST(name AS BINARY) = {}", name_literal(name), bytes(name));
}

// The optimizer would walk down the primary key for a name that isn't there, to avoid sorting one row.
std::string head_of(std::string_view name, bool folds_case, std::string_view columns) {
  return fmt::format("(SELECT {} FROM kine FORCE INDEX (kine_name_id_index) WHERE {} ORDER BY id DESC LIMIT 1)",
                     columns, is_name(name, folds_case));
}

constexpr std::string_view compacted =
    "(SELECT COALESCE(MAX(prev_revision), 0) FROM kine WHERE name = _ascii'compact_rev_key')";
constexpr std::string_view insert =
    "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value) SELECT ";
constexpr std::string_view row_head =
    "k.id, k.name, COALESCE(k.created, 0) AS created, COALESCE(k.deleted, 0) AS deleted, COALESCE(k.create_revision, "
    "0) "
    "AS create_revision, COALESCE(k.prev_revision, 0) AS prev_revision, COALESCE(k.lease, 0) AS lease";

// The rows `w` whose values a page holds: only their lengths go through the window, so that no value is copied into a
// temporary table. The answer comes in any order, since sorting it would do the same.
std::string page_of(std::string_view ids, std::string_view sums = "SUM(l.bytes) OVER (ORDER BY l.id) - l.bytes") {
  return fmt::format("(SELECT l.*, {} AS bytes_before FROM ({}) l) w", sums, ids);
}
std::string ids_where(std::string_view condition, std::uint64_t rows) {
  return fmt::format(
      "SELECT id, COALESCE(LENGTH(value), 0) AS bytes, 0 AS replaced FROM kine WHERE {} ORDER BY id LIMIT {}",
      condition, rows);
}
std::string live_ids_after(revision after, int rows) {
  return fmt::format(
      "SELECT b.id, CASE WHEN b.replaced THEN 0 ELSE b.bytes END AS bytes, b.replaced FROM (SELECT o.id, o.bytes, "
      "EXISTS "
      "(SELECT 1 FROM kine n WHERE n.name = o.name AND n.prev_revision = o.id) AS replaced FROM (SELECT id, name, "
      "COALESCE(LENGTH(value), 0) AS bytes FROM kine WHERE id > {} ORDER BY id LIMIT {}) o) b",
      after, rows);
}

// Of one operation; writes one row or none, so that it draws no id in vain.
void put_operation(std::string& to, const operation& op, std::string_view condition, bool folds_case) {
  auto out = std::back_inserter(to);
  auto name = name_literal(op.name);
  to += insert;
  if (op.kind == change::create) {
    fmt::format_to(out, "{}, 1, 0, 0, COALESCE(h.id, 0), {}, ", name, op.lease_seconds);
    to += bytes(op.value);
    fmt::format_to(out, ", NULL FROM (SELECT 1) o LEFT JOIN {} h ON TRUE WHERE {} AND (h.id IS NULL OR h.deleted <> 0)",
                   head_of(op.name, folds_case, "id, deleted"), condition);
    // Two names that the table's index holds for one: the other server's readers do, too.
    if (folds_case)
      fmt::format_to(out, " AND NOT EXISTS (SELECT 1 FROM kine WHERE name = {} AND CAST(name AS BINARY) <> {})", name,
                     bytes(op.name));
    return;
  }
  auto created = "IF(COALESCE(h.create_revision, 0) = 0, h.id, h.create_revision)";
  if (op.kind == change::update) {
    fmt::format_to(out, "{}, 0, 0, {}, h.id, {}, ", name, created, op.lease_seconds);
    to += bytes(op.value);
  } else {
    fmt::format_to(out, "{}, 0, 1, 0, h.id, 0, NULL", name);
  }
  fmt::format_to(out, ", h.value FROM {} h WHERE {} AND h.id = {} AND h.deleted = 0",
                 head_of(op.name, folds_case, "id, deleted, create_revision, value"), condition, op.expected);
}

// Statements in packets: a new one begins where the next statement would make it too large.
class packets {
 public:
  explicit packets(std::size_t limit) : limit_(limit) {}
  void add(std::string statement) {
    longest_ = std::max(longest_, statement.size());
    ++count_;
    if (!all_.empty() && all_.back().size() + statement.size() + 1 <= limit_) {
      all_.back() += ';';
      all_.back() += statement;
    } else {
      all_.push_back(std::move(statement));
    }
  }
  std::size_t count() const { return count_; }
  std::size_t longest() const { return longest_; }
  std::vector<std::string> take() && { return std::move(all_); }

 private:
  std::size_t limit_, longest_ = 0, count_ = 0;
  std::vector<std::string> all_;
};

}  // namespace

std::string session(bool mariadb) {
  return fmt::format(
      "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', autocommit = 1, innodb_lock_wait_timeout = "
      "5, "
      "lock_wait_timeout = 5, net_read_timeout = 10, net_write_timeout = 10, {}; "
      "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; "
      "SET @kedge_lock = CONCAT('kedge.', SHA1(LOWER(DATABASE())))",
      mariadb ? "max_statement_time = 10" : "max_execution_time = 10000");
}

std::string mark(std::string_view name) { return fmt::format("SELECT GET_LOCK('{}', 0)", name); }
std::string marked(std::string_view name) { return fmt::format("SELECT IS_USED_LOCK('{}')", name); }
std::string kill(std::int64_t id) { return fmt::format("KILL {}", id); }

std::string create_database(std::string_view name) { return fmt::format("CREATE DATABASE IF NOT EXISTS `{}`", name); }

std::string news(revision after, int rows, int bytes, bool live) {
  return fmt::format(
      "SELECT h.m, h.c, {}, CASE WHEN k.deleted = 0 AND NOT w.replaced THEN k.value END, w.replaced FROM (SELECT "
      "COALESCE(MAX(id), 0) AS m, {} AS c FROM kine) h LEFT JOIN {} ON w.bytes_before < {} LEFT JOIN kine k ON k.id = "
      "w.id",
      row_head, compacted,
      page_of(live ? live_ids_after(after, rows)
                   : ids_where(fmt::format("id > {}", after), static_cast<std::uint64_t>(rows))),
      bytes);
}

std::string lineage(revision at, std::string_view value) {
  return fmt::format(
      "SELECT h.m, h.c, k.name, k.prev_revision, k.value <=> {}, k.deleted FROM (SELECT COALESCE(MAX(id), "
      "0) AS m, {} AS c FROM kine) h LEFT JOIN kine k ON k.id = {}",
      bytes(value), compacted, at);
}

std::string past(const past_question& q, revision upto, std::size_t most) {
  auto of_prefix = q.prefix.empty()
                       ? std::string("TRUE")
                       : fmt::format("LEFT(CAST(name AS BINARY), {}) = {}", q.prefix.size(), bytes(q.prefix));
  auto ids = ids_where(fmt::format("id > {} AND id <= {} AND {} AND COALESCE(prev_revision, 0) <= {} AND name <> "
                                   "_ascii'compact_rev_key'",
                                   q.after, upto, of_prefix, q.replaced_max),
                       upto - q.after);
  return fmt::format(
      "SELECT h.c, w.last_id, {}, {}, p.id IS NOT NULL, p.value FROM (SELECT {} AS c) h LEFT JOIN {} ON w.bytes_before "
      "< "
      "{} LEFT JOIN kine k ON k.id = w.id LEFT JOIN kine p ON p.id = k.prev_revision AND p.deleted = 0",
      row_head, q.replaced_max == UINT64_MAX ? "CASE WHEN k.deleted = 0 THEN k.value END" : "NULL", compacted,
      page_of(ids, "MAX(l.id) OVER () AS last_id, SUM(l.bytes) OVER (ORDER BY l.id) - l.bytes"), most);
}

std::string standing(const std::vector<operation>& ops, std::span<const std::size_t> places, bool folds_case) {
  std::string out;
  for (auto i : places)
    fmt::format_to(std::back_inserter(out), "{}SELECT {}, COALESCE({}, 0)", out.empty() ? "" : " UNION ALL ", i,
                   head_of(ops[i].name, folds_case, "IF(deleted = 0, id, 0)"));
  return out;
}

std::string wait_for_rows(revision after, revision before) {
  return fmt::format("SELECT COUNT(*) FROM kine WHERE id > {} AND id < {} LOCK IN SHARE MODE", after, before);
}

std::string fill(revision after, revision before) {
  std::string out =
      "INSERT IGNORE INTO kine (id, name, created, deleted, create_revision, prev_revision, lease) VALUES ";
  for (auto id = after + 1; id < before; ++id)
    fmt::format_to(std::back_inserter(out), "{}({}, 'gap-{}', 0, 1, 0, 0, 0)", id == after + 1 ? "" : ", ", id, id);
  return out;
}

append_text append(const std::vector<operation>& ops, const numbered_guards& guards, const append_base& base,
                   bool folds_case, std::size_t packet_bytes, int others_rows, int others_bytes) {
  packets out(packet_bytes);
  // Where there are several packets the session could stand still between two, with the lock.
  out.add("SET SESSION wait_timeout = 10");
  out.add("SELECT GET_LOCK(@kedge_lock, 5) INTO @kedge_had");
  out.add(fmt::format("SET @kedge_told = GREATEST(COALESCE(@kedge_told, 0), {}), @kedge_last = LAST_INSERT_ID(0)",
                      base.seen));
  out.add("START TRANSACTION");
  // Each statement sees what was committed when it began: what the holder before did.
  out.add("SELECT COALESCE(MAX(id), 0) INTO @kedge_before FROM kine");
  auto forked = base.seen_name.empty()
                    ? std::string("FALSE")
                    : fmt::format(
                          "({} < {} AND NOT EXISTS (SELECT 1 FROM kine WHERE id = {} AND CAST(name AS BINARY) = "
                          "{} AND prev_revision = {}))",
                          compacted, base.seen, base.seen, bytes(base.seen_name), base.seen_previous);
  out.add(
      fmt::format("SELECT CASE WHEN COALESCE(@kedge_had, 0) <> 1 THEN {} WHEN @@GLOBAL.read_only NOT IN ('0', 'OFF') "
                  "THEN {} WHEN {} THEN {} ELSE {} END INTO @kedge_state",
                  static_cast<int>(append_state::locked), static_cast<int>(append_state::read_only), forked,
                  static_cast<int>(append_state::forked), static_cast<int>(append_state::done)));
  for (std::size_t i = 0; i < guards.names.size(); ++i)
    out.add(fmt::format("SET @kedge_g{} = COALESCE({}, 0) = {}", i,
                        head_of(guards.names[i], folds_case, "IF(deleted = 0, id, 0)"), guards.expected[i]));
  append_text text;
  text.first = out.count();
  auto guarded = guards.of.begin();
  for (std::size_t i = 0; i < ops.size(); ++i) {
    std::string condition = fmt::format("@kedge_state = {}", static_cast<int>(append_state::done));
    if (guarded != guards.of.end() && guarded->first == i) {
      for (auto place : guarded->second) fmt::format_to(std::back_inserter(condition), " AND @kedge_g{}", place);
      ++guarded;
    }
    std::string statement;
    statement.reserve(ops[i].value.size() + ops[i].value.size() / 16 + 4 * ops[i].name.size() + 700);
    put_operation(statement, ops[i], condition, folds_case);
    out.add(std::move(statement));
  }
  text.commit = out.count();
  out.add("COMMIT");
  out.add("DO RELEASE_LOCK(@kedge_lock)");
  out.add("SET SESSION wait_timeout = 28800");
  text.answer = out.count();
  std::string held;
  for (std::size_t i = 0; i < guards.names.size(); ++i)
    fmt::format_to(std::back_inserter(held), ", COALESCE(@kedge_g{}, 0)", i);
  out.add(fmt::format(
      "SELECT @kedge_state, @kedge_told, CONCAT(''{}), {}, (SELECT prev_revision FROM kine WHERE id = "
      "LAST_INSERT_ID()), "
      "{}, CASE WHEN k.deleted = 0 THEN k.value END FROM (SELECT 1) o LEFT JOIN {} ON w.bytes_before < {} LEFT JOIN "
      "kine "
      "k ON k.id = w.id",
      held, compacted, row_head,
      page_of(ids_where("id > @kedge_told AND id <= @kedge_before", static_cast<std::uint64_t>(others_rows))),
      others_bytes));
  out.add("SET @kedge_told = GREATEST(@kedge_told, LAST_INSERT_ID())");
  text.statement_bytes_max = out.longest();
  text.packets = std::move(out).take();
  return text;
}

std::string compaction_step(revision wanted, revision swept, std::uint64_t most, std::uint64_t kept) {
  // What is kept is never below 0: ids are unsigned.
  return fmt::format(
      "SELECT (SELECT id FROM kine WHERE name = _ascii'compact_rev_key' ORDER BY prev_revision DESC LIMIT 1), "
      "IF(COUNT(r.id) < {}, h.upto, MAX(r.id)) FROM (SELECT LEAST({}, GREATEST(COALESCE(MAX(id), 0), {}) - {}) AS upto "
      "FROM "
      "kine) h LEFT JOIN (SELECT id FROM kine WHERE id > {} ORDER BY id LIMIT {}) r ON r.id <= h.upto GROUP BY h.upto",
      most, wanted, kept, kept, swept, most);
}

std::string compact(std::int64_t mark, revision swept, revision upto) {
  return fmt::format(
      "START TRANSACTION; "
      "UPDATE kine SET prev_revision = {2} WHERE id = {0} AND prev_revision < {2}; "
      "DELETE k FROM kine k JOIN (SELECT prev_revision AS id FROM kine WHERE name <> _ascii'compact_rev_key' AND "
      "prev_revision <> 0 AND id > {1} AND id <= {2} UNION SELECT id FROM kine WHERE deleted <> 0 AND id > {1} AND id "
      "<= "
      "{2}) gone ON k.id = gone.id; "
      "COMMIT",
      mark, swept, upto);
}

std::string tell_loss(revision seen) {
  auto created = "IF(COALESCE(h.create_revision, 0) = 0, h.id, h.create_revision)";
  return fmt::format(
      "SELECT GET_LOCK(@kedge_lock, 5) INTO @kedge_had; "
      "{}{}, IF(h.deleted = 0, 0, 1), 0, IF(h.deleted = 0, {}, 0), COALESCE(h.id, 0), 0, {}, NULL FROM (SELECT 1) o "
      "LEFT "
      "JOIN {} h ON TRUE WHERE @kedge_had = 1 AND (h.id IS NULL OR h.deleted <> 0 OR CAST(h.value AS UNSIGNED) < {}); "
      "DO RELEASE_LOCK(@kedge_lock); SELECT COALESCE(@kedge_had, 0)",
      insert, name_literal(loss_name), created, bytes(std::to_string(seen)),
      head_of(loss_name, true, "id, deleted, create_revision, value"), seen);
}

std::string pass_over(revision seen, std::uint64_t jump) {
  return fmt::format(
      "SELECT GET_LOCK(@kedge_lock, 5) INTO @kedge_had; "
      "START TRANSACTION; "
      "SELECT id, prev_revision INTO @kedge_key, @kedge_compacted FROM kine WHERE name = _ascii'compact_rev_key' ORDER "
      "BY "
      "prev_revision DESC LIMIT 1 FOR UPDATE; "
      "SELECT GREATEST({0}, MAX(id)) + {1} INTO @kedge_height FROM kine; "
      // A row of its own: the counter goes on behind it, and a later K3s begins there.
      "INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease) SELECT @kedge_height, "
      "CONCAT('gap-', @kedge_height), 0, 1, 0, 0, 0 FROM (SELECT 1) o WHERE @kedge_had = 1 AND @kedge_compacted < {0}; "
      "UPDATE kine SET prev_revision = @kedge_height WHERE id = @kedge_key AND @kedge_had = 1 AND @kedge_compacted < "
      "{0}; "
      "COMMIT; DO RELEASE_LOCK(@kedge_lock); SELECT COALESCE(@kedge_had, 0)",
      seen, jump);
}

}  // namespace kedge::datastore::mysql::sql
