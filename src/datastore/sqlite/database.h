// database.h: one SQLite file in kine's schema, and what is done with it. Blocking: used by one thread at a time, the
// writer thread of sqlite_log.h.
//
// Table `kine` (facts: kine's contract): a row is a change, its id the revision. Rows are immutable, except
// compact_rev_key, whose prev_revision is the compact revision. A file that we create gets only the two indexes that we
// use; kine adds its own when it opens the file. A K3s file keeps what it has.
//
// Beside it lies `<path>-kedge`, one line: `running|stopped <boot id> normal|full`. "running" from another boot with
// "normal" means that the machine went down under an open file, and revisions that were given out may be gone from it.
#pragma once

#include <chrono>
#include <span>
#include <string>

#include "datastore/log.h"
#include "datastore/sqlite/rewrite.h"

struct sqlite3;
struct sqlite3_stmt;

namespace kedge::datastore {

enum class sqlite_durability : unsigned char {
  normal,  // WAL + synchronous=NORMAL, as K3s: survives the end of the process; power loss may take back the last
           // seconds
  full,    // one fsync a commit: survives power loss
};

struct sqlite_options {
  std::string path;  // its folder must exist
  sqlite_durability durability = sqlite_durability::normal;
  std::chrono::milliseconds lock_wait{30'000};  // for a file that another process holds
  std::string boot_id = {};                     // "": the kernel's; tests play a crash of the machine with it
  bool makes_database = true;                   // false: one that isn't there is an error
};

class sqlite_database {
 public:
  explicit sqlite_database(sqlite_options options);
  sqlite_database(const sqlite_database&) = delete;
  sqlite_database& operator=(const sqlite_database&) = delete;
  ~sqlite_database();  // closes without a checkpoint or a mark, as a crash would

  // Locks and looks: schema, newest revision. Changes nothing.
  result<void> open();
  result<page> load(revision after);
  result<page> load_live(revision after);
  result<past_page> past(const past_question& q);
  // WAL, schema, first rows, the mark beside the file, the jump after a crash of the machine.
  result<void> begin();
  // All operations of all batches in one transaction, in order.
  result<std::vector<appended>> append(std::span<const batch> group);
  // Looks at up to compaction_step_rows rows above `from` and forgets what they supersede; gives how far it came, at
  // most `to`, and moves compact_rev_key there.
  result<revision> compact_step(revision from, revision to);
  // After a restore, or another loss of what was seen up to `seen`.
  result<void> pass_over(revision seen);
  // What the file takes, and how much of it is free.
  result<space> occupied();
  // Whether free pages can be given back; files of K3s's making can't, and are rewritten instead.
  bool gives_back() const noexcept { return gives_back_; }
  // Gives back a step of the free pages; how many. The file itself is shorter after a checkpoint.
  result<std::uint64_t> give_back();
  // Copies a step of the file into a new one, which takes its place at the last: true. Nothing may be compacted
  // meanwhile. errc::unsupported: this file can't be rewritten. After any error it begins anew.
  result<bool> rewrite();
  // Moves the WAL into the file when it is larger than `bytes`.
  void checkpoint_beyond(std::size_t bytes);
  // Gives the memory of its pages back.
  void release_cache() noexcept;
  // Empties the WAL, marks the clean stop, closes.
  result<void> close_cleanly();

  revision newest() const noexcept { return newest_; }
  revision compacted() const noexcept { return compacted_; }
  bool is_open() const noexcept { return db_ != nullptr; }
  // After an error that leaves the state of the connection or of the kernel's cache in doubt: closes, opens, reads
  // again.
  result<void> reopen();

 private:
  result<void> connect();
  result<void> run(const char* sql);
  result<sqlite3_stmt*> prepare(const char* sql);
  result<void> prepare_load();
  result<void> prepare_all();
  result<void> inspect_schema();
  result<std::int64_t> ask(const char* sql);  // a number
  result<void> take_rewritten();
  result<void> read_revisions();
  result<void> first_rows();
  result<void> jump_above(revision seen);
  result<std::vector<bool>> barred(std::span<const operation> ops);
  result<void> insert(const operation& op, outcome& out);
  struct standing {
    revision at = 0;  // the newest row of the name, 0 without one
    bool live = false;
  };
  result<standing> find_head(std::string_view name);
  void disconnect() noexcept;
  void roll_back() noexcept;
  // The last error of the connection in words, with the file and what to do.
  error failure(int code, std::string_view doing) const;
  std::string mark_path() const { return options_.path + "-kedge"; }
  result<void> write_mark(std::string_view state);

  sqlite_options options_;
  sqlite3* db_ = nullptr;
  bool has_table_ = false;
  bool began_ = false;
  bool gives_back_ = false;
  std::unique_ptr<sqlite_rewrite> rewrite_;
  revision newest_ = 0, compacted_ = 0;
  std::size_t wal_bytes_ = 0;
  sqlite3_stmt *begin_ = nullptr, *commit_ = nullptr, *head_ = nullptr, *insert_ = nullptr, *load_ = nullptr,
               *past_ = nullptr;
  // While load_live() goes over them: the newest row of each name, those given already in front of next_live_.
  std::vector<revision> live_;
  std::size_t next_live_ = 0;
};

}  // namespace kedge::datastore
