// store.h: all objects of the cluster in memory, and how they are read, written and watched.
//
//   writer (any core) ─▶ owner core ─▶ datastore log (one commit for all that waits) ─▶ apply in revision order
//                                                                                          │ new snapshot + events
//                          readers, watchers (every core) ◀── the same immutable snapshot ◀┘
//
// An object's `bytes` are its JSON as a client gets it: compact, `kind` and `apiVersion` first, then `metadata` whose
// first member is resourceVersion (spliced in when the revision is known; the log's value is the same text without it).
// GET writes these bytes; LIST gathers them; a watch event is serialised once for all its watchers.
//
// Invariants: nothing is visible or acknowledged before its commit is confirmed; snapshots and objects are immutable;
// revisions only grow; a watcher sees every event of its scope after its start, once, in order, or is told that it
// can't.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "reactor/sync.h"
#include "store/index.h"

namespace kedge::store {

using revision = std::uint64_t;

// One stored version of one object. One allocation; reference counted across cores; immutable.
class object {
 public:
  std::string_view key() const noexcept;    // "/registry/configmaps/default/a"
  std::string_view bytes() const noexcept;  // JSON with resourceVersion; for keys outside of /registry/ the raw value
  revision mod() const noexcept;            // the revision that wrote this version
  revision created() const noexcept;        // the revision that created the object
  std::uint32_t lease_seconds() const noexcept;  // 0: none
  // Where `"labels":{…}`'s object text stands in bytes(); empty without labels. Cheap label selectors.
  std::string_view labels_text() const noexcept;
  // bytes() without the leading kind and apiVersion members, for list items of built-in kinds: "{" + items_tail().
  std::string_view item_tail() const noexcept;

 private:
  friend class object_ref;
  friend struct object_access;
  object() = default;
  mutable std::atomic<std::uint32_t> references_{1};
  std::uint32_t key_size_ = 0, bytes_size_ = 0, labels_at_ = 0, labels_size_ = 0, tail_at_ = 0, lease_ = 0;
  revision mod_ = 0, created_ = 0;
  // key and bytes follow in the same allocation
};

class object_ref {
 public:
  object_ref() noexcept = default;
  object_ref(const object_ref& o) noexcept;
  object_ref(object_ref&& o) noexcept : object_(std::exchange(o.object_, nullptr)) {}
  object_ref& operator=(object_ref o) noexcept {
    std::swap(object_, o.object_);
    return *this;
  }
  ~object_ref();
  explicit operator bool() const noexcept { return object_ != nullptr; }
  const object& operator*() const noexcept { return *object_; }
  const object* operator->() const noexcept { return object_; }

 private:
  friend struct object_access;
  const object* object_ = nullptr;
};

// The cluster at one revision. Cheap to copy; safe to hold on every core for as long as wanted.
class snapshot {
 public:
  revision at() const noexcept;
  object_ref find(std::string_view key) const;
  // How many objects have keys that begin with `prefix`, and how many of them are >= `start`: O(log n).
  std::size_t count(std::string_view prefix) const;
  std::size_t count_from(std::string_view prefix, std::string_view start) const;
  // Objects whose key begins with `prefix` and is >= `start` ("" = from the first), in key order, until `visit` returns
  // false.
  void scan(std::string_view prefix, std::string_view start, const std::function<bool(const object_ref&)>& visit) const;

  // Whether there is an index (index.h) of this name. Those that the store was opened with are always there, others as
  // long as add_index() and remove_index() say.
  bool has_index(std::string_view name) const noexcept;
  // Of the objects whose key begins with `prefix` and is >= `start` ("" = all) those that the index has under `value`,
  // in key order, until `visit` returns false. The index must be there.
  void scan(std::string_view index, std::string_view value, std::string_view prefix, std::string_view start,
            const std::function<bool(const object_ref&)>& visit) const;
  // How many objects the index has under the value: O(log n). The index must be there.
  std::size_t count(std::string_view index, std::string_view value) const;

