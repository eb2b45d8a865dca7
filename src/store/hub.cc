#include "store/hub.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/assert.h"
#include "base/release.h"
#include "store/limits.h"
#include "store/object.h"

namespace kedge::store {

namespace {

// One pass gives the hash of every prefix. The seed is the process's own, so nobody can choose prefixes that collide.
std::uint64_t hash_step(std::uint64_t h, unsigned char c) noexcept {
  h = (h ^ c) * 0x9fb21c651e98df25;
  return h ^ (h >> 29);
}
// Of a whole key, for those who watch that one alone.
std::uint64_t hash_end(std::uint64_t h) noexcept { return hash_step(h, 0); }

// `hash`: the scope's.
bool concerns(const event& e, const watch_scope& s, std::uint64_t hash) {
  auto key = e.object->key();
  if (s.one ? key != s.prefix : !key.starts_with(s.prefix)) return false;
  return s.index.empty() || std::find(e.found_by.begin(), e.found_by.end(), hash) != e.found_by.end();
}

std::unexpected<error> too_slow() {
  return fail(errc::expired, "this watch did not keep up with the changes of what it is about; list again");
}

}  // namespace

class hub::group_watcher final : public watcher {
 public:
  group_watcher(std::shared_ptr<hub> owner, watch_scope scope, revision from) : hub_(std::move(owner)), seen_(from) {
    ++hub_->watchers_;
    past_ = std::make_unique<past>(past{std::move(scope), 0});
    past_->hash = hub_->hash_of(past_->scope);
    if (seen_ >= hub_->current_.at()) join();
  }
  group_watcher(const group_watcher&) = delete;
  group_watcher& operator=(const group_watcher&) = delete;
  ~group_watcher() override {
    --hub_->watchers_;
    if (group_) hub_->leave(*group_, at_end());
  }

  // Two coroutines, so that the frame of the one that idles is small.
  task<result<std::vector<event_ref>>> next() override { return group_ ? next_of_group() : next_of_past(); }

  revision seen() const noexcept override { return group_ && at_end() ? std::max(seen_, hub_->current_.at()) : seen_; }

 private:
  struct turn : reactor::waiter {
    reactor::list<reactor::waiter>& queue;
    turn(reactor::waiter&&, reactor::list<reactor::waiter>& q) noexcept : queue(q) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> h) noexcept {
      handle = h;
      queue.push_back(*this);
    }
    void await_resume() const noexcept {}
  };
  struct past {
    watch_scope scope;
    std::uint64_t hash;
  };

  bool at_end() const noexcept { return position_ == group_->end(); }
  static std::unexpected<error> ended() { return fail(errc::unavailable, "the store stops"); }

  void join() {
    group_ = &hub_->join(past_->scope);
    position_ = group_->end();
    ++group_->members;
    ++group_->at_end;
    past_ = nullptr;
  }

  task<result<std::vector<event_ref>>> next_of_group() {
    for (;;) {
      if (hub_->watches_ended_) co_return ended();
      if (position_ < group_->base) co_return too_slow();
      if (!at_end()) {
        auto out = from_group();
        if (!out.empty()) co_return out;
        continue;
      }
      co_await turn{{}, group_->waiting};
    }
  }

  task<result<std::vector<event_ref>>> next_of_past() {
    while (!group_) {
      if (hub_->watches_ended_) co_return ended();
      if (seen_ < hub_->history_.floor(past_->scope.prefix)) {
        KEDGE_CO_TRY(auto out, co_await from_log());
        if (!out.empty()) co_return out;
      } else if (auto out = from_history(); !out.empty()) {
        co_return out;
      }
      co_await reactor::maybe_yield();
    }
    co_return co_await next_of_group();
  }

  task<result<std::vector<event_ref>>> from_log() {
    auto& scope = past_->scope;
    auto upto = hub_->history_.floor(scope.prefix);
    KEDGE_CO_TRY(auto stretch, co_await hub_->past(scope.prefix, seen_, upto));
    std::vector<event_ref> out;
    for (auto& e : stretch->events) {
      if (e->at > seen_ && e->at <= upto && concerns(*e, scope, past_->hash)) out.push_back(e);
    }
    seen_ = std::max(seen_, std::min(upto, stretch->at));
    co_return out;
  }

  std::vector<event_ref> from_history() {
    std::vector<event_ref> out;
    std::size_t looked = 0;
    auto now = hub_->current_.at(), reached = now;
    bool all = true;
    hub_->history_.forwards(past_->scope.prefix, seen_, now, [&](const event_ref& e) {
      // Between revisions: what one of them changed belongs together.
      if (e->at != reached && (out.size() >= watch_batch_max || looked >= history_read_max)) return all = false;
      ++looked;
      reached = e->at;
      if (concerns(*e, past_->scope, past_->hash)) out.push_back(e);
      return true;
    });
    seen_ = all ? now : reached;
    if (all) join();
    return out;
  }

