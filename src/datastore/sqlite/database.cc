#include "datastore/sqlite/database.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "base/strings.h"
#include "datastore/guards.h"
#include "datastore/limits.h"
#include "datastore/sqlite/statement.h"

namespace kedge::datastore {

namespace {

constexpr const char* compact_key = "compact_rev_key";

std::string kernel_boot_id() {
  char text[64] = {};
  int fd = ::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "unknown";
  auto n = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  return std::string(trim(std::string_view(text, n > 0 ? static_cast<std::size_t>(n) : 0)));
}

std::string read_small_file(const std::string& path) {
  char text[256];
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  auto n = ::read(fd, text, sizeof text);
  ::close(fd);
  return std::string(text, n > 0 ? static_cast<std::size_t>(n) : 0);
}

// Makes the names in the file's folder durable.
void sync_folder(const std::string& path) {
  auto slash = path.rfind('/');
  int folder =
      ::open(slash == std::string::npos ? "." : path.substr(0, slash + 1).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  ::fsync(folder);
  ::close(folder);
}

// Replaces the file so that after a crash either the old or the new text is there.
result<void> write_durably(const std::string& path, std::string_view text) {
  auto temporary = path + ".new";
  int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return fail(os_error(errno, "open " + temporary));
  bool ok = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::fsync(fd) == 0;
  int number = errno;
  ::close(fd);
  if (!ok) return fail(os_error(number, "write " + temporary));
  if (::rename(temporary.c_str(), path.c_str()) != 0) return fail(os_error(errno, "rename to " + path));
  sync_folder(path);
  return {};
}

revision column_revision(sqlite3_stmt* s, int column) {
  return static_cast<revision>(std::max<sqlite3_int64>(0, sqlite3_column_int64(s, column)));
}

std::string_view column_text(sqlite3_stmt* s, int column) {
  auto data = static_cast<const char*>(sqlite3_column_blob(s, column));
  auto size = sqlite3_column_bytes(s, column);
  return data ? std::string_view(data, static_cast<std::size_t>(size)) : std::string_view();
}

void configure_library_once() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Statistics cost a mutex on every allocation and nobody asks for them.
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    // A quarter of the default look-aside: one connection with half a dozen statements.
    sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 512, 32);
    sqlite3_initialize();
  });
}

}  // namespace

sqlite_database::sqlite_database(sqlite_options options) : options_(std::move(options)) {
  configure_library_once();
  if (options_.boot_id.empty()) options_.boot_id = kernel_boot_id();
}

sqlite_database::~sqlite_database() { disconnect(); }

error sqlite_database::failure(int code, std::string_view doing) const {
  // What Kedge found itself left no message in the connection.
  auto told = std::string(db_ && sqlite3_errcode(db_) != SQLITE_OK ? sqlite3_errmsg(db_) : sqlite3_errstr(code));
  auto text = [&](std::string_view advice) {
    return fmt::format("{} {}: {}{}{}", doing, options_.path, told, advice.empty() ? "" : "; ", advice);
  };
  int number = db_ ? sqlite3_system_errno(db_) : 0;
  switch (code & 0xff) {
    case SQLITE_FULL:
      return {errc::exhausted, text("the disk is full: writes fail until there is room, reads go on"), number};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {errc::unavailable,
              text("another process uses this file (k3s, or a second kedge server with the same data "
                   "directory): stop it, or choose another --data-dir")};
    case SQLITE_READONLY:
      return {errc::io, text("the file or its file system is read-only: writes fail until it can be written to"),
              number};
    case SQLITE_PERM:
    case SQLITE_AUTH: return {errc::forbidden, text("give the server's user the right to read and write it"), number};
    case SQLITE_CANTOPEN:
      return {number == ENOENT ? errc::not_found : errc::io, text("see that its folder exists and can be written to"),
              number};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return {errc::corrupt,
              text("the file is damaged and was left as it is: restore it from a backup, or move it and its "
                   "-wal away to start empty")};
    case SQLITE_TOOBIG: return {errc::too_large, text("")};
    case SQLITE_NOMEM: return {errc::exhausted, text("")};
    default: return {errc::io, text(""), number};
  }
}