 private:
  friend class store_access;
  struct state;
  std::shared_ptr<const state> state_;
};

enum class event_type : unsigned char { added, modified, deleted };

// One change. Shared by all watchers of all cores.
struct event {
  event_type type;
  revision at;          // the revision of the change
  object_ref object;    // the new version; for deleted: the last version with resourceVersion = at
  object_ref previous;  // what it replaced; null for added
  // The store's own: how much of the key names the resource; hashes of the indexes' values, before or after.
  std::uint32_t resource_size = 0;
  std::vector<std::uint64_t> found_by = {};
};
using event_ref = std::shared_ptr<const event>;

// The version with another resourceVersion: as the end of a selection shows what it no longer selects.
object_ref with_revision(const object& o, revision shown);
// The same object, at the same revision, as another text tells it (without a resourceVersion): in another version.
object_ref with_text(const object& o, std::string_view text);

// What a watch is about. It is woken by nothing else, however many there are.
struct watch_scope {
  std::string prefix;  // of the keys
  bool one = false;    // only the object with this very key
  // Not empty: only objects that this index has under `value`, before or after the change. Others may come along (a
  // value with the same hash, or all when the index has gone), so who watches judges by the text.
  std::string index = {};
  std::string value = {};
  friend bool operator==(const watch_scope&, const watch_scope&) = default;
};

// A watch on one scope from one core. What waits for it is bounded: who doesn't keep up is ended with errc::expired.
// Used and dropped on the core that asked for it, before the store is.
class watcher {
 public:
  virtual ~watcher() = default;
  // The next events, at least one, in order; many when many are waiting. errc::expired: the start is no longer in the
  // log, or this watcher was too slow; errc::unavailable: the store stops, or the database is away.
  virtual task<result<std::vector<event_ref>>> next() = 0;
  // Up to which revision everything of this scope has been given out by next() (for bookmarks).
  virtual revision seen() const noexcept = 0;
};

enum class write_kind : unsigned char { create, update, remove };

// A condition on another key: the version that stands is `expected`; 0: none does.
struct guard {
  std::string key;
  revision expected = 0;
};

struct mutation {
  write_kind kind;
  std::string key;
  std::string value;                // create, update: JSON without resourceVersion, canonical member order (see above)
  revision expected = 0;            // update, remove: the version it replaces; 0 for remove: whatever is there
  std::uint32_t lease_seconds = 0;  // time to live (events); 0: none
  // It is written only while all of them hold, whoever else writes: checked in the commit itself. errc::conflict
  // otherwise.
  std::vector<guard> guards = {};
};

struct commit {
  revision at = 0;    // the write's revision
  object_ref object;  // create, update: as stored; remove: the removed version with resourceVersion = at
};

// errc::already_exists (create), errc::not_found, errc::conflict (another version stands; read again), errc::exhausted
// (disk full), errc::unavailable (datastore away), errc::unknown_outcome (may have landed).
class store {
 public:
  virtual ~store() = default;
  // From any core. What every reader of this core may see now: committed, complete, at most one mailbox hop old.
  virtual snapshot current() const = 0;
  // A snapshot that has everything acknowledged by any server before the call (linearizable; coalesced).
  virtual task<result<snapshot>> latest() = 0;
  // A snapshot at `at` or later; errc::timeout when it doesn't come before the deadline.
  virtual task<result<snapshot>> at_least(revision at, time_point deadline) = 0;
  // The state at exactly `at` of the keys that begin with `prefix`, of one resource; of other keys it may show a later
  // one. What is no longer in memory is read from the log. errc::expired when it was replaced longer ago than the
  // history's age, or compacted; errc::timeout when in the future.
  virtual task<result<snapshot>> exactly(revision at, std::string prefix, time_point deadline) = 0;
  // Asks to have the snapshot at hand for exactly(): somebody was told its revision, and will come back with it.
  virtual void keep(const snapshot& s) = 0;

  virtual task<result<commit>> write(mutation m) = 0;

  // Events of the scope after `from` (0: from now on). What is no longer in memory is read from the log. errc::expired,
  // here or from the watcher, when the log has forgotten them.
  virtual result<std::unique_ptr<watcher>> watch(watch_scope scope, revision from) = 0;
  result<std::unique_ptr<watcher>> watch(std::string prefix, revision from) {
    return watch(watch_scope{std::move(prefix)}, from);
  }

  // From any core. It is there (has_index) some time later, when all objects have been looked at. One of the same name
  // stays.
  virtual void add_index(index what) = 0;
  // And this takes it out again, if it is there. Watches by it must have ended.
  virtual void remove_index(std::string name) = 0;

  // Whether writes and linearizable reads work now; the reason when not (for readyz).
  virtual result<void> healthy() const = 0;
  // Whether every sealed value could be opened: who can't shows less than there is. The reason names one (for readyz).
  virtual result<void> complete() const = 0;

  // On the owner core: next() of every watcher fails with errc::unavailable from now on, while all else goes on. For a
  // server that ends: its clients watch elsewhere.
  virtual void end_watches() = 0;
  // On the owner core: ends the watches, writes what waits, closes the log. Nothing may be asked of the store after it.
  virtual task<void> close() = 0;
};

}  // namespace kedge::store
