#include "datastore/sqlite/rewrite.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <unistd.h>

#include "datastore/limits.h"
#include "datastore/sqlite/statement.h"

namespace kedge::datastore {

namespace {

constexpr int columns = 9;

}  // namespace

error sqlite_rewrite::failure(sqlite3* which, std::string_view doing) const {
  auto code = sqlite3_errcode(which) & 0xff;
  return {code == SQLITE_FULL      ? errc::exhausted
          : code == SQLITE_CORRUPT ? errc::corrupt
                                   : errc::io,
          fmt::format("{} {}: {}", doing, which == to_ ? path_ : "the database", sqlite3_errmsg(which))};
}

result<void> sqlite_rewrite::run(const char* sql) {
  if (sqlite3_exec(to_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return fail(failure(to_, "write to"));
  return {};
}

result<std::unique_ptr<sqlite_rewrite>> sqlite_rewrite::begin(sqlite3* from, std::string path) {
  std::unique_ptr<sqlite_rewrite> out(new sqlite_rewrite(from, std::move(path)));
  KEDGE_CHECK(out->make());
  return out;
}

sqlite_rewrite::~sqlite_rewrite() {
  close();
  if (!finished_) ::unlink(path_.c_str());
}

void sqlite_rewrite::close() noexcept {
  if (to_) sqlite3_close(to_);
  to_ = nullptr;
}

// The new file, with the old one's table and indexes.
result<void> sqlite_rewrite::make() {
  statement others(from_, "SELECT count(*) FROM sqlite_master WHERE tbl_name <> 'kine' AND name NOT LIKE 'sqlite_%'");
  if (!others || sqlite3_step(others) != SQLITE_ROW) return fail(failure(from_, "read"));
  if (sqlite3_column_int(others, 0) != 0) return fail(errc::unsupported, "it holds more than the table kine");
  ::unlink(path_.c_str());  // of one that was not finished
  if (sqlite3_open_v2(path_.c_str(), &to_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr) !=
      SQLITE_OK)
    return fail(failure(to_, "make"));
  // Until it is finished nobody needs it after a crash.
  KEDGE_CHECK(
      run("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = MEMORY; PRAGMA "
          "synchronous = OFF;"
          "PRAGMA temp_store = MEMORY; BEGIN"));
  statement schema(
      from_, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY type DESC");
  int code = SQLITE_ERROR;
  while (schema && (code = sqlite3_step(schema)) == SQLITE_ROW)
    KEDGE_CHECK(run(reinterpret_cast<const char*>(sqlite3_column_text(schema, 0))));
  if (code != SQLITE_DONE) return fail(failure(from_, "read"));
  return run("COMMIT");
}

result<bool> sqlite_rewrite::step() {
  statement rows(from_,
                 "SELECT id, name, created, deleted, create_revision, prev_revision, lease, value, old_value FROM kine "
                 "WHERE id > ?1 ORDER BY id LIMIT ?2");
  statement insert(
      to_,
      "INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease, value, old_value)"
      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
  if (!rows) return fail(failure(from_, "read"));
  if (!insert) return fail(failure(to_, "write to"));
  sqlite3_bind_int64(rows, 1, last_);
  sqlite3_bind_int64(rows, 2, static_cast<sqlite3_int64>(rewrite_step_rows));
  KEDGE_CHECK(run("BEGIN"));
  std::size_t bytes = 0, copied = 0;
  int code = SQLITE_ROW;
  while (bytes < rewrite_step_bytes && (code = sqlite3_step(rows)) == SQLITE_ROW) {
    for (int i = 0; i < columns; ++i) sqlite3_bind_value(insert, i + 1, sqlite3_column_value(rows, i));
    bytes += static_cast<std::size_t>(sqlite3_column_bytes(rows, 7) + sqlite3_column_bytes(rows, 8));
    if (sqlite3_step(insert) != SQLITE_DONE) return fail(failure(to_, "write to"));
    sqlite3_reset(insert);
    last_ = sqlite3_column_int64(rows, 0);
    ++copied;
  }
  if (code != SQLITE_ROW && code != SQLITE_DONE) return fail(failure(from_, "read"));
  KEDGE_CHECK(run("COMMIT"));
  return code == SQLITE_DONE && copied < rewrite_step_rows;
}

result<void> sqlite_rewrite::finish() {
  for (bool whole = false; !whole;) { KEDGE_TRY(whole, step()); }
  statement mark(from_, "SELECT id, prev_revision FROM kine WHERE name = 'compact_rev_key'");
  int code = SQLITE_ERROR;
  while (mark && (code = sqlite3_step(mark)) == SQLITE_ROW)
    KEDGE_CHECK(run(fmt::format("UPDATE kine SET prev_revision = {} WHERE id = {}", sqlite3_column_int64(mark, 1),
                                sqlite3_column_int64(mark, 0))
                        .c_str()));
  if (code != SQLITE_DONE) return fail(failure(from_, "read"));
  // The counter may be above the newest row.
  statement counter(from_, "SELECT seq FROM sqlite_sequence WHERE name = 'kine'");
  if (counter && sqlite3_step(counter) == SQLITE_ROW)
    KEDGE_CHECK(
        run(fmt::format("UPDATE sqlite_sequence SET seq = {} WHERE name = 'kine'", sqlite3_column_int64(counter, 0))
                .c_str()));
  close();
  int fd = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  bool durable = fd >= 0 && ::fsync(fd) == 0;
  int number = errno;
  if (fd >= 0) ::close(fd);
  if (!durable) return fail(os_error(number, "sync " + path_));
  finished_ = true;
  return {};
}

}  // namespace kedge::datastore
