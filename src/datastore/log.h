// log.h: what the store needs of a database: an append-only log of changes with one number (the revision) for each.
//
//   open() ─▶ load_live(0), load_live(n) … until done ─▶ begin() ─▶ load(n) ─▶ append(batch) … tail(n) … current() …
//   compact(n) ─▶ close()
//     looks, touches nothing                    may write    what begin wrote
//
// One core owns a log and is the only one to call it; a log is bound to the loop that open() was called on. Dropping a
// task abandons the answer, not the work.
//
// Invariants: revisions only grow; load, tail and `others` give entries in revision order, without one missing between;
// an outcome is given only after its commit is durable as far as the database was configured to promise.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "reactor/sync.h"

namespace kedge::datastore {

using revision = std::uint64_t;

enum class change : unsigned char { create, update, remove };

// The name under which tell_loss() says, as digits, up to which revision a server had seen writes that were lost.
inline constexpr std::string_view loss_name = "/kedge/lost-history";

// A condition on another name, checked in the same atomic step: the version that stands is `expected`; 0: none does.
struct guard {
  std::string name;
  revision expected = 0;
};

// What is to be written. The caller has checked it against all it knows; the log checks it again where others write
// too.
struct operation {
  change kind = change::create;
  std::string name;
  std::string value;                // as stored; empty for remove
  revision expected = 0;            // update, remove: the revision that it replaces; create: 0, the name must not exist
  revision created = 0;             // update: the revision that created the object
  std::uint32_t lease_seconds = 0;  // 0: lives until it is removed
  std::vector<guard> guards = {};   // it lands only while all of them hold
};
// Shared with a writer thread, so nobody changes it any more. At most one operation on a name, and none on a name that
// another operation guards: the guards of a batch are checked before anything of it is written.
using batch = std::shared_ptr<const std::vector<operation>>;

// What was written, by anybody. Several entries may share a revision (etcd transactions); they come in one page.
struct entry {
  revision at = 0;
  change kind = change::create;
  std::string name;
  std::string value;      // as stored; for remove empty, whatever the row holds
  revision previous = 0;  // the revision that it replaced, 0 without one
  revision created = 0;   // the revision that created the object; for create == at
  std::uint32_t lease_seconds = 0;
};

struct outcome {
  enum class status : unsigned char {
    committed,     // `at` is its revision
    conflict,      // did not land; `at` is the revision that stands instead, 0 when the name doesn't exist or that is
                   // unknown
    guard_failed,  // did not land, because one of its guards doesn't hold
    refused,       // did not land: appended::refused says why
  };
  status what = status::committed;
  revision at = 0;
};

struct appended {
  std::vector<outcome> outcomes;  // one for each operation, in order
  // What lies before these and was not given yet: all of it where shared(), so that the caller has no gap below its
  // own. May hold these operations' own entries too, where they are not in one piece.
  std::vector<entry> others;
  // Landed, and to be applied, but not as safe as was asked for (no replica has it): what the writers are told.
  std::optional<error> unsafe;
  // Why the operations did not land that the database has refused by themselves.
  std::optional<error> refused = {};
};

struct page {
  std::vector<entry> entries;  // may be empty while done is false (rows that are no entries)
  revision at = 0;             // everything up to here has been given
  revision compacted = 0;      // changes up to here may be missing (what exists is not)
  bool done = true;            // nothing more now
};

// A question about the past: the changes in (after, upto] of names that begin with `prefix`.
struct past_question {
  revision after = 0, upto = 0;
  std::string prefix;
  // Only changes that replaced this revision or an older one, or nothing: of each name the first since that revision,
  // and perhaps later ones that made it anew. They come without their own values.
  revision replaced_max = UINT64_MAX;
};
struct past_change {
  entry what;
  std::optional<std::string> replaced;  // the value that it replaced, as stored; nullopt: nothing stood before
};
struct past_page {
  std::vector<past_change> changes;
  revision at = 0;  // everything up to here has been given; more than `after`
};

// What a database takes on disk, and how much of that holds nothing.
struct space {
  std::uint64_t bytes = 0, free = 0;
};

class log {
 public:
  virtual ~log() = default;

  // Connects and looks, without changing anything. Errors name the database and what to do about it: errc::unavailable
  // (held by another process, away), errc::corrupt, errc::forbidden, errc::unsupported.
  virtual task<result<void>> open() = 0;
  // Everything that exists and every change after `page::compacted`, above `after`.
  virtual task<result<page>> load(revision after) = 0;
  // The same for a start, where only what exists is wanted: what was replaced or removed since may be left out.
  virtual task<result<page>> load_live(revision after) { return load(after); }
  // From here on the log may write: schema, marks, what a new database begins with.
  virtual task<result<void>> begin() = 0;

  // One commit for all of them, or (where in_one_piece() is false) one for each, in any order. An error is for all of
  // them and says that none landed, except errc::unknown_outcome: then load(applied) tells, once it works again. May be
  // called again before the first has answered; answers come in the order of the calls.
  virtual task<result<appended>> append(batch ops) = 0;
  // Waits for entries above `after`, by anybody, until `deadline`. Never gives anything where shared() is false, and
  // goes on waiting while the database is away. errc::expired: what follows `after` is compacted, so load(0) and
  // compare; errc::corrupt: the database has another history than this server.
  virtual task<result<page>> tail(revision after, time_point deadline) = 0;
  // What was, a step of bounded work at a time: as much of the answer as that gives, from its beginning. All up to
  // `upto` must have been given to the caller before. errc::expired: changes above `after` have been compacted.
  virtual task<result<past_page>> past(past_question q) = 0;
  // The newest revision, asked after the call came (linearizable).
  virtual task<result<revision>> current() = 0;
  // Forgets the history up to `to` in steps that let appends through.
  virtual task<result<void>> compact(revision to) = 0;
  // Gives all space that holds nothing back to the file system, in steps that let appends through. A log does so by
  // itself, as far as it is worth it; nothing where the database does.
  virtual task<result<void>> give_back() { co_return result<void>(); }
  // As last looked at; nullopt where the log doesn't know.
  virtual std::optional<space> occupied() const { return std::nullopt; }
  // History from there on is kept, also by a log that compacts by itself; 0: as it likes.
  virtual void hold(revision from) { (void)from; }
  // For a server that has found its history lost (errc::corrupt), when nothing else works any more: tells the others,
  // who may not have seen as much, by an entry under loss_name. Nothing where one says as much already.
  virtual task<result<void>> tell_loss(revision seen) {
    (void)seen;
    co_return result<void>();
  }
  // After begin(), for a database that has lost writes which were seen up to `seen`: the next revision is far above
  // that and above all that is there, and everything before counts as compacted, so that no revision is given twice and
  // who holds an old one is told. Nothing where that was done already.
  virtual task<result<void>> pass_over(revision seen) = 0;
  // After what has been appended. Nothing may be called after it.
  virtual task<void> close() = 0;

  // Whether others may write to the same database.
  virtual bool shared() const noexcept = 0;
  // Whether what a batch writes lies next to each other, in its order.
  virtual bool in_one_piece() const noexcept { return true; }
  // Whether appends work as far as is known; the reason when not.
  virtual result<void> healthy() const = 0;
  // For people: "SQLite /var/lib/…/state.db".
  virtual std::string description() const = 0;
};

}  // namespace kedge::datastore
