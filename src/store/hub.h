// hub.h: what one core knows of the store: its newest snapshot, the recent events, and its watchers.
//
//   owner core ── applied batch (events, snapshot: immutable, the same for all) ──▶ hub of each core
//                                                     │
//        history: batches of the last minutes ◀───────┤ watch(from), exactly(at)
//        groups: one for each watched prefix ◀────────┘ an event is hashed once, for all lengths of prefixes in use
//           └─ events that its slowest watcher hasn't taken, shared by all its watchers; each of them is a position in
//           it
//
// An idle watcher is its own object and a place in its group's list: it has no queue. Invariant: a watcher's position
// lies within its group's events, or the watcher was too slow and is ended.
#pragma once

#include <array>
#include <deque>
#include <optional>
#include <unordered_map>

#include "reactor/sync.h"
#include "store/snapshot.h"

namespace kedge::store {

// What one commit changed. Made by the owner core, shared by all. The history keeps it for minutes; the state after it
// goes beside: a snapshot keeps the tree's nodes on the way to each change, which is more than the objects themselves.
struct applied_batch {
  std::vector<event_ref> events;  // may be empty: revisions without an object
  revision at = 0;
  time_point when{};
  std::size_t bytes = 0;  // of versions that the history alone keeps alive
};
using applied_ref = std::shared_ptr<const applied_batch>;
struct applied {
  applied_ref batch;  // null: nothing was applied
  snapshot after;
};

struct history_limits {
  duration age;
  std::size_t events, bytes;
};

class hub : public std::enable_shared_from_this<hub> {
 public:
  hub(std::uint64_t seed, history_limits limits) noexcept : seed_(seed), limits_(limits) {}
  ~hub();

  // Before the first publish: the state that the server starts with, and since when the history is complete.
  void start(snapshot s, revision floor);
  void publish(applied a);
  // Forgets what is too old.
  void trim(time_point now);
  // Ends every watcher, now and later.
  void end_watches();
  // That, and reading and writing too.
  void stop();

  const snapshot& current() const noexcept { return current_; }
  // The oldest revision that watch() and exactly() know.
  revision floor() const noexcept { return floor_; }
  bool stopped() const noexcept { return stopped_; }
  // Pulsed by every publish() and by stop().
  reactor::event& advanced() noexcept { return advanced_; }
  std::optional<error> failing;     // why writes fail now
  std::optional<error> incomplete;  // which value can't be opened

  result<std::unique_ptr<watcher>> watch(std::string prefix, revision from);
  // floor() <= at <= current().at()
  snapshot exactly(revision at);
  // The event of a revision in the history; null when there is none.
  event_ref find_event(revision at) const;

  std::size_t watchers() const noexcept { return watchers_; }
  std::size_t history_events() const noexcept { return events_; }

 private:
  class prefix_watcher;
  struct group {
    std::string prefix;
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
  };
  struct kept {
    applied_ref batch;
    snapshot anchor;  // the state after the batch, for some of them
  };
  std::uint64_t hash_step(std::uint64_t h, unsigned char c) const noexcept;
  group& join(std::string prefix);
  void leave(group& g, bool at_end);
  void dispatch(const event_ref& e);
  void drop_oldest();

  const std::uint64_t seed_;
  const history_limits limits_;
  snapshot current_;
  revision floor_ = 0;
  bool stopped_ = false, watches_ended_ = false;
  reactor::event advanced_;
  std::deque<kept> history_;
  std::size_t events_ = 0, bytes_ = 0, since_anchor_ = 0;
  std::deque<snapshot> exact_;

  std::unordered_map<std::uint64_t, std::unique_ptr<group>> groups_;
  std::vector<std::uint32_t> lengths_;  // how many groups have a prefix of this length
  std::size_t watchers_ = 0;
};

}  // namespace kedge::store
