// rewrite.h: kine's table copied from one SQLite file into a new one, in steps, while the old one goes on being written
// to.
//
// SQLite gives free pages back in steps only where the file was made for it (auto_vacuum = INCREMENTAL); K3s's files
// were not, and changing that is a VACUUM: the whole file in one go. Rows are immutable and their ids grow, so a copy
// by ids that ends with the newest one is whole, as long as nothing is compacted meanwhile; what changes in place is
// one row, the compact revision.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/error.h"

struct sqlite3;

namespace kedge::datastore {

class sqlite_rewrite {
 public:
  // `from` is open, and stays so. errc::unsupported: the file has more in it than kine's table. The copy is at `path`,
  // and goes with this unless finish() was called.
  static result<std::unique_ptr<sqlite_rewrite>> begin(sqlite3* from, std::string path);
  sqlite_rewrite(const sqlite_rewrite&) = delete;
  ~sqlite_rewrite();

  // Copies some rows: some milliseconds. True when the newest is there.
  result<bool> step();
  // After that, and with nothing written since: the rest, and all of it on disk. The file is the caller's then.
  result<void> finish();

 private:
  sqlite_rewrite(sqlite3* from, std::string path) : from_(from), path_(std::move(path)) {}
  result<void> make();
  result<void> run(const char* sql);
  error failure(sqlite3* which, std::string_view doing) const;
  void close() noexcept;

  sqlite3* from_;
  sqlite3* to_ = nullptr;
  std::string path_;
  std::int64_t last_ = INT64_MIN;  // the newest row that was copied
  bool finished_ = false;
};

}  // namespace kedge::datastore