  std::vector<event_ref> from_group() {
    std::vector<event_ref> out;
    auto n = std::min<std::uint64_t>(group_->end() - position_, watch_batch_max);
    out.reserve(n);
    for (std::uint64_t i = 0; i < n; ++i) {
      auto& e = group_->at(position_);
      ++position_;
      // The start may have been seen on a core that was ahead of this one.
      if (e->at > seen_) out.push_back(e);
    }
    if (!out.empty()) seen_ = out.back()->at;
    if (at_end() && ++group_->at_end == group_->members) group_->clear();
    return out;
  }

  std::shared_ptr<hub> hub_;
  std::unique_ptr<past> past_;  // until it has reached the present and joins its group
  group* group_ = nullptr;
  std::uint64_t position_ = 0;
  revision seen_;
};

hub::~hub() { kedge_assert(watchers_ == 0); }

void hub::start(snapshot s) {
  current_ = std::move(s);
  history_.start(current_.at());
}

void hub::publish(applied a) {
  auto& b = a.batch;
  kedge_assert(b->at == a.after.at() && b->at >= current_.at());
  current_ = std::move(a.after);
  if (stopped_) return;
  for (auto& e : b->events) {
    history_.add(e);
    dispatch(e);
  }
  trim(b->when);
  advanced_.pulse();
}

void hub::trim(time_point now) {
  history_.trim(now, current_.at());
  auto is_too_old = [&](const kept_state& k) {
    return k.used + history_age < now || history_.replaced_bytes() - k.replaced > history_bytes_;
  };
  std::erase_if(kept_, is_too_old);
  while (kept_.size() > exact_snapshots_max) kept_.pop_front();
}

void hub::end_watches() {
  watches_ended_ = true;
  auto& here = reactor::loop::current();
  for (auto& [hash, first] : groups_) {
    for (auto* g = first.get(); g; g = g->next.get()) {
      while (!g->waiting.empty()) here.schedule(g->waiting.front());
    }
  }
}

void hub::stop() {
  stopped_ = true;
  end_watches();
  advanced_.pulse();
}

void hub::group::clear() noexcept {
  base = end();
  // After a burst the memory goes too.
  if (events.capacity() > watch_batch_max)
    release(events);
  else
    events.clear();
  gap = 0;
  bytes = 0;
}

void hub::group::drop_first() {
  bytes -= events[gap]->object->bytes().size();
  events[gap++] = nullptr;
  ++base;
  if (gap > events.size() / 2) {
    events.erase(events.begin(), events.begin() + static_cast<std::ptrdiff_t>(gap));
    gap = 0;
  }
}

void hub::group::add(const event_ref& e) {
  events.push_back(e);
  bytes += e->object->bytes().size();
  at_end = 0;
  // Whoever still needs what is dropped finds out at its next().
  while (size() > watch_lag_events_max || bytes > watch_lag_bytes_max) drop_first();
  auto& here = reactor::loop::current();
  while (!waiting.empty()) here.schedule(waiting.front());
}

const index_list::item* hub::find_index(std::string_view name) const {
  auto* indexes = store_access::indexes(current_);
  return indexes ? indexes->find(name) : nullptr;
}

std::uint64_t hub::hash_of(const watch_scope& scope) const {
  if (!scope.index.empty()) return find_index(scope.index)->hash_of(scope.value);
  auto hash = seed_;
  for (unsigned char c : scope.prefix) hash = hash_step(hash, c);
  return scope.one ? hash_end(hash) : hash;
}

std::uint32_t& hub::population(const watch_scope& scope) {
  if (!scope.index.empty()) return indexed_;
  if (scope.one) return singles_;
  if (lengths_.size() <= scope.prefix.size()) lengths_.resize(scope.prefix.size() + 1);
  return lengths_[scope.prefix.size()];
}

hub::group& hub::join(const watch_scope& scope) {
  auto hash = hash_of(scope);
  auto& first = groups_[hash];
  for (auto* g = first.get(); g; g = g->next.get()) {
    if (g->scope == scope) return *g;
  }
  ++population(scope);
  auto g = std::make_unique<group>();
  g->scope = scope;
  g->hash = hash;
  g->next = std::move(first);
  first = std::move(g);
  return *first;
}

