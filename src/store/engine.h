// engine.h: the owner core's part of the store.
//
//   write() ─▶ submit: the key's newest applied state decides; a key with a write under way is waited for
//                │ queue (bounded)
//                ▼
//   commit_loop ─▶ batch ─▶ log.append ─▶ settle, in the order of the batches ─▶ apply ─▶ publish to every core ─▶
//   answers
//                                 │ unknown outcome
//                                 └─▶ recover: load what the log has, then each write is either there or not
//   follow_loop (shared logs) ─▶ tail ─▶ apply ─▶ publish      slept past a compaction ─▶ load all, compare
//   lease_loop ─▶ removes what has expired, guarded by its revision         compaction_loop ─▶ log.compact
//   past (past.h) ◀─ watches and lists of any core that began before the history in memory
//
// Invariant: one write on a key at a time, so memory decides conflicts; entries are applied in revision order; an
// answer leaves after its batch was published.
#pragma once

#include <atomic>
#include <deque>
#include <span>
#include <unordered_map>
#include <unordered_set>

#include "base/strings.h"
#include "reactor/cores.h"
#include "store/hub.h"
#include "store/indexed_tree.h"
#include "store/open.h"
#include "store/past.h"
#include "store/seen.h"
#include "store/settled.h"
#include "store/stored_values.h"
#include "store/text.h"

namespace kedge::store {

class engine final : public store {
 public:
  explicit engine(store_options options);
  ~engine() override;

  task<result<void>> start();
  // open.h
  std::optional<datastore::space> occupied() const { return options_.log->occupied(); }
  task<result<void>> compact();

  snapshot current() const override;
  task<result<snapshot>> latest() override;
  task<result<snapshot>> at_least(revision at, time_point deadline) override;
  task<result<snapshot>> exactly(revision at, std::string prefix, time_point deadline) override;
  void keep(const snapshot& s) override;
  task<result<commit>> write(mutation m) override;
  using store::watch;
  result<std::unique_ptr<watcher>> watch(watch_scope scope, revision from) override;
  void add_index(index what) override;
  void remove_index(std::string name) override;
  result<void> healthy() const override;
  result<void> complete() const override;
  void end_watches() override;
  task<void> close() override;

 private:
  // A write on its way. Shared by the one who asked (who may go) and the batch.
  struct pending {
    mutation what;
    std::string plain;  // the value, when `what.value` was sealed
    std::vector<guard> seal_guards;
    bool seal_stale = false;            // it did not land because of these
    std::optional<text_layout> layout;  // of the value
    revision created = 0;               // update: of the object it replaces
    std::optional<result<commit>> answer;
    reactor::event done;
  };
  using pending_ref = std::shared_ptr<pending>;
  // A change about to be applied: its value already plain.
  struct applied_entry {
    revision at;
    datastore::change kind;
    std::string_view key, text;
    revision created;
    std::uint32_t lease;
    std::optional<text_layout> layout = std::nullopt;  // of the text, where it is known
  };
  struct lease {
    time_point when;
    object_ref object;
  };

  hub& here() const;
  reactor::loop& owner() const noexcept { return *options_.loops.front(); }

  task<result<commit>> submit(mutation m);
  task<result<void>> wait_for_turn(const mutation& m, revision& created);
  result<void> check(const mutation& m, revision& created) const;
  task<void> commit_loop();
  bool may_commit() const;
  std::vector<pending_ref> next_batch();
  task<void> carry(std::vector<pending_ref> ops, std::uint64_t ticket);
  task<result<datastore::appended>> recover(const std::vector<pending_ref>& callers, const datastore::batch& ops,
                                            revision from, error why);
  error away() const;
  void refuse_waiting(const error& why);
  void answer(const pending_ref& p, result<commit> r);

  // The next batch is gathered by apply() and goes out with publish().
  // Null when nothing that can be seen has changed.
  event_ref apply(const applied_entry& e);
  void apply_foreign(std::span<const datastore::entry> entries);
  void apply_foreign(const datastore::entry& e);  // that is news
  applied seal_batch();
  void publish();
  void tell_completeness();
  task<result<void>> compact_to(revision target);
  commit commit_at(revision at, std::string_view key) const;
  void tell_health();
  // The owner's hub last and at once: what the others get is on its way before anybody here can answer.
  template <typename F>
  void on_every_core(F f) {
    for (std::size_t i = 1; i < hubs_.size(); ++i) options_.loops[i]->post([h = hubs_[i], f] { f(*h); });
    f(*hubs_.front());
  }

