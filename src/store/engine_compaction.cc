// engine_compaction.cc: the engine's part in forgetting: when the log is compacted and how far, by itself or because a
// person asks.
#include <algorithm>
#include <limits>

#include "base/log.h"
#include "store/engine.h"

namespace kedge::store {

std::optional<datastore::space> occupied(const store& s) { return static_cast<const engine&>(s).occupied(); }
task<result<void>> compact(store& s) { return static_cast<engine&>(s).compact(); }

// A log that compacts by itself leaves the rows with keys that are needed, too.
void engine::hold_keys() {
  auto bound = values_.compaction_bound();
  options_.log->hold(bound == std::numeric_limits<revision>::max() ? 0 : bound + 1);
}

task<void> engine::compaction_loop() {
  // A long log makes the next start slow, and its database large: it is not left for minutes, in which the server may
  // end again.
  bool early = applied_ - compacted_ > compaction_early_factor * objects_.count("") + compaction_early_min;
  auto noted = early ? applied_ - compaction_early_kept : applied_;
  for (;;) {
    co_await reactor::sleep_for(early ? std::min<duration>(compaction_early_wait, options_.compaction)
                                      : options_.compaction);
    early = false;
    auto target = std::exchange(noted, applied_);
    if (!leads()) continue;
    if (auto done = co_await compact_to(target); !done)
      log::warning("{}: compaction to revision {}: {}", options_.log->description(), target, done.error().message);
  }
}

// Up to there, as far as it may go.
task<result<void>> engine::compact_to(revision target) {
  co_await compacting_.acquire();
  struct turn {
    reactor::semaphore& of;
    ~turn() { of.release(); }
  } mine{compacting_};
  hold_keys();
  auto possible = [&] {
    return std::min(
        {target, applied_ > compaction_retain_min ? applied_ - compaction_retain_min : 0, values_.compaction_bound()});
  };
  if (possible() == 0) co_return result<void>();
  if (!key_rows_noted_) {
    if (auto known = co_await values_.read_key_rows(compacted_, applied_, nullptr); !known)
      co_return fail(std::move(known).error().with("the versions of rows with keys have to be known before: "));
    key_rows_noted_ = true;
  }
  auto to = possible();
  if (to == 0) co_return result<void>();
  KEDGE_CO_CHECK(co_await options_.log->compact(to));
  note_compacted(to);
  co_return result<void>();
}

task<result<void>> engine::compact() {
  KEDGE_CO_CHECK(co_await compact_to(applied_));
  co_return co_await options_.log->give_back();
}

}  // namespace kedge::store