void hub::leave(group& g, bool at_end) {
  if (at_end) --g.at_end;
  if (--g.members > 0) {
    if (g.at_end == g.members) g.clear();
    return;
  }
  --population(g.scope);
  auto found = groups_.find(g.hash);
  auto* link = &found->second;
  while (link->get() != &g) link = &(*link)->next;
  *link = std::unique_ptr<group>(std::move((*link)->next));
  if (!found->second) groups_.erase(found);
}

result<std::unique_ptr<watcher>> hub::watch(watch_scope scope, revision from) {
  if (stopped_) return fail(errc::unavailable, "the store stops");
  if (from == 0) from = current_.at();
  if (from < compacted && from < history_.floor(scope.prefix))
    return fail(errc::expired, fmt::format("revision {} is too old: the history begins at {}", from, compacted));
  // An index that goes may have gone since it was asked for.
  if (!scope.index.empty() && !find_index(scope.index)) scope.index = scope.value = {};
  return std::make_unique<group_watcher>(shared_from_this(), std::move(scope), from);
}

void hub::dispatch(const event_ref& e) {
  auto key = e->object->key();
  auto tell = [&](std::uint64_t hash, auto is_meant) {
    auto found = groups_.find(hash);
    if (found == groups_.end()) return;
    for (auto* g = found->second.get(); g; g = g->next.get()) {
      if (is_meant(g->scope)) g->add(e);
    }
  };
  auto hash = seed_;
  auto hashed = singles_ > 0 ? key.size() : std::min(key.size(), lengths_.size());
  for (std::size_t n = 0; n <= hashed; ++n) {
    if (n > 0) hash = hash_step(hash, static_cast<unsigned char>(key[n - 1]));
    if (n >= lengths_.size() || lengths_[n] == 0) continue;
    tell(hash, [&](const watch_scope& s) { return !s.one && s.index.empty() && s.prefix == key.substr(0, n); });
  }
  if (singles_ > 0)
    tell(hash_end(hash), [&](const watch_scope& s) { return s.one && s.index.empty() && s.prefix == key; });
  if (indexed_ == 0) return;
  for (auto h : e->found_by)
    tell(h, [&](const watch_scope& s) {
      return !s.index.empty() && (s.one ? key == s.prefix : key.starts_with(s.prefix));
    });
}

const hub::kept_state* hub::nearest(revision at, std::string_view prefix) const {
  const kept_state* out = nullptr;
  for (auto& k : kept_) {
    if (k.state.at() >= at && prefix.starts_with(k.prefix) && (!out || k.state.at() < out->state.at())) out = &k;
  }
  return out;
}

void hub::keep(snapshot s, std::string prefix, std::uint64_t replaced) {
  auto now = reactor::loop::current().now();
  std::erase_if(kept_, [&](auto& k) { return k.state.at() == s.at() && k.prefix == prefix; });
  kept_.push_back({std::move(s), std::move(prefix),
                   history_.replaced_bytes() - std::min(replaced, history_.replaced_bytes()), now});
  trim(now);
}

task<result<snapshot>> hub::exactly(revision at, std::string prefix) {
  kedge_assert(at <= current_.at());
  if (at == current_.at()) co_return current_;
  co_await undoing_.acquire();
  struct releases {
    reactor::semaphore& s;
    ~releases() { s.release(); }
  } turn{undoing_};
  auto from = nearest(at, prefix);
  auto state = from ? from->state : current_;
  if (state.at() == at) {
    keep(state, from ? from->prefix : std::string(), from ? history_.replaced_bytes() - from->replaced : 0);
    co_return state;
  }
  // Backwards from the nearest later state, over what came after `at`.
  const auto since = from ? history_.replaced_bytes() - from->replaced : 0;
  auto objects = store_access::objects(state);
  auto& loop = reactor::loop::current();
  std::uint64_t replaced = 0;
  for (auto upto = state.at(); upto > at;) {
    if (auto floor = history_.floor(prefix); at < floor)
      co_return fail(errc::expired, fmt::format("revision {} is too old: the history begins at {}", at, floor));
    auto reached = at;
    std::size_t undone = 0;
    history_.backwards(prefix, at, upto, [&](const event_ref& e) {
      // Between revisions: those of one belong together.
      if (undone > 0 && e->at != reached && undone % 16 == 0 && loop.yield_is_due()) return false;
      ++undone;
      reached = e->at;
      replaced += history::size_of(*e);
      if (e->type == event_type::added)
        objects.erase(e->object->key());
      else
        objects.put(e->previous);
      return true;
    });
    // Whatever was not visited is older than the last one that was.
    upto = undone > 0 ? reached - 1 : at;
    if (upto > at) co_await reactor::maybe_yield();
  }
  auto out = store_access::make(at, std::move(objects));
  keep(out, std::move(prefix), replaced + since);
  co_return out;
}

}  // namespace kedge::store