  // What the log has after a revision.
  struct missed {
    revision from = 0;
    std::vector<datastore::entry> entries;
    // What follows `from` is compacted: everything that exists was read, and what isn't in `names` is gone.
    bool whole = false;
    revision compacted = 0;
    std::unordered_set<std::string> names;
  };
  task<result<missed>> read_missed(revision from);
  void apply_missed(const missed& m);
  task<void> stop_serving(error why);
  bool loss_is_told() const;
  task<void> stop_on_told_loss();

  task<result<void>> load_history();
  task<result<std::optional<seen_entry>>> entry_at(revision at);
  task<result<seen_history>> read_seen() const;
  result<void> refuse_loss(const std::string& why) const;
  seen_history seen_now() const;
  task<void> note_seen();
  task<void> seen_loop();
  // The newest change of a page, or of a commit: remembered for note_seen().
  void remember(revision at, datastore::change kind, std::string_view key, std::string_view stored);
  void remember(const datastore::entry& e) { remember(e.at, e.kind, e.name, e.value); }
  past_source source_of_past();
  task<result<snapshot>> exactly_from_log(revision at, std::string prefix);
  void note_compacted(revision to);
  void hold_keys();
  task<void> trim_loop();
  task<void> index_loop();
  task<void> settling_loop();
  struct settling_step {
    std::size_t looked = 0, moved = 0;
  };
  settling_step settle_some(std::string& from, revision upto);
  task<void> settle_leases();
  task<void> change_index(index what, bool comes);
  task<void> health_loop();
  task<void> follow_loop();
  task<void> lease_loop();
  task<void> compaction_loop();
  task<result<revision>> barrier();
  bool stands(const object& o) const;
  void watch_lease(object_ref o);
  bool leads() const { return !options_.leads || options_.leads(); }

  store_options options_;
  std::vector<std::shared_ptr<hub>> hubs_;  // one for each of options_.loops

  // Everything below is the owner core's, but for the one atomic.
  stored_values values_;
  bool told_incomplete_ = false;
  settled_heap settling_;
  indexed_tree objects_;
  revision applied_ = 0;
  seen_entry newest_entry_;
  seen_history noted_;  // as it stands in the file
  revision loss_accepted_ = 0;
  revision loss_told_ = 0;  // another server had seen so much, and found it lost
  std::shared_ptr<applied_batch> next_applied_;
  // Indexes that are to come and (without a function) to go, in order.
  std::deque<index> index_changes_;
  reactor::event index_changed_;
  std::unique_ptr<past_reader> past_;
  revision compacted_ = 0;  // what the log has forgotten, as far as is known
  bool key_rows_noted_ = false;
  reactor::semaphore compacting_{1};

  std::unordered_map<std::string_view, pending_ref> under_way_;  // views of pending::what.key
  std::deque<pending_ref> queue_;
  std::size_t queued_bytes_ = 0, in_flight_ = 0;
  std::size_t in_doubt_ = 0;    // of in_flight_, those whose outcome is not known yet
  std::size_t last_batch_ = 0;  // operations
  std::uint64_t next_ticket_ = 0, settled_ = 0;
  reactor::event queue_changed_, room_, settle_turn_;
  bool closing_ = false, told_unhealthy_ = false, recovering_ = false, stopped_ = false, lost_ = false;
  bool refusing_ = false;  // the database has been away for a while: nothing queues for it
  time_point unhealthy_since_{};
  std::optional<error> failing_;

  // Linearizable reads of a shared log: a few questions under way, the next for all who came after they were sent.
  struct question {
    std::optional<result<revision>> value;
    reactor::event done;
  };
  std::shared_ptr<question> waiting_;
  std::size_t asking_ = 0;
  reactor::event asked_;

  std::vector<lease> leases_;  // heap, the first to expire on top
  std::size_t leased_ = 0;     // after the last sweep
  reactor::event leases_changed_;

  // What has been acknowledged to any caller. Stored with release after the batch was posted to every core and before
  // the answer leaves; a reader that loads it with acquire therefore waits for no less than what was acknowledged
  // before it asked.
  std::atomic<revision> acknowledged_{0};

  reactor::scope services_;  // last: ends first
};

}  // namespace kedge::store
