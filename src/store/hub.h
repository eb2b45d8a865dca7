// hub.h: what one core knows of the store: its newest snapshot, the recent events, and its watchers.
//
//   owner core ── applied batch (events, snapshot: immutable, the same for all) ──▶ hub of each core
//                                                     │
//        history (history.h) ◀────────────────────────┤ watch(from), exactly(at); before it begins, the log: past
//        groups: one for each watched scope ◀─────────┘ a key is hashed once, for all lengths of prefixes in use and
//        for itself;
//           │                                            what indexes have an event under was hashed by the owner core
//           └─ events that its slowest watcher hasn't taken, shared by all its watchers; each of them is a position in
//           it
//
// A watcher reads the past until it has reached the present, then joins its group. An idle watcher is its own object
// and a place in its group's list: it has no queue. Invariant: a member's position lies within its group's events, or
// it was too slow and is ended.
#pragma once

#include <deque>
#include <optional>
#include <unordered_map>

#include "reactor/sync.h"
#include "store/history.h"
#include "store/snapshot.h"

namespace kedge::store {

// What one commit changed. Made by the owner core, shared by all. The state after it goes beside: a snapshot keeps the
// tree's nodes on the way to each change, which is more than the objects themselves.
struct applied_batch {
  std::vector<event_ref> events;  // may be empty: revisions without an object
  revision at = 0;
  time_point when{};
};
using applied_ref = std::shared_ptr<const applied_batch>;
struct applied {
  applied_ref batch;  // null: nothing was applied
  snapshot after;
};

// A piece of the past from the log: its events of a prefix, and up to where they are all there.
struct stretch {
  std::vector<event_ref> events;
  revision at = 0;
};
using stretch_ref = std::shared_ptr<const stretch>;

class hub : public std::enable_shared_from_this<hub> {
 public:
  hub(std::uint64_t seed, history_limits limits) noexcept
      : seed_(seed), history_bytes_(limits.bytes), history_(limits) {}
  ~hub();

  // Before the first publish: the state that the server starts with.
  void start(snapshot s);
  void publish(applied a);
  // Forgets what is too old.
  void trim(time_point now);
  // Ends every watcher, now and later.
  void end_watches();
  // That, and reading and writing too.
  void stop();

  const snapshot& current() const noexcept { return current_; }
  bool stopped() const noexcept { return stopped_; }
  // Pulsed by every publish() and by stop().
  reactor::event& advanced() noexcept { return advanced_; }
  std::optional<error> failing;     // why writes fail now
  std::optional<error> incomplete;  // which value can't be opened
  // What the log has forgotten, as far as is known here.
  revision compacted = 0;
  // The past from the log: the events of a prefix in (after, upto], or a part of them from `after` on. errc::expired:
  // compacted.
  std::function<task<result<stretch_ref>>(std::string prefix, revision after, revision upto)> past;

  result<std::unique_ptr<watcher>> watch(watch_scope scope, revision from);
  // The state of the keys with this prefix at `at` <= current().at(). errc::expired when the history doesn't reach back
  // that far.
  task<result<snapshot>> exactly(revision at, std::string prefix);
  // Kept for exactly(): the state of those keys at its revision. `replaced`: bytes of what was replaced since.
  void keep(snapshot s, std::string prefix, std::uint64_t replaced);
  const history& recent() const noexcept { return history_; }

  std::size_t watchers() const noexcept { return watchers_; }

 private:
  class group_watcher;
  struct group {
    watch_scope scope;
    std::uint64_t hash = 0;
    // A vector with a gap in front rather than a deque, which costs half a kilobyte while it is empty.
    std::vector<event_ref> events;
    std::size_t gap = 0;
    std::uint64_t base = 0;  // position of the first event
    std::size_t bytes = 0;
    std::size_t members = 0, at_end = 0;
    reactor::list<reactor::waiter> waiting;
    std::unique_ptr<group> next;  // the next with the same hash
    std::size_t size() const noexcept { return events.size() - gap; }
    std::uint64_t end() const noexcept { return base + size(); }
    const event_ref& at(std::uint64_t position) const noexcept { return events[gap + (position - base)]; }
    void clear() noexcept;
    void drop_first();
    void add(const event_ref& e);
  };
  struct kept_state {
    snapshot state;
    std::string prefix;      // what of it is the state at its revision
    std::uint64_t replaced;  // history_.replaced_bytes() at that revision
    time_point used;
  };
  const index_list::item* find_index(std::string_view name) const;  // null: it isn't there
  std::uint64_t hash_of(const watch_scope& scope) const;
  // The groups of one kind only: how many they are, so that the others' events need not be hashed for them.
  std::uint32_t& population(const watch_scope& scope);
  group& join(const watch_scope& scope);
  void leave(group& g, bool at_end);
  void dispatch(const event_ref& e);
  // The nearest state that is kept, at `at` or later.
  const kept_state* nearest(revision at, std::string_view prefix) const;

  const std::uint64_t seed_;
  const std::size_t history_bytes_;
  snapshot current_;
  bool stopped_ = false, watches_ended_ = false;
  reactor::event advanced_;
  history history_;
  std::deque<kept_state> kept_;    // the one that wasn't used for longest first
  reactor::semaphore undoing_{1};  // one at a time: the second one likely finds what the first has made

  std::unordered_map<std::uint64_t, std::unique_ptr<group>> groups_;
  std::vector<std::uint32_t> lengths_;  // how many groups have a prefix of this length
  std::uint32_t singles_ = 0, indexed_ = 0;
  std::size_t watchers_ = 0;
};

}  // namespace kedge::store
