// engine_seen.cc: the engine's part in not losing sight of history: what was seen, whether the database still has it,
// what is done when not.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "crypto/files.h"
#include "datastore/history.h"
#include "reactor/offload.h"
#include "store/engine.h"
#include "store/loading.h"
#include "store/object.h"

namespace kedge::store {

// Everything that exists, unless it is less than was seen.
task<result<void>> engine::load_history() {
  auto& source = *options_.log;
  KEDGE_CO_TRY(noted_, co_await read_seen());
  std::optional<loader> start;
  start.emplace(options_, values_, objects_.indexes());
  KEDGE_CO_CHECK(co_await start->read_what_exists());
  found_history found;
  auto look = [&] {
    found.cluster =
        options_.cluster_of ? options_.cluster_of(store_access::make(start->at, start->objects)) : std::string();
    found.at = start->at;
    found.compacted = start->compacted;
    found.told = start->loss_told;
  };
  look();
  // Nothing is written to a database that can't be the right one.
  auto why = missing_of(noted_, found, false);
  if (!why.empty()) KEDGE_CO_CHECK(refuse_loss(why));
  KEDGE_CO_CHECK(co_await source.begin());
  KEDGE_CO_CHECK(co_await start->read_the_rest());
  look();
  if (noted_.newest.at > found.compacted && noted_.newest.at <= found.at) {
    KEDGE_CO_TRY(found.entry, co_await entry_at(noted_.newest.at));
  }
  if (why.empty()) why = missing_of(noted_, found, true);
  if (why.empty()) {
    if (options_.accept_data_loss)
      log::warning(
          "--accept-data-loss is given, and nothing was lost; take it away, or the next loss is accepted in silence");
  } else {
    KEDGE_CO_CHECK(refuse_loss(why));
    log::warning("{}: lost writes are accepted ({}); revisions go on far above, and clients list again",
                 source.description(), why);
    KEDGE_CO_CHECK(co_await source.pass_over(std::max({noted_.at, found.at, found.told})));
    // What follows is compacted, so all of it.
    values_.forget();
    start.emplace(options_, values_, objects_.indexes());
    KEDGE_CO_CHECK(co_await start->read_what_exists());
    KEDGE_CO_CHECK(co_await start->read_the_rest());
    loss_accepted_ = start->loss_told;
  }
  objects_ = std::move(start->objects);
  applied_ = start->at;
  compacted_ = start->compacted;
  loss_told_ = start->loss_told;
  newest_entry_ = start->newest;
  for (auto& o : start->leased)
    if (objects_.find(o->key()) == object_access::get(o)) watch_lease(std::move(o));
  if (!why.empty()) co_await note_seen();
  co_return result<void>();
}

// The change of that revision, if the log has one there; it has not forgotten it.
task<result<std::optional<seen_entry>>> engine::entry_at(revision at) {
  KEDGE_CO_TRY(auto there, co_await options_.log->past({.after = at - 1, .upto = at, .prefix = {}}));
  if (there.changes.empty()) co_return std::optional<seen_entry>();
  auto& e = there.changes.front().what;
  co_return look_at(e.at, e.kind, e.name, e.value);
}

result<void> engine::refuse_loss(const std::string& why) const {
  if (options_.accept_data_loss) return {};
  auto e = datastore::lost_history(
      why, "It was restored from a backup, another one took its place, or --datastore-endpoint leads elsewhere.");
  return fail(std::move(e).with(options_.log->description() + ": "));
}

task<result<seen_history>> engine::read_seen() const {
  if (options_.seen_file.empty()) co_return seen_history();
  auto text = co_await reactor::offload([path = options_.seen_file] { return crypto::read_file(path); });
  if (!text) co_return fail(text.error());
  if (!*text && text->error().code == errc::not_found) co_return seen_history();
  if (!*text) co_return fail(text->error());
  auto seen = parse_seen(**text);
  if (!seen) {
    log::warning("{}: {}; it is not gone by", options_.seen_file, seen.error().message);
    co_return seen_history();
  }
  co_return seen;
}

seen_history engine::seen_now() const {
  auto cluster = options_.cluster_of ? options_.cluster_of(store_access::make(applied_, objects_)) : std::string();
  return {
      .cluster = cluster.empty() ? noted_.cluster : cluster, .at = applied_, .newest = newest_entry_, .lost = lost_};
}

task<void> engine::note_seen() {
  if (options_.seen_file.empty()) co_return;
  auto seen = seen_now();
  if (seen == noted_) co_return;
  auto done = co_await reactor::offload(
      [path = options_.seen_file, text = write_seen(seen)] { return crypto::write_file(path, text); });
  if (done && *done)
    noted_ = std::move(seen);
  else
    log::warning("{}: {}; whether the database loses writes is not noticed after a restart", options_.seen_file,
                 done ? done->error().message : done.error().message);
}

task<void> engine::seen_loop() {
  for (;;) {
    co_await reactor::sleep_for(seen_interval);
    co_await note_seen();
  }
}

void engine::remember(revision at, datastore::change kind, std::string_view key, std::string_view stored) {
  if (!options_.seen_file.empty() && at > newest_entry_.at) newest_entry_ = look_at(at, kind, key, stored);
}

bool engine::loss_is_told() const { return !stopped_ && loss_told_ > std::max(compacted_, loss_accepted_); }

task<void> engine::stop_on_told_loss() {
  return stop_serving(
      datastore::lost_history(fmt::format("another server had seen revision {} before it lost writes", loss_told_),
                              "It was restored, or another one took over that had not received everything."));
}

// The database has another history than this server: what clients hold of it can't be gone on with.
task<void> engine::stop_serving(error why) {
  log::error("{}: serving ends: {}", options_.log->description(), why.message);
  closing_ = stopped_ = lost_ = true;
  failing_ = why;
  tell_health();
  refuse_waiting(why);
  on_every_core([](hub& h) { h.stop(); });
  queue_changed_.pulse();
  // First of all: whoever starts this server again shall find out what has happened, and so shall servers that have
  // seen less.
  co_await note_seen();
  if (loss_told_ < applied_)
    (void)co_await reactor::with_deadline(options_.log->tell_loss(applied_),
                                          reactor::loop::current().now() + close_wait);
  if (options_.on_lost_history) options_.on_lost_history(why);
}

}  // namespace kedge::store
