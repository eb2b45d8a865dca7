// kine_log.h: what the logs over kine's table in a shared database (PostgreSQL, MySQL) have in common: what its rows
// mean, that what is given out is contiguous, and what an append has done among the rows of others.
//
// Ids are drawn before a commit, so a row of another server's may become visible below one that was seen. A missing id
// is asked for again, and then the database is asked who may still commit it (look_into).
#pragma once

#include <set>
#include <string>
#include <vector>

#include "datastore/shared_log.h"

namespace kedge::datastore {

inline constexpr std::string_view compact_key = "compact_rev_key";

// A row of the table: an entry, unless it is the compaction's mark or something that nobody can have written.
struct kine_row {
  std::int64_t id = 0;
  std::optional<entry> what;
};
struct kine_columns {
  std::int64_t id, created, deleted, create_revision, prev_revision, lease;
  std::string_view name, value;
};
kine_row make_row(const kine_columns& c);

// Rows in order of their ids, with what was true in the same snapshot.
struct kine_news {
  revision newest = 0, compacted = 0;
  std::vector<kine_row> list;
};

class kine_log : public shared_log {
 protected:
  using shared_log::shared_log;

  // A gap that a reader stands before.
  struct gap {
    using names = std::set<std::string, std::less<>>;
    revision after = 0;                   // the first missing id is the next
    time_point told = time_point::max();  // when the log is told who is waited for
    // Where the database can tell who may still commit below `horizon`: those.
    std::optional<names> holders = {};
    revision horizon = 0;
  };

  // ---- what a database adds

  // The first rows above `after`, bounded. Errors are what they mean for the caller.
  virtual task<result<kine_news>> ask_news(revision after) = 0;
  // The same of one snapshot, which the question for 0 begins; `live` as load_live().
  virtual task<result<kine_news>> ask_snapshot(revision after, bool live) = 0;
  virtual void end_snapshot() = 0;
  // What `n` holds comes after the gap. Either finds out that nothing will fill it any more, and calls explain(); or
  // waits a little. The news are asked for again then.
  virtual task<result<void>> look_into(gap& g, const kine_news& n) = 0;

  void explain(revision horizon) { explained_ = std::max(explained_, horizon); }

  // ---- pages

  // The rows after `after` that follow each other without a gap; waits until a gap is explained. errc::expired when
  // they are gone.
  task<result<page>> read_from(revision after) final;
  task<result<page>> load_snapshot(revision after, bool live);
  bool in_snapshot(revision after) const { return after == 0 || after == snapshot_at_; }

  // ---- what an append has done

  struct known {
    revision at = 0;
    std::string name;  // empty: not an entry
    revision previous = 0;
    std::string value;
  };
  struct written {
    revision told = 0;  // the caller has everything up to there
    kine_news others;   // what lay above it, the beginning
    std::vector<outcome> outcomes;
    known newest;  // of what was written now; at 0 when nothing was
  };
  task<result<appended>> settle(written w);

  void know(revision at, const entry* e);
  revision known_at() const final { return known_.at; }

  // For past(): errc::expired where the beginning is compacted.
  static result<void> still_there(revision after, revision compacted);

  known known_;  // the newest row that was given out

 private:
  // Moves what follows `out.at` directly into `out`; false when rows are left behind a gap.
  bool take_contiguous(kine_news& n, page& out) const;

  revision explained_ = 0;  // what is missing up to here will never come
  revision snapshot_at_ = 0;
};

}  // namespace kedge::datastore
