#include "store/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/log.h"
#include "datastore/limits.h"
#include "store/loading.h"
#include "store/object.h"
#include "store/text.h"

namespace kedge::store {

namespace {

using datastore::change;

change change_of(write_kind k) {
  return k == write_kind::create ? change::create : k == write_kind::update ? change::update : change::remove;
}

// Of the operations `there`, those that another server may have done instead: a removal looks the same whoever did it,
// unless it follows or precedes directly what only this batch can have written (a new version has its own uid, its
// time, its value).
// `in_one_piece`: as log.h.
std::vector<std::size_t> anybodys(const std::vector<datastore::operation>& ops, const std::vector<std::size_t>& there,
                                  const std::vector<datastore::outcome>& outcomes, bool in_one_piece) {
  std::vector<bool> ours;
  for (auto i : there) ours.push_back(ops[i].kind != change::remove);
  auto extend = [&](std::size_t from, std::size_t to) {
    auto a = outcomes[there[from]].at, b = outcomes[there[to]].at;
    if (in_one_piece && ours[from] && (a < b ? b - a : a - b) == 1) ours[to] = true;
  };
  for (std::size_t i = 1; i < there.size(); ++i) extend(i - 1, i);
  for (std::size_t i = there.size(); i-- > 1;) extend(i, i - 1);
  std::vector<std::size_t> out;
  for (std::size_t i = 0; i < there.size(); ++i)
    if (!ours[i]) out.push_back(there[i]);
  return out;
}

error still_unknown(const error& why) {
  return {errc::unknown_outcome,
          why.message + "; whether this was written will be known when the database can be read again"};
}

constexpr auto expires_later = [](const auto& a, const auto& b) { return a.when > b.when; };

}  // namespace

std::vector<reactor::loop*> loops_of(reactor::cores& c) {
  std::vector<reactor::loop*> out;
  for (std::size_t i = 0; i < c.size(); ++i) out.push_back(&c[i]);
  return out;
}

task<result<std::unique_ptr<store>>> open_store(store_options options) {
  auto e = std::make_unique<engine>(std::move(options));
  KEDGE_CO_CHECK(co_await e->start());
  co_return std::unique_ptr<store>(std::move(e));
}

engine::engine(store_options options) : options_(std::move(options)), values_(options_) {
  kedge_assert(!options_.loops.empty() && options_.log);
  auto seed = reactor::loop::current().random().next();
  objects_ = indexed_tree(std::make_shared<index_list>(std::move(options_.indexes), seed));
  if (!options_.resource_size) options_.resource_size = &resource_size;
  past_ = std::make_unique<past_reader>(source_of_past());
  for (std::size_t i = 0; i < options_.loops.size(); ++i) {
    auto h = std::make_shared<hub>(
        seed, history_limits{options_.history, std::min<duration>(options_.history, history_in_memory),
                             options_.history_bytes});
    h->past = [this](std::string prefix, revision after, revision) {
      return reactor::call_on(owner(), [this, prefix = std::move(prefix), after]() mutable {
        return past_->events(std::move(prefix), after, applied_);
      });
    };
    hubs_.push_back(std::move(h));
  }
}

engine::~engine() = default;

// ---- reading, on any core

hub& engine::here() const {
  auto* loop = reactor::loop::try_current();
  for (std::size_t i = 0; i < hubs_.size(); ++i) {
    if (options_.loops[i] == loop) return *hubs_[i];
  }
  kedge_assert(!"a store is used on the loops that it was opened with");
}

snapshot engine::current() const { return here().current(); }
result<std::unique_ptr<watcher>> engine::watch(watch_scope scope, revision from) {
  return here().watch(std::move(scope), from);
}

result<void> engine::healthy() const {
  auto& h = here();
  if (h.failing) return fail(*h.failing);
  if (h.stopped()) return fail(errc::unavailable, "the store stops");
  return {};
}

result<void> engine::complete() const {
  if (auto& h = here(); h.incomplete) return fail(*h.incomplete);
  return {};
}

task<result<snapshot>> engine::latest() {
  auto at = acknowledged_.load(std::memory_order_acquire);
  if (!options_.log->shared()) co_return co_await at_least(at, time_point::max());
  auto until = reactor::loop::current().now() + latest_wait;
  KEDGE_CO_TRY(at, co_await reactor::call_on(owner(), [this] { return barrier(); }));
  // Another server's newest write may be held up, by its database or on its way here.
  co_return co_await at_least(at, until);
}

task<result<snapshot>> engine::at_least(revision at, time_point deadline) {
  auto& h = here();
  while (h.current().at() < at) {
    if (h.stopped()) co_return fail(errc::unavailable, "the store stops");
    bool in_time = co_await h.advanced().wait_until(deadline);
    if (!in_time && h.current().at() < at) {
      co_return fail(errc::timeout,
                     fmt::format("revision {} has not come yet: the newest is {}", at, h.current().at()));
    }
  }
  co_return h.current();
}

task<result<snapshot>> engine::exactly(revision at, std::string prefix, time_point deadline) {
  KEDGE_CO_CHECK(co_await at_least(at, deadline));
  // As etcd's compaction ends them: whoever reads page after page for so long is told that the list is another one now.
  if (auto expired = here().recent().expired(); at < expired)
    co_return fail(errc::expired,
                   fmt::format("revision {} is too old: states are kept for {} s", at,
                               std::chrono::duration_cast<std::chrono::seconds>(options_.history).count()));
  auto found = co_await here().exactly(at, prefix);
  if (found || found.error().code != errc::expired || at < here().compacted) co_return found;
  co_return co_await exactly_from_log(at, std::move(prefix));
}

// What the first change of each key after `at` replaced, up to where the history in memory begins; and from there on
// that.
task<result<snapshot>> engine::exactly_from_log(revision at, std::string prefix) {
  auto& h = here();
  std::unordered_map<std::string, object_ref> versions;
  std::size_t bytes = 0;
  result<snapshot> base;
  for (auto reached = at;;) {
    if (auto floor = h.recent().floor(prefix); reached < floor) {
      auto step = [this, prefix, at, reached, floor] { return past_->undo(prefix, at, reached, floor); };
      KEDGE_CO_TRY(auto part, co_await reactor::call_on(owner(), step));
      for (auto& [key, version] : part.versions) {
        if (version) bytes += object_access::size_of(*version);
        versions.try_emplace(std::move(key), std::move(version));
        co_await reactor::maybe_yield();
      }
      if (bytes > std::max(options_.history_bytes, history_bytes_default))
        co_return fail(errc::expired, fmt::format("revision {} is too old: too much has changed since", at));
      reached = part.at;
      continue;
    }
    base = co_await h.exactly(reached, prefix);
    if (base) break;
    // The history has moved on meanwhile.
    if (base.error().code != errc::expired) co_return base;
  }
  auto objects = store_access::objects(*base);
  for (auto& [key, version] : versions) {
    if (version)
      objects.put(std::move(version));
    else
      objects.erase(key);
    co_await reactor::maybe_yield();
  }
  auto out = store_access::make(at, std::move(objects));
  h.keep(out, std::move(prefix), bytes);
  co_return out;
}

void engine::keep(const snapshot& s) { here().keep(s, {}, 0); }

past_source engine::source_of_past() {
  return {.log = *options_.log,
          .values = values_,
          .resource_size = options_.resource_size,
          .found_by = [this](const object* before, const object* after) {
            auto& indexes = objects_.indexes();
            return indexes ? indexes->hashes_of(before, after) : std::vector<std::uint64_t>();
          }};
}

task<result<revision>> engine::barrier() {
  // A question that is on its way already may have been answered before this reader came.
  auto mine = waiting_;
  if (!mine) {
    mine = waiting_ = std::make_shared<question>();
    services_.spawn([](engine& self, std::shared_ptr<question> q) -> task<void> {
      co_await reactor::yield();  // whoever else comes in this turn of the loop
      while (self.asking_ >= questions_in_flight_max) co_await self.asked_.wait();
      ++self.asking_;
      self.waiting_ = nullptr;
      q->value = co_await self.options_.log->current();
      --self.asking_;
      self.asked_.pulse();
      q->done.set();
    }(*this, mine));
  }
  co_await mine->done.wait();
  co_return *mine->value;
}

// ---- writing

task<result<commit>> engine::write(mutation m) {
  if (reactor::loop::try_current() == &owner()) co_return co_await submit(std::move(m));
  co_return co_await reactor::call_on(owner(), [this, m = std::move(m)]() mutable { return submit(std::move(m)); });
}

// Whether `m` can follow the newest state of its key, and of those that it depends on.
result<void> engine::check(const mutation& m, revision& created) const {
  for (auto& g : m.guards) {
    auto* standing = objects_.find(g.key);
    if ((standing ? standing->mod() : 0) != g.expected)
      return fail(errc::conflict, fmt::format("{} is not as it was when {} was decided", g.key, m.key));
  }
  auto* standing = objects_.find(m.key);
  if (auto* why = standing ? nullptr : values_.unreadable(m.key))
    return fail(errc::unsupported,
                fmt::format("the stored value of {} can't be read ({}); it is left as it is", m.key, *why));
  if (m.kind == write_kind::create) {
    if (standing) return fail(errc::already_exists, m.key + " already exists");
    return {};
  }
  if (!standing) return fail(errc::not_found, m.key + " is not there");
  bool any = m.kind == write_kind::remove && m.expected == 0;
  if (!any && standing->mod() != m.expected) {
    return fail(errc::conflict, fmt::format("{} is at revision {}, not {}", m.key, standing->mod(), m.expected));
  }
  created = standing->created();
  return {};
}

task<result<commit>> engine::submit(mutation m) {
  if (m.key.empty() || m.value.size() > value_bytes_max) {
    co_return fail(errc::too_large,
                   fmt::format("a value of {} bytes is larger than {}", m.value.size(), value_bytes_max));
  }
  std::optional<text_layout> layout;
  if (m.kind != write_kind::remove && stored_values::is_api_key(m.key)) {
    layout = find_layout(m.value);
    // Anything that has metadata gets the order that readers rely on; the rest (health) is kept as it is.
    if (!layout)
      if (auto text = canonical_text(m.value)) {
        m.value = std::move(*text);
        layout = find_layout(m.value);
      }
  }
  for (unsigned sealings = 1;; ++sealings) {
    auto p = std::make_shared<pending>();
    KEDGE_CO_CHECK(co_await wait_for_turn(m, p->created));
    p->what = std::move(m);
    p->layout = layout;
    if (p->what.kind == write_kind::remove) {
      p->what.expected = objects_.find(p->what.key)->mod();
    } else if (options_.transform.seal) {
      KEDGE_CO_TRY(auto sealed, options_.transform.seal(p->what.key, p->what.value, hubs_.front()->current()));
      if (sealed) {
        p->plain = std::exchange(p->what.value, std::move(sealed->stored));
        p->seal_guards = std::move(sealed->guards);
      }
    }
    under_way_.emplace(p->what.key, p);
    queued_bytes_ += p->what.value.size();
    queue_.push_back(p);
    queue_changed_.pulse();
    co_await p->done.wait();
    if (!p->seal_stale) co_return *p->answer;
    if (sealings == sealings_max)
      co_return fail(errc::unavailable, "the keys that values are encrypted with change all the time; try again");
    m = std::move(p->what);
    m.value = std::move(p->plain);
    // With what replaced the keys.
    KEDGE_CO_CHECK(co_await latest());
  }
}

// Until nothing else is under way on the key, it can follow what stands, and there is room.
task<result<void>> engine::wait_for_turn(const mutation& m, revision& created) {
  bool newest = !options_.log->shared();
  for (;;) {
    if (closing_) co_return fail(errc::unavailable, "the store stops");
    // Not behind a write that may be looked for as long as the database is away: it was not sent, and its caller may
    // ask another server.
    if (recovering_ || refusing_) co_return fail(away());
    // A guard is judged by what comes of the write that is under way, rather than sent to fail.
    auto other = under_way_.find(m.key);
    for (auto& g : m.guards)
      if (other == under_way_.end()) other = under_way_.find(g.key);
    if (other != under_way_.end()) {
      auto p = other->second;
      co_await p->done.wait();
      continue;
    }
    if (auto fits = check(m, created); !fits) {
      // What another server wrote may be on its way here: what is let through meets it in the log, a refusal would not.
      if (std::exchange(newest, true)) co_return fail(std::move(fits).error());
      KEDGE_CO_CHECK(co_await latest());
      continue;
    }
    if (queue_.size() < pending_ops_max && queued_bytes_ < pending_bytes_max) co_return result<void>();
    co_await room_.wait();
  }
}

// A database that others share makes each commit durable by itself (a flush, a round trip), so what matters is how much
// one carries: a second one is sent beside the first only when as much waits for it.
bool engine::may_commit() const {
  if (queue_.empty() || in_flight_ >= commits_in_flight_max) return false;
  return in_flight_ == 0 || !options_.log->shared() || queue_.size() >= last_batch_;
}

task<void> engine::commit_loop() {
  for (;;) {
    while (!may_commit()) {
      if (closing_ && queue_.empty() && in_flight_ == 0) co_return;
      co_await queue_changed_.wait();
    }
    auto ops = next_batch();
    room_.pulse();
    ++in_flight_;
    last_batch_ = ops.size();
    services_.spawn(carry(std::move(ops), next_ticket_++));
  }
}

std::vector<engine::pending_ref> engine::next_batch() {
  std::vector<pending_ref> out;
  std::size_t bytes = 0;
  std::unordered_set<std::string_view> guarded;
  while (!queue_.empty() && out.size() < datastore::batch_ops_max && bytes < datastore::batch_bytes_max) {
    auto& p = *queue_.front();
    auto& m = p.what;
    // The guards of a batch are checked before anything of it is written: what one changes and another guards can't
    // share it.
    bool apart = guarded.contains(m.key);
    for (auto* guards : {&m.guards, &p.seal_guards})
      for (auto& g : *guards) {
        if (!guarded.insert(g.key).second) continue;
        for (auto& other : out) apart = apart || other->what.key == g.key;
      }
    if (apart && !out.empty()) break;
    bytes += m.value.size();
    out.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  queued_bytes_ -= bytes;
  return out;
}

// One batch: to the log, and into memory when it is its turn.
task<void> engine::carry(std::vector<pending_ref> ops, std::uint64_t ticket) {
  reactor::named_activity running("store commits");
  auto logged = std::make_shared<std::vector<datastore::operation>>();
  logged->reserve(ops.size());
  for (auto& p : ops) {
    auto& m = p->what;
    // Unsealed values stay with the log until they are on disk and are taken from there.
    logged->push_back({change_of(m.kind), m.key, std::move(m.value), m.kind == write_kind::create ? 0 : m.expected,
                       p->created, m.lease_seconds});
    for (auto* guards : {&m.guards, &p->seal_guards})
      for (auto& g : *guards) logged->back().guards.push_back({g.key, g.expected});
  }
  datastore::batch batch = logged;
  // Whatever becomes of it comes after this; the batch before may have been looked up, and both found, by then.
  auto before = applied_;
  auto done = co_await options_.log->append(batch);
  // What surely did not happen needs no turn: the batch before may be looked up for as long as the database is away.
  if (!done && done.error().code != errc::unknown_outcome)
    for (auto& p : ops) answer(p, fail(done.error()));
  // What is in doubt behind another that is looked up is told so in time, too: the first answer counts.
  const bool doubt = !done && done.error().code == errc::unknown_outcome;
  if (doubt) ++in_doubt_;
  auto patience = doubt ? reactor::loop::current().now() + options_.outcome_wait : time_point::max();
  while (settled_ != ticket) {
    if (co_await settle_turn_.wait_until(patience)) continue;
    patience = time_point::max();
    for (auto& p : ops) answer(p, fail(still_unknown(done.error())));
  }
  if (doubt) {
    done = co_await recover(ops, batch, before, std::move(done).error());
    --in_doubt_;
  }
  // While the next one is in doubt the database is not well yet.
  if (!stopped_ && !(done && in_doubt_ > 0)) failing_ = done ? std::nullopt : std::optional(done.error());

  std::vector<event_ref> events(ops.size());
  if (done) {
    apply_foreign(done->others);
    if (!done->others.empty()) remember(done->others.back());
    const datastore::operation* last = nullptr;
    for (std::size_t i = 0; i < ops.size(); ++i) {
      auto& o = done->outcomes[i];
      if (o.what != datastore::outcome::status::committed || o.at <= applied_) continue;
      auto& op = (*batch)[i];
      last = &op;
      values_.note_keys(o.at, op.kind, op.name);
      events[i] = apply({o.at, op.kind, op.name, ops[i]->plain.empty() ? op.value : ops[i]->plain,
                         op.kind == change::create ? o.at : op.created, op.lease_seconds, ops[i]->layout});
    }
    if (last) remember(applied_, last->kind, last->name, last->value);
    publish();
    if (loss_is_told()) services_.spawn(stop_on_told_loss());
  }
  for (std::size_t i = 0; i < ops.size(); ++i) {
    if (!done) {
      answer(ops[i], fail(done.error()));
    } else if (done->unsafe && done->outcomes[i].what == datastore::outcome::status::committed) {
      answer(ops[i], fail(*done->unsafe));
    } else if (auto& o = done->outcomes[i]; o.what == datastore::outcome::status::refused) {
      answer(ops[i], fail(*done->refused));
    } else if (o.what == datastore::outcome::status::committed) {
      answer(ops[i], events[i] ? commit{o.at, events[i]->object} : commit_at(o.at, ops[i]->what.key));
    } else if (o.what == datastore::outcome::status::guard_failed) {
      ops[i]->seal_stale = !ops[i]->seal_guards.empty();
      answer(ops[i], fail(errc::conflict, ops[i]->what.key + " depends on what was changed by another server"));
    } else if (ops[i]->what.kind == write_kind::create) {
      answer(ops[i], fail(errc::already_exists, ops[i]->what.key + " already exists"));
    } else {
      answer(ops[i], fail(errc::conflict, ops[i]->what.key + " was changed by another server"));
    }
  }
  ++settled_;
  --in_flight_;
  settle_turn_.pulse();
  queue_changed_.pulse();
  if (failing_.has_value() != told_unhealthy_) tell_health();
}

// After a write without an answer: what the log has now decides. Nothing else is applied meanwhile, because it is this
// batch's turn. The callers are told after a while that nobody knows; the search goes on.
task<result<datastore::appended>> engine::recover(const std::vector<pending_ref>& callers, const datastore::batch& ops,
                                                  revision from, error why) {
  failing_ = why;
  failing_->code = errc::unavailable;
  tell_health();
  log::info("{}: reading again to learn what became of {} writes", options_.log->description(), ops->size());
  recovering_ = true;
  refuse_waiting(away());
  auto give_up = reactor::loop::current().now() + options_.outcome_wait;
  auto pause = duration(retry_min);
  for (;;) {
    auto read = co_await read_missed(from);
    if (read) {
      // Entries of the batch are recognised by what they replaced; a follower may have applied them already.
      datastore::appended out;
      // What isn't there of a batch that landed was in conflict, or (where each of its operations is by itself) was
      // never seen by the database.
      bool whole = options_.log->in_one_piece();
      out.outcomes.assign(ops->size(),
                          {whole ? datastore::outcome::status::conflict : datastore::outcome::status::refused, 0});
      out.refused = error(errc::unavailable, why.message);
      std::vector<std::size_t> there;
      for (std::size_t i = 0; i < ops->size(); ++i) {
        auto& op = (*ops)[i];
        auto found = std::find_if(read->entries.begin(), read->entries.end(), [&](const datastore::entry& e) {
          return e.name == op.name && e.kind == op.kind && e.value == op.value &&
                 (op.kind == change::create || e.previous == op.expected);
        });
        if (found == read->entries.end()) {
          if (whole && !op.guards.empty()) out.outcomes[i].what = datastore::outcome::status::guard_failed;
          continue;
        }
        out.outcomes[i] = {datastore::outcome::status::committed, found->at};
        there.push_back(i);
      }
      if (options_.log->shared()) {
        error gone(errc::unknown_outcome,
                   why.message + "; it is gone, and whether this or another request removed it is not known");
        for (auto i : anybodys(*ops, there, out.outcomes, whole)) answer(callers[i], fail(gone));
      }
      // Everything that is there is applied here, so the caller's part is the answers.
      apply_missed(*read);
      publish();
      recovering_ = false;
      if (there.empty()) {
        why.code = errc::unavailable;
        co_return fail(std::move(why));
      }
      co_return out;
    }
    if (closing_ || read.error().code == errc::corrupt) {
      recovering_ = false;
      co_return fail(std::move(why));
    }
    if (reactor::loop::current().now() >= give_up) {
      for (auto& p : callers) answer(p, fail(still_unknown(why)));
    }
    co_await reactor::sleep_for(pause);
    pause = std::min<duration>(pause * 2, retry_max);
  }
}

// What was not sent is told.
error engine::away() const {
  return {errc::unavailable, fmt::format("the datastore is away: {}; nothing was written",
                                         failing_ ? failing_->message : "it does not answer")};
}

void engine::refuse_waiting(const error& why) {
  auto waiting = std::exchange(queue_, {});
  queued_bytes_ = 0;
  for (auto& p : waiting) answer(p, fail(why));
  room_.pulse();
}

// The first answer counts: a caller that was told something is gone.
void engine::answer(const pending_ref& p, result<commit> r) {
  if (p->answer) return;
  under_way_.erase(p->what.key);
  if (r) {
    auto before = acknowledged_.load(std::memory_order_relaxed);
    if (r->at > before) acknowledged_.store(r->at, std::memory_order_release);
  }
  p->answer.emplace(std::move(r));
  p->done.set();
}

// Of a write that was applied before its answer came (by the follower, or while recovering).
commit engine::commit_at(revision at, std::string_view key) const {
  commit out{at, {}};
  if (auto e = hubs_.front()->recent().find(key, at)) {
    out.object = e->object;
  } else if (auto o = objects_.get(key); o && o->mod() == at) {
    out.object = o;
  }
  return out;
}

// ---- applying

event_ref engine::apply(const applied_entry& e) {
  kedge_assert(e.at >= applied_);
  applied_ = e.at;
  if (!next_applied_) next_applied_ = std::make_shared<applied_batch>();
  auto change = std::make_shared<event>();
  change->at = e.at;
  if (e.kind == change::remove) {
    change->previous = objects_.erase(e.key, &change->found_by);
    if (!change->previous) return nullptr;  // of a value that can't be read, or a gap row
    change->type = event_type::deleted;
    change->object = object_access::with_revision(*change->previous, e.at);
  } else {
    auto created = e.created ? e.created : e.at;
    change->object = e.layout ? object_access::make(e.key, e.text, e.layout, e.at, created, e.lease)
                              : object_access::make(e.key, e.text, e.at, created, e.lease);
    change->previous = objects_.put(change->object, &change->found_by);
    change->type = change->previous ? event_type::modified : event_type::added;
    if (e.lease) watch_lease(change->object);
  }
  change->resource_size = static_cast<std::uint32_t>(options_.resource_size(change->object->key()));
  next_applied_->events.push_back(change);
  return change;
}

// What others wrote, or an earlier life of this server.
void engine::apply_foreign(std::span<const datastore::entry> entries) {
  // Several may share a revision, and come together.
  const auto known = applied_;
  for (auto& e : entries)
    if (e.at > known) apply_foreign(e);
}

void engine::apply_foreign(const datastore::entry& e) {
  if (e.name == datastore::loss_name) loss_told_ = std::max<revision>(loss_told_, parse_uint(e.value).value_or(0));
  auto text = values_.take(e);
  // An older version that could be read must not be taken for the newest.
  if (!text)
    apply({e.at, change::remove, e.name, {}, 0, 0});
  else
    apply({e.at, e.kind, e.name, *text, e.kind == change::create ? e.at : e.created, e.lease_seconds});
}

void engine::tell_completeness() {
  if (told_incomplete_ == !values_.all_opened()) return;
  told_incomplete_ = !values_.all_opened();
  std::optional<error> why;
  if (told_incomplete_) {
    why = values_.unopened();
    log::error("{}: {}", options_.log->description(), why->message);
  } else {
    log::info("{}: every encrypted value can be opened again", options_.log->description());
  }
  on_every_core([why](hub& h) { h.incomplete = why; });
}

applied engine::seal_batch() {
  auto batch = std::exchange(next_applied_, nullptr);
  if (!batch) return {};
  batch->at = applied_;
  batch->when = reactor::loop::current().now();
  batch->events.shrink_to_fit();
  return {std::move(batch), store_access::make(applied_, objects_)};
}

void engine::publish() {
  tell_completeness();
  auto shared = seal_batch();
  if (!shared.batch) return;
  on_every_core([shared = std::move(shared)](hub& h) { h.publish(shared); });
}

void engine::tell_health() {
  told_unhealthy_ = failing_.has_value();
  if (failing_) {
    if (!stopped_) log::error("{}: {}", options_.log->description(), failing_->message);
  } else {
    log::info("{}: writes work again", options_.log->description());
  }
  on_every_core([f = failing_](hub& h) { h.failing = f; });
}

// ---- starting, following, ending

task<result<void>> engine::start() {
  kedge_assert(&reactor::loop::current() == &owner());
  auto& source = *options_.log;
  KEDGE_CO_CHECK(co_await source.open());
  KEDGE_CO_CHECK(co_await load_history());
  // Nobody reads a hub before open_store() has answered, so all of them can be filled from here.
  for (auto& h : hubs_) {
    h->start(store_access::make(applied_, objects_));
    h->compacted = compacted_;
  }
  values_.tell_unreadable();
  tell_completeness();
  acknowledged_.store(applied_, std::memory_order_release);
  services_.spawn(commit_loop());
  services_.spawn(lease_loop());
  services_.spawn(compaction_loop());
  services_.spawn(trim_loop());
  services_.spawn(index_loop());
  services_.spawn(settling_loop());
  if (!options_.seen_file.empty()) services_.spawn(seen_loop());
  if (source.shared()) {
    services_.spawn(follow_loop());
    services_.spawn(health_loop());
  }
  co_return result<void>();
}

task<void> engine::follow_loop() {
  reactor::named_activity running("store follows");
  auto pause = duration(retry_min);
  for (;;) {
    auto page = co_await options_.log->tail(applied_, reactor::loop::current().now() + tail_wait);
    if (!page && page.error().code == errc::corrupt) { co_return co_await stop_serving(page.error()); }
    result<missed> all;
    if (!page && page.error().code == errc::expired) {
      log::warning("{}: {}; reading everything again", options_.log->description(), page.error().message);
      all = co_await read_missed(applied_);
      if (all) {
        apply_missed(*all);
        note_compacted(all->compacted);
        publish();
        continue;
      }
    }
    if (!page) {
      log::warning("{}: {}; trying again", options_.log->description(),
                   all ? page.error().message : all.error().message);
      co_await reactor::sleep_for(pause);
      pause = std::min<duration>(pause * 2, retry_max);
      continue;
    }
    pause = retry_min;
    apply_foreign(page->entries);
    if (!page->entries.empty()) remember(page->entries.back());
    publish();
    note_compacted(page->compacted);
    if (loss_is_told()) co_return co_await stop_on_told_loss();
  }
}

task<result<engine::missed>> engine::read_missed(revision from) {
  missed out;
  out.from = from;
  for (auto after = from;;) {
    auto page = co_await options_.log->load(after);
    if (!page) {
      if (page.error().code != errc::expired || out.whole) co_return fail(std::move(page).error());
      out.entries.clear();
      out.whole = true;
      after = 0;
      continue;
    }
    out.compacted = page->compacted;
    for (auto& e : page->entries) {
      if (out.whole) out.names.insert(e.name);
      if (e.at > from) out.entries.push_back(std::move(e));
    }
    after = page->at;
    if (page->done) co_return out;
  }
}

// Meanwhile writes of this server may have been applied: what is newer than `from` is not judged by what was read.
void engine::apply_missed(const missed& m) {
  auto e = m.entries.begin();
  if (m.whole) {
    e = std::find_if(e, m.entries.end(), [&](auto& later) { return later.at > m.compacted; });
    apply_foreign({m.entries.begin(), e});
    std::vector<std::string> gone;
    objects_.scan("", [&](const object_ref& o) {
      if (o->mod() <= m.from && !m.names.contains(std::string(o->key()))) gone.emplace_back(o->key());
      return true;
    });
    for (auto& key : gone) apply({std::max(applied_, m.compacted), change::remove, key, {}, 0, 0});
    values_.forget_all_but(m.names);
  }
  apply_foreign({e, m.entries.end()});
  if (!m.entries.empty()) remember(m.entries.back());
}

// A shared log knows that its database is away or back before anybody writes.
task<void> engine::health_loop() {
  for (;;) {
    co_await reactor::sleep_for(health_interval);
    if (recovering_ || closing_ || in_doubt_ > 0) continue;
    auto h = options_.log->healthy();
    auto now = reactor::loop::current().now();
    if (h) {
      refusing_ = false;
      unhealthy_since_ = {};
    } else if (unhealthy_since_ == time_point{}) {
      unhealthy_since_ = now;
    }
    if (h.has_value() != !failing_.has_value()) {
      failing_ = h ? std::nullopt : std::optional(h.error());
      tell_health();
    }
    if (h || now < unhealthy_since_ + refuse_after) continue;
    refusing_ = true;
    refuse_waiting(away());
  }
}

void engine::watch_lease(object_ref o) {
  auto* added = object_access::get(o);
  auto when = reactor::loop::current().now() + std::chrono::seconds(o->lease_seconds());
  leases_.push_back({when, std::move(o)});
  std::push_heap(leases_.begin(), leases_.end(), expires_later);
  if (object_access::get(leases_.front().object) == added) leases_changed_.pulse();
  // Versions that have been replaced would stay in memory until they expire: sweep when they may be half of all.
  if (leases_.size() > 2 * leased_ + 64) {
    std::erase_if(leases_, [this](const lease& l) { return !stands(*l.object); });
    std::make_heap(leases_.begin(), leases_.end(), expires_later);
    leased_ = leases_.size();
  }
}

task<void> engine::lease_loop() {
  for (;;) {
    while (leases_.empty()) co_await leases_changed_.wait();
    auto& loop = reactor::loop::current();
    // Until the first expires, or one comes that expires before it.
    if (co_await leases_changed_.wait_until(std::max(leases_.front().when, loop.now() + lease_granularity))) continue;
    if (!leads()) {
      co_await reactor::sleep_for(lease_granularity);
      continue;
    }
    reactor::scope group;
    while (!leases_.empty() && leases_.front().when <= loop.now() && group.size() < lease_group_max) {
      std::pop_heap(leases_.begin(), leases_.end(), expires_later);
      auto expired = std::move(leases_.back());
      leases_.pop_back();
      // Replaced since: the newer version has a lease of its own.
      if (!stands(*expired.object)) continue;
      group.spawn([](engine& self, object_ref o) -> task<void> {
        auto done = co_await self.submit({write_kind::remove, std::string(o->key()), {}, o->mod(), 0});
        if (done || done.error().code == errc::conflict || done.error().code == errc::not_found) co_return;
        // It has expired all the same: once more later.
        auto& now = reactor::loop::current();
        self.leases_.push_back({now.now() + std::chrono::seconds(10), std::move(o)});
        std::push_heap(self.leases_.begin(), self.leases_.end(), expires_later);
      }(*this, std::move(expired.object)));
    }
    co_await group.join();
  }
}

void engine::note_compacted(revision to) {
  if (to <= compacted_) return;
  compacted_ = to;
  on_every_core([to = compacted_](hub& h) { h.compacted = to; });
}

// ---- indexes that come and go

void engine::add_index(index what) {
  owner().post([this, what = std::move(what)]() mutable {
    index_changes_.push_back(std::move(what));
    index_changed_.pulse();
  });
}

void engine::remove_index(std::string name) {
  owner().post([this, name = std::move(name)]() mutable {
    index_changes_.push_back({.name = std::move(name)});
    index_changed_.pulse();
  });
}

task<void> engine::index_loop() {
  for (;;) {
    while (index_changes_.empty()) co_await index_changed_.wait();
    auto next = std::move(index_changes_.front());
    index_changes_.pop_front();
    bool comes = next.values != nullptr;
    co_await change_index(std::move(next), comes);
  }
}

task<void> engine::change_index(index what, bool comes) {
  using phase = index_list::phase;
  const auto name = what.name;
  auto* standing = objects_.indexes()->find_any(name);
  if (comes == (standing != nullptr)) co_return;
  if (standing) what = standing->what;
  objects_.set_indexes(comes ? objects_.indexes()->with(what) : objects_.indexes()->with(name, phase::going));
  // From here on each change keeps it; what has stood for longer is gone over, in turns.
  for (std::string next = what.prefix; !next.empty();) {
    auto* item = objects_.indexes()->find_any(name);
    auto from = std::exchange(next, {});
    std::vector<object_ref> some;
    objects_.scan(from, [&](const object_ref& o) {
      if (!o->key().starts_with(what.prefix)) return false;
      if (some.size() == index_step_objects) {
        next = o->key();
        return false;
      }
      some.push_back(o);
      return true;
    });
    for (auto& o : some) {
      if (comes)
        objects_.enter(*item, *o);
      else
        objects_.take_out(*item, *o);
    }
    co_await reactor::maybe_yield();
  }
  objects_.set_indexes(comes ? objects_.indexes()->with(name, phase::ready) : objects_.indexes()->without(name));
  // A snapshot of the same revision that has it, or has it no more.
  if (!next_applied_) next_applied_ = std::make_shared<applied_batch>();
  publish();
}

// What is quiet gives its past back too.
task<void> engine::trim_loop() {
  for (;;) {
    co_await reactor::sleep_for(history_trim_interval);
    if (hubs_.front()->recent().bytes() > 0) on_every_core([](hub& h) { h.trim(reactor::loop::current().now()); });
  }
}

void engine::end_watches() {
  on_every_core([](hub& h) { h.end_watches(); });
}

task<void> engine::close() {
  closing_ = true;
  queue_changed_.pulse();
  room_.pulse();
  auto until = reactor::loop::current().now() + close_wait;
  while (in_flight_ > 0 || !queue_.empty())
    if (!co_await settle_turn_.wait_until(until)) break;
  refuse_waiting(away());
  // Of what was sent nobody will know here.
  while (!under_way_.empty()) {
    auto p = under_way_.begin()->second;
    answer(p, fail(errc::unknown_outcome, "the server ended before the datastore answered"));
  }
  on_every_core([](hub& h) { h.stop(); });
  // Those who were answered last run before their answers' owner ends.
  co_await reactor::yield();
  services_.cancel();
  co_await note_seen();
  co_await options_.log->close();
}

}  // namespace kedge::store