result<void> sqlite_database::run(const char* sql) {
  int code = sqlite3_exec(db_, sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return fail(failure(code, "use"));
  return {};
}

result<sqlite3_stmt*> sqlite_database::prepare(const char* sql) {
  sqlite3_stmt* s = nullptr;
  int code = sqlite3_prepare_v3(db_, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, nullptr);
  if (code != SQLITE_OK) return fail(failure(code, "use"));
  return s;
}

void sqlite_database::disconnect() noexcept {
  rewrite_ = nullptr;  // reads from this connection
  for (auto** s : {&begin_, &commit_, &head_, &insert_, &load_, &past_}) {
    sqlite3_finalize(*s);
    *s = nullptr;
  }
  if (db_) sqlite3_close(db_);
  db_ = nullptr;
}

result<void> sqlite_database::connect() {
  int code = sqlite3_open_v2(
      options_.path.c_str(), &db_,
      SQLITE_OPEN_READWRITE | (options_.makes_database ? SQLITE_OPEN_CREATE : 0) | SQLITE_OPEN_NOMUTEX, nullptr);
  if (code != SQLITE_OK) return fail(failure(code, "open"));
  sqlite3_extended_result_codes(db_, 1);
  // Closing must not write: only a clean stop moves the WAL into the file.
  sqlite3_db_config(db_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  // A file from elsewhere can't run code of its own through its schema.
  sqlite3_db_config(db_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(db_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  if (sqlite3_db_readonly(db_, "main") == 1) return fail(failure(SQLITE_READONLY, "open"));

  // SQLite takes a file shorter than a page for a new one and would write over it.
  sqlite3_file* file = nullptr;
  if (sqlite3_file_control(db_, "main", SQLITE_FCNTL_FILE_POINTER, &file) == SQLITE_OK && file && file->pMethods) {
    sqlite3_int64 size = 0;
    char head[16] = {};
    file->pMethods->xFileSize(file, &size);
    if (size > 0 && (size < 512 || file->pMethods->xRead(file, head, sizeof head, 0) != SQLITE_OK ||
                     std::memcmp(head, "SQLite format 3", sizeof head) != 0)) {
      return fail(errc::corrupt,
                  fmt::format("open {}: it is not a SQLite database; it was left as it is: restore it from a "
                              "backup, or move it away to start empty",
                              options_.path));
    }
  }
  KEDGE_CHECK(run("PRAGMA locking_mode = EXCLUSIVE"));
  // Takes the lock that stays; writes nothing.
  KEDGE_CHECK(run("BEGIN EXCLUSIVE"));
  KEDGE_CHECK(run("COMMIT"));
  KEDGE_CHECK(run("PRAGMA temp_store = MEMORY"));
  KEDGE_CHECK(run("PRAGMA mmap_size = 0"));
  KEDGE_CHECK(run(fmt::format("PRAGMA cache_size = -{}", sqlite_cache_kib).c_str()));
  KEDGE_CHECK(inspect_schema());
  return read_revisions();
}

result<void> sqlite_database::open() {
  auto give_up = monotonic_clock::now() + options_.lock_wait;
  bool told = false;
  for (;;) {
    auto done = connect();
    if (done) return {};
    disconnect();
    if (done.error().code != errc::unavailable || monotonic_clock::now() >= give_up) return done;
    if (!std::exchange(told, true)) kedge::log::warning("waiting for {}: another process uses it", options_.path);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

result<void> sqlite_database::inspect_schema() {
  KEDGE_TRY(
      auto* s,
      prepare(
          "SELECT type, name FROM sqlite_master WHERE (name = 'kine') OR (type = 'trigger' AND tbl_name = 'kine')"));
  statement rows(s);
  has_table_ = false;
  int code;
  while ((code = sqlite3_step(rows)) == SQLITE_ROW) {
    auto type = column_text(rows, 0);
    if (type != "table") {
      return fail(errc::unsupported, fmt::format("open {}: it has a {} {} where K3s has none; it was left as it is",
                                                 options_.path, type, quote(column_text(rows, 1))));
    }
    has_table_ = true;
  }
  if (code != SQLITE_DONE) return fail(failure(code, "read"));
  if (!has_table_) return {};
  auto columns = prepare(
      "SELECT id, name, created, deleted, create_revision, prev_revision, lease, value, old_value FROM kine LIMIT 0");
  if (!columns) {
    if (columns.error().code != errc::io) return fail(std::move(columns).error());
    return fail(errc::unsupported,
                fmt::format("open {}: its table kine is not K3s's ({})", options_.path, sqlite3_errmsg(db_)));
  }
  sqlite3_finalize(*columns);
  return {};
}

result<void> sqlite_database::read_revisions() {
  newest_ = compacted_ = 0;
  if (!has_table_) return {};
  KEDGE_TRY(
      auto* s,
      prepare(
          "SELECT (SELECT MAX(id) FROM kine), (SELECT MAX(prev_revision) FROM kine WHERE name = 'compact_rev_key')"));
  statement row(s);
  int code = sqlite3_step(row);
  if (code != SQLITE_ROW) return fail(failure(code, "read"));
  newest_ = column_revision(row, 0);
  compacted_ = column_revision(row, 1);
  return {};
}

namespace {

// The eight columns of load_ and past_ from `at` on.
entry read_entry(sqlite3_stmt* s, int at) {
  entry e;
  e.at = column_revision(s, at);
  e.name = column_text(s, at + 1);
  bool created = sqlite3_column_int(s, at + 2) != 0;
  bool deleted = sqlite3_column_int(s, at + 3) != 0;
  e.kind = deleted ? change::remove : created ? change::create : change::update;
  e.created = created ? e.at : column_revision(s, at + 4);
  e.previous = column_revision(s, at + 5);
  e.lease_seconds =
      static_cast<std::uint32_t>(std::clamp<sqlite3_int64>(sqlite3_column_int64(s, at + 6), 0, UINT32_MAX));
  if (!deleted) e.value = column_text(s, at + 7);
  return e;
}

}  // namespace

result<void> sqlite_database::prepare_load() {
  if (load_) return {};
  KEDGE_TRY(load_, prepare("SELECT id, name, created, deleted, create_revision, prev_revision, lease, value FROM kine "
                           "WHERE id > ? ORDER BY id LIMIT ?"));
  return {};
}

result<page> sqlite_database::load(revision after) {
  page out;
  out.compacted = compacted_;
  out.at = std::max(after, newest_);
  if (!has_table_) return out;
  KEDGE_CHECK(prepare_load());
  sqlite3_reset(load_);
  sqlite3_bind_int64(load_, 1, static_cast<sqlite3_int64>(after));
  sqlite3_bind_int64(load_, 2, static_cast<sqlite3_int64>(page_entries_max));
  std::size_t rows = 0, bytes = 0;
  revision last = after;
  int code;
  while ((code = sqlite3_step(load_)) == SQLITE_ROW) {
    ++rows;
    auto e = read_entry(load_, 0);
    last = e.at;
    if (e.name == compact_key) continue;
    bytes += e.name.size() + e.value.size();
    out.entries.push_back(std::move(e));
    if (bytes >= page_bytes_max) break;
  }
  sqlite3_reset(load_);
  if (code != SQLITE_DONE && code != SQLITE_ROW) return fail(failure(code, "read"));
  out.done = code == SQLITE_DONE && rows < page_entries_max;
  if (!out.done) out.at = last;
  return out;
}

// First which rows are the newest of their names, by an index; then those, in the order of the file.
result<page> sqlite_database::load_live(revision after) {
  page out;
  out.compacted = compacted_;
  out.at = std::max(after, newest_);
  if (!has_table_) return out;
  if (after == 0) {
    KEDGE_TRY(auto* s, prepare("SELECT MAX(id) FROM kine GROUP BY name"));
    statement rows(s);
    live_.clear();
    int code;
    while ((code = sqlite3_step(rows)) == SQLITE_ROW) live_.push_back(column_revision(rows, 0));
    if (code != SQLITE_DONE) return fail(failure(code, "read"));
    std::sort(live_.begin(), live_.end());
    next_live_ = 0;
  }
  KEDGE_CHECK(prepare_load());
  std::size_t bytes = 0, looked = 0;
  bool at_row = false;  // the statement stands at a row
  for (; next_live_ < live_.size() && looked < page_entries_max && bytes < page_bytes_max; ++looked) {
    auto wanted = live_[next_live_];
    // Rows between are stepped over while they are few; beyond that looking the next one up is cheaper.
    if (!at_row || wanted - column_revision(load_, 0) > live_gap_max) {
      sqlite3_reset(load_);
      sqlite3_bind_int64(load_, 1, static_cast<sqlite3_int64>(wanted - 1));
      sqlite3_bind_int64(load_, 2, -1);
      at_row = false;
    }
    while (!at_row || column_revision(load_, 0) < wanted) {
      int code = sqlite3_step(load_);
      at_row = code == SQLITE_ROW;
      if (!at_row) {
        auto why = failure(code == SQLITE_DONE ? SQLITE_CORRUPT : code, "read");
        sqlite3_reset(load_);
        return fail(std::move(why));
      }
    }
    ++next_live_;
    if (column_revision(load_, 0) != wanted || sqlite3_column_int(load_, 3) != 0) continue;  // removed
    auto e = read_entry(load_, 0);
    if (e.name == compact_key) continue;
    bytes += e.name.size() + e.value.size();
    out.entries.push_back(std::move(e));
  }
  sqlite3_reset(load_);
  out.done = next_live_ == live_.size();
  if (out.done)
    live_ = {};
  else
    out.at = live_[next_live_ - 1];
  return out;
}

result<past_page> sqlite_database::past(const past_question& q) {
  if (!db_) KEDGE_CHECK(reopen());
  if (q.after < compacted_) return fail(errc::expired, fmt::format("revision {} is compacted", q.after));
  if (!past_) {
    // The unary + keeps the planner from indexes on names and previous revisions: it is the range of ids that is short.
    KEDGE_TRY(past_,
              prepare("SELECT k.id, k.name, k.created, k.deleted, k.create_revision, k.prev_revision, k.lease, "
                      "CASE WHEN ?5 THEN k.value END, p.id, p.value FROM kine k "
                      "LEFT JOIN kine p ON p.id = k.prev_revision AND p.deleted = 0 "
                      "WHERE k.id > ?1 AND k.id <= ?2 AND +k.name >= ?3 AND +k.name < ?4 AND +k.prev_revision <= ?6 "
                      "AND k.name != 'compact_rev_key' ORDER BY k.id"));
  }
  past_page out;
  out.at = std::min(q.upto, q.after + past_step_revisions);
  auto end = q.prefix + '\xff';  // in no UTF-8 text
  sqlite3_reset(past_);
  sqlite3_bind_int64(past_, 1, static_cast<sqlite3_int64>(q.after));
  sqlite3_bind_int64(past_, 2, static_cast<sqlite3_int64>(out.at));
  sqlite3_bind_text(past_, 3, q.prefix.data(), static_cast<int>(q.prefix.size()), SQLITE_STATIC);
  sqlite3_bind_text(past_, 4, end.data(), static_cast<int>(end.size()), SQLITE_STATIC);
  sqlite3_bind_int(past_, 5, q.replaced_max == UINT64_MAX);
  sqlite3_bind_int64(past_, 6, static_cast<sqlite3_int64>(std::min<revision>(q.replaced_max, INT64_MAX)));
  std::size_t bytes = 0;
  int code;
  while ((code = sqlite3_step(past_)) == SQLITE_ROW) {
    past_change c{read_entry(past_, 0), std::nullopt};
    if (sqlite3_column_type(past_, 8) != SQLITE_NULL) c.replaced = std::string(column_text(past_, 9));
    bytes += c.what.value.size() + (c.replaced ? c.replaced->size() : 0);
    auto at = c.what.at;
    out.changes.push_back(std::move(c));
    if (bytes >= page_bytes_max) {
      out.at = at;
      break;
    }
  }
  sqlite3_reset(past_);
  if (code != SQLITE_DONE && code != SQLITE_ROW) return fail(failure(code, "read"));
  return out;
}

result<void> sqlite_database::begin() {
  auto mark = read_small_file(mark_path());
  // Before the file has its first page: later that takes a rewrite.
  if (!has_table_) KEDGE_CHECK(run("PRAGMA auto_vacuum = INCREMENTAL"));
  KEDGE_CHECK(run("PRAGMA journal_mode = WAL"));
  KEDGE_CHECK(run(options_.durability == sqlite_durability::full ? "PRAGMA synchronous = FULL"
                                                                 : "PRAGMA synchronous = NORMAL"));
  KEDGE_CHECK(run("PRAGMA wal_autocheckpoint = 0"));
  KEDGE_CHECK(run(fmt::format("PRAGMA journal_size_limit = {}", wal_size_limit_bytes).c_str()));
  sqlite3_wal_hook(
      db_,
      [](void* self, sqlite3*, const char*, int frames) {
        static_cast<sqlite_database*>(self)->wal_bytes_ = static_cast<std::size_t>(frames) * 4096;
        return SQLITE_OK;
      },
      this);
  KEDGE_CHECK(run("BEGIN IMMEDIATE"));
  auto prepared = [&]() -> result<void> {
    if (!has_table_) KEDGE_CHECK(first_rows());
    // At start kine keeps the mark with the highest revision of several; so do we. A file may have none.
    KEDGE_CHECK(
        run("DELETE FROM kine WHERE name = 'compact_rev_key' AND id NOT IN "
            "(SELECT id FROM kine WHERE name = 'compact_rev_key' ORDER BY prev_revision DESC, id LIMIT 1)"));
    KEDGE_CHECK(
        run("INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value) "
            "SELECT 'compact_rev_key', 1, 0, 0, 0, 0, x'' WHERE NOT EXISTS (SELECT 1 FROM kine WHERE name = "
            "'compact_rev_key')"));
    // "running <boot> normal" with another boot's id: the machine crashed under us, and what it took back has been
    // seen.
    auto words = split(trim(mark), ' ');
    bool crashed = words.size() == 3 && words[0] == "running" && words[1] != options_.boot_id && words[2] == "normal";
    if (crashed) {
      kedge::log::warning(
          "the machine went down while {} was open: writes of the last seconds before it may be gone; revisions go on "
          "{} higher, so that none is "
          "used twice (clients with older ones list again)",
          options_.path, revision_jump);
      KEDGE_CHECK(jump_above(newest_));
    }
    return run("COMMIT");
  }();
  if (!prepared) {
    roll_back();
    return prepared;
  }
  KEDGE_CHECK(read_revisions());
  KEDGE_TRY(auto vacuum, ask("PRAGMA auto_vacuum"));
  gives_back_ = vacuum == 2;
  KEDGE_CHECK(write_mark("running"));
  began_ = true;
  return prepare_all();
}

result<void> sqlite_database::first_rows() {
  KEDGE_CHECK(
      run("CREATE TABLE kine (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, created INTEGER, deleted INTEGER, "
          "create_revision INTEGER, prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB)"));
  KEDGE_CHECK(run("CREATE INDEX kine_name_id_index ON kine (name, id)"));
  KEDGE_CHECK(run("CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision)"));
  has_table_ = true;
  // As kine's first start: revision 1 is the mark of compaction, 2 the row that health checks read.
  return run(
      "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value) VALUES "
      "('compact_rev_key', 1, 0, 0, 0, 0, x''), ('/registry/health', 1, 0, 0, 0, 0, CAST('{\"health\":\"true\"}' AS "
      "BLOB))");
}

// The row at the new height is a gap row (facts 1.2): a later K3s starts from MAX(id) and sees no hole.
result<void> sqlite_database::jump_above(revision seen) {
  auto height = std::max(seen, newest_) + revision_jump;
  KEDGE_CHECK(run(fmt::format("INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease) "
                              "VALUES ({0}, 'gap-{0}', 0, 1, 0, 0, 0)",
                              height)
                      .c_str()));
  return run(fmt::format("UPDATE kine SET prev_revision = {} WHERE name = 'compact_rev_key'", height).c_str());
}

result<void> sqlite_database::prepare_all() {
  KEDGE_TRY(begin_, prepare("BEGIN IMMEDIATE"));
  KEDGE_TRY(commit_, prepare("COMMIT"));
  KEDGE_TRY(head_, prepare("SELECT id, deleted FROM kine WHERE name = ? ORDER BY id DESC LIMIT 1"));
  KEDGE_TRY(
      insert_,
      prepare("INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value) "
              "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, (SELECT value FROM kine WHERE id = ?8))"));
  return {};
}

result<sqlite_database::standing> sqlite_database::find_head(std::string_view name) {
  standing out;
  sqlite3_reset(head_);
  sqlite3_bind_text(head_, 1, name.data(), static_cast<int>(name.size()), SQLITE_STATIC);
  int code = sqlite3_step(head_);
  if (code == SQLITE_ROW) out = {column_revision(head_, 0), sqlite3_column_int(head_, 1) == 0};
  sqlite3_reset(head_);
  if (code != SQLITE_ROW && code != SQLITE_DONE) return fail(failure(code, "read"));
  return out;
}

// Of a batch's operations those that a guard bars. Each guard is looked up once: nearly all creates have their
// namespace's.
result<std::vector<bool>> sqlite_database::barred(std::span<const operation> ops) {
  std::vector<bool> out(ops.size());
  auto guards = number_guards(ops);
  std::vector<bool> failed;
  for (std::size_t i = 0; i < guards.names.size(); ++i) {
    KEDGE_TRY(auto head, find_head(guards.names[i]));
    failed.push_back((head.live ? head.at : 0) != guards.expected[i]);
  }
  for (auto& [op, places] : guards.of) out[op] = std::ranges::any_of(places, [&](auto p) { return failed[p]; });
  return out;
}

result<void> sqlite_database::insert(const operation& op, outcome& out) {
  revision previous = op.expected;
  if (op.kind == change::create) {
    // The store knows what lives, the file also knows the tombstone that a create follows.
    KEDGE_TRY(auto head, find_head(op.name));
    previous = head.at;
    if (head.live) {
      out = {outcome::status::conflict, previous};
      return {};
    }
  }
  bool removes = op.kind == change::remove;
  sqlite3_reset(insert_);
  sqlite3_bind_text(insert_, 1, op.name.data(), static_cast<int>(op.name.size()), SQLITE_STATIC);
  sqlite3_bind_int(insert_, 2, op.kind == change::create);
  sqlite3_bind_int(insert_, 3, removes);
  sqlite3_bind_int64(insert_, 4, op.kind == change::update ? static_cast<sqlite3_int64>(op.created) : 0);
  sqlite3_bind_int64(insert_, 5, static_cast<sqlite3_int64>(previous));
  sqlite3_bind_int64(insert_, 6, removes ? 0 : op.lease_seconds);
  if (removes) {
    sqlite3_bind_null(insert_, 7);
  } else {
    // data() of an empty string isn't null, and an empty value isn't NULL either.
    sqlite3_bind_blob64(insert_, 7, op.value.data(), op.value.size(), SQLITE_STATIC);
  }
  sqlite3_bind_int64(insert_, 8, op.kind == change::create ? 0 : static_cast<sqlite3_int64>(previous));
  int code = sqlite3_step(insert_);
  sqlite3_reset(insert_);
  if (code == SQLITE_CONSTRAINT_UNIQUE) {
    return fail(errc::unknown_outcome,
                fmt::format("write {} after revision {} to {}: the file has another successor already; something "
                            "else has written to it",
                            quote(op.name), previous, options_.path));
  }
  if (code != SQLITE_DONE) return fail(failure(code, "write to"));
  out = {outcome::status::committed, static_cast<revision>(sqlite3_last_insert_rowid(db_))};
  return {};
}

result<std::vector<appended>> sqlite_database::append(std::span<const batch> group) {
  if (!db_) KEDGE_CHECK(reopen());
  auto step = [this](sqlite3_stmt* s, std::string_view doing) -> result<void> {
    int code = sqlite3_step(s);
    sqlite3_reset(s);
    if (code != SQLITE_DONE) return fail(failure(code, doing));
    return {};
  };
  KEDGE_CHECK(step(begin_, "write to"));
  std::vector<appended> out(group.size());
  revision top = newest_;
  auto written = [&]() -> result<void> {
    for (std::size_t i = 0; i < group.size(); ++i) {
      out[i].outcomes.resize(group[i]->size());
      KEDGE_TRY(auto none, barred(*group[i]));
      for (std::size_t j = 0; j < group[i]->size(); ++j) {
        auto& o = out[i].outcomes[j];
        if (none[j])
          o = {outcome::status::guard_failed, 0};
        else
          KEDGE_CHECK(insert((*group[i])[j], o));
        if (o.what == outcome::status::committed) top = o.at;
      }
    }
    return step(commit_, "commit to");
  }();
  if (!written) {
    // Before roll_back(), which has errors of its own.
    auto why = std::move(written).error();
    roll_back();
    if (why.code == errc::unknown_outcome) {
      // What stands there is read as what a lost answer is: by who asks what became of it.
      kedge::log::error("{}; it is read again", why.message);
      if (auto again = reopen(); !again) why = std::move(why).with(again.error().message + "; ");
      return fail(std::move(why));
    }
    if (why.code != errc::io) return fail(std::move(why));
    // After a failed write or fsync neither the connection nor the page cache can be trusted: read what the disk has.
    auto before = newest_;
    kedge::log::error("{}; opening it again", why.message);
    if (auto again = reopen(); !again)
      return fail(errc::unknown_outcome, why.message + "; and then " + again.error().message);
    if (newest_ != top || top == before) return fail(std::move(why));
    return out;
  }
  newest_ = top;
  return out;
}

result<revision> sqlite_database::compact_step(revision from, revision to) {
  if (!db_) KEDGE_CHECK(reopen());
  revision reached = to;
  {
    KEDGE_TRY(
        auto* s,
        prepare("SELECT MAX(id), COUNT(*) FROM (SELECT id FROM kine WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3)"));
    statement row(s);
    sqlite3_bind_int64(row, 1, static_cast<sqlite3_int64>(from));
    sqlite3_bind_int64(row, 2, static_cast<sqlite3_int64>(to));
    sqlite3_bind_int64(row, 3, static_cast<sqlite3_int64>(compaction_step_rows));
    int code = sqlite3_step(row);
    if (code != SQLITE_ROW) return fail(failure(code, "compact"));
    if (column_revision(row, 1) >= compaction_step_rows) reached = column_revision(row, 0);
  }
  auto mark = std::max(reached, compacted_);
  KEDGE_CHECK(run("BEGIN IMMEDIATE"));
  auto done = [&]() -> result<void> {
    KEDGE_CHECK(run(fmt::format("UPDATE kine SET prev_revision = {} WHERE name = 'compact_rev_key'", mark).c_str()));
    KEDGE_CHECK(
        run(fmt::format("DELETE FROM kine WHERE id IN (SELECT prev_revision FROM kine WHERE id > {} AND id <= {} AND "
                        "prev_revision != 0 AND name != 'compact_rev_key')",
                        from, reached)
                .c_str()));
    KEDGE_CHECK(
        run(fmt::format("DELETE FROM kine WHERE id > {} AND id <= {} AND deleted != 0", from, reached).c_str()));
    return run("COMMIT");
  }();
  if (!done) {
    roll_back();
    return fail(std::move(done).error());
  }
  compacted_ = mark;
  return reached;
}

result<void> sqlite_database::pass_over(revision seen) {
  if (compacted_ >= seen) return {};
  KEDGE_CHECK(run("BEGIN IMMEDIATE"));
  auto done = [&]() -> result<void> {
    KEDGE_CHECK(jump_above(seen));
    return run("COMMIT");
  }();
  if (!done) {
    roll_back();
    return done;
  }
  return read_revisions();
}

result<std::int64_t> sqlite_database::ask(const char* sql) {
  KEDGE_TRY(auto* s, prepare(sql));
  statement row(s);
  int code = sqlite3_step(row);
  if (code != SQLITE_ROW) return fail(failure(code, "read"));
  return sqlite3_column_int64(row, 0);
}

result<space> sqlite_database::occupied() {
  if (!db_) KEDGE_CHECK(reopen());
  KEDGE_TRY(auto size, ask("PRAGMA page_size"));
  KEDGE_TRY(auto pages, ask("PRAGMA page_count"));
  KEDGE_TRY(auto free, ask("PRAGMA freelist_count"));
  return space{static_cast<std::uint64_t>(pages * size), static_cast<std::uint64_t>(free * size)};
}

result<std::uint64_t> sqlite_database::give_back() {
  if (!db_) KEDGE_CHECK(reopen());
  KEDGE_TRY(auto before, ask("PRAGMA freelist_count"));
  KEDGE_CHECK(run(fmt::format("PRAGMA incremental_vacuum({})", give_back_step_pages).c_str()));
  KEDGE_TRY(auto after, ask("PRAGMA freelist_count"));
  return static_cast<std::uint64_t>(before - after);
}

result<bool> sqlite_database::rewrite() {
  if (!db_) KEDGE_CHECK(reopen());
  auto done = [&]() -> result<bool> {
    if (!rewrite_) {
      KEDGE_TRY(auto now, occupied());
      struct statvfs disk{};
      auto folder = options_.path.substr(0, options_.path.rfind('/') + 1);
      if (::statvfs(folder.empty() ? "." : folder.c_str(), &disk) == 0 &&
          disk.f_bavail * disk.f_frsize < (now.bytes - now.free) * 5 / 4)
        return fail(errc::exhausted,
                    fmt::format("there is no room for a copy of {} MB on its disk", (now.bytes - now.free) >> 20));
      KEDGE_TRY(rewrite_, sqlite_rewrite::begin(db_, options_.path + "-rewrite"));
      return false;
    }
    KEDGE_TRY(auto whole, rewrite_->step());
    if (!whole) return false;
    KEDGE_CHECK(rewrite_->finish());
    KEDGE_CHECK(take_rewritten());
    return true;
  }();
  if (!done) rewrite_ = nullptr;
  return done;
}

// The new file in the old one's place. At each moment one of the two is there, whole: the old one's WAL is empty from
// the first step on.
result<void> sqlite_database::take_rewritten() {
  auto before = newest_;
  int code = sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  if (code != SQLITE_OK) return fail(failure(code, "checkpoint"));
  auto fresh = options_.path + "-rewrite";
  struct stat old_file{};
  if (::stat(options_.path.c_str(), &old_file) == 0) {
    (void)::chmod(fresh.c_str(), old_file.st_mode & 07777);
    (void)!::chown(fresh.c_str(), old_file.st_uid, old_file.st_gid);
  }
  // Whoever waits for the old file's lock has it open. When it is let go of it must be no database any more.
  int old = ::open(options_.path.c_str(), O_WRONLY | O_CLOEXEC);
  bool moved = old >= 0 && ::rename(fresh.c_str(), options_.path.c_str()) == 0;
  int number = errno;
  if (moved) {
    const char nothing[16] = {};
    (void)!::pwrite(old, nothing, sizeof nothing, 0);
    sync_folder(options_.path);
  }
  disconnect();
  if (old >= 0) ::close(old);
  if (moved) ::unlink((options_.path + "-wal").c_str());
  KEDGE_CHECK(reopen());
  if (!moved) return fail(os_error(number, "rename to " + options_.path));
  if (newest_ != before)
    return fail(errc::corrupt,
                fmt::format("rewrite {}: its newest revision is {}, not {}", options_.path, newest_, before));
  return {};
}

void sqlite_database::release_cache() noexcept { ::sqlite3_db_release_memory(db_); }

void sqlite_database::checkpoint_beyond(std::size_t bytes) {
  if (!db_ || wal_bytes_ <= bytes) return;
  int frames = 0, moved = 0;
  int code = sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_PASSIVE, &frames, &moved);
  if (code != SQLITE_OK) kedge::log::warning("{}", failure(code, "checkpoint").message);
  // Also after a failure: the next group's hook says how large it is; no retry before that.
  wal_bytes_ = 0;
}

void sqlite_database::roll_back() noexcept {
  if (db_ && !sqlite3_get_autocommit(db_)) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
}

result<void> sqlite_database::reopen() {
  disconnect();
  auto done = [this]() -> result<void> {
    KEDGE_CHECK(connect());
    return began_ ? begin() : result<void>();
  }();
  if (!done) disconnect();
  return done;
}

result<void> sqlite_database::write_mark(std::string_view state) {
  return write_durably(mark_path(), fmt::format("{} {} {}\n", state, options_.boot_id,
                                                options_.durability == sqlite_durability::full ? "full" : "normal"));
}

result<void> sqlite_database::close_cleanly() {
  if (!db_) return {};
  result<void> done;
  if (began_) {
    int code = sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
    if (code != SQLITE_OK)
      done = fail(failure(code, "checkpoint"));
    else
      sqlite3_db_config(db_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, nullptr);  // lets SQLite remove the empty WAL
  } else if (struct stat wal; ::stat((options_.path + "-wal").c_str(), &wal) == 0 && wal.st_size == 0) {
    sqlite3_db_config(db_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, nullptr);  // the same: who only looked leaves none
  }
  // Before the file is let go of: the mark is the next server's from then on.
  if (began_ && done) done = write_mark("stopped");
  disconnect();
  return done;
}

}  // namespace kedge::datastore
