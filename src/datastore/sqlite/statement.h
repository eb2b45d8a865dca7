// statement.h: a SQLite statement that is used once: finalised when it goes out of scope.
#pragma once

#include <sqlite3.h>

namespace kedge::datastore {

class statement {
 public:
  explicit statement(sqlite3_stmt* s) noexcept : s_(s) {}
  // False when it could not be prepared; the connection has the reason.
  statement(sqlite3* db, const char* sql) noexcept {
    if (sqlite3_prepare_v2(db, sql, -1, &s_, nullptr) != SQLITE_OK) s_ = nullptr;
  }
  statement(const statement&) = delete;
  statement& operator=(const statement&) = delete;
  ~statement() { sqlite3_finalize(s_); }
  operator sqlite3_stmt*() const noexcept { return s_; }

 private:
  sqlite3_stmt* s_ = nullptr;
};

}  // namespace kedge::datastore
