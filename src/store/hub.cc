#include "store/hub.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/assert.h"
#include "base/release.h"
#include "store/limits.h"
#include "store/object.h"

namespace kedge::store {

namespace {

bool concerns(const event& e, std::string_view prefix) { return e.object->key().starts_with(prefix); }

std::unexpected<error> too_slow() {
  return fail(errc::expired, "this watch did not keep up with the changes of its prefix; list again");
}

}  // namespace

class hub::prefix_watcher final : public watcher {
 public:
  prefix_watcher(std::shared_ptr<hub> owner, group& g, revision from) noexcept
      : hub_(std::move(owner)), group_(g), position_(g.end()), seen_(from) {}
  prefix_watcher(const prefix_watcher&) = delete;
  prefix_watcher& operator=(const prefix_watcher&) = delete;
  ~prefix_watcher() override { hub_->leave(group_, at_end()); }

  // Events between its start and its joining of the group.
  std::vector<event_ref> backlog;

  task<result<std::vector<event_ref>>> next() override {
    for (;;) {
      if (hub_->watches_ended_) co_return fail(errc::unavailable, "the store stops");
      if (!backlog.empty()) co_return take_backlog();
      if (position_ < group_.base) co_return too_slow();
      if (!at_end()) {
        auto out = take_events();
        if (!out.empty()) co_return out;
        continue;
      }
      co_await turn{{}, group_.waiting};
    }
  }

  revision seen() const noexcept override {
    return backlog.empty() && at_end() ? std::max(seen_, hub_->current_.at()) : seen_;
  }

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

  bool at_end() const noexcept { return position_ == group_.end(); }

  std::vector<event_ref> take_backlog() {
    if (backlog.size() <= watch_batch_max) {
      seen_ = backlog.back()->at;
      return std::exchange(backlog, {});
    }
    auto middle = backlog.begin() + watch_batch_max;
    std::vector<event_ref> out(std::make_move_iterator(backlog.begin()), std::make_move_iterator(middle));
    backlog.erase(backlog.begin(), middle);
    seen_ = out.back()->at;
    return out;
  }

  std::vector<event_ref> take_events() {
    std::vector<event_ref> out;
    auto n = std::min<std::uint64_t>(group_.end() - position_, watch_batch_max);
    out.reserve(n);
    for (std::uint64_t i = 0; i < n; ++i) {
      auto& e = group_.at(position_);
      ++position_;
      // The start may have been seen on a core that was ahead of this one.
      if (e->at > seen_) out.push_back(e);
    }
    if (!out.empty()) seen_ = out.back()->at;
    if (at_end() && ++group_.at_end == group_.members) group_.clear();
    return out;
  }

  std::shared_ptr<hub> hub_;
  group& group_;
  std::uint64_t position_;
  revision seen_;
};

hub::~hub() { kedge_assert(watchers_ == 0); }

void hub::start(snapshot s, revision floor) {
  current_ = std::move(s);
  floor_ = floor;
}

std::uint64_t hub::hash_step(std::uint64_t h, unsigned char c) const noexcept {
  // One pass gives the hash of every prefix. The seed is the process's own, so nobody can choose prefixes that collide.
  h = (h ^ c) * 0x9fb21c651e98df25;
  return h ^ (h >> 29);
}

void hub::publish(applied a) {
  auto& b = a.batch;
  kedge_assert(b->at == a.after.at() && b->at >= current_.at());
  current_ = std::move(a.after);
  if (stopped_) return;
  for (auto& e : b->events) dispatch(e);
  events_ += b->events.size();
  bytes_ += b->bytes;
  since_anchor_ += b->events.size();
  auto when = b->when;
  if (!b->events.empty()) history_.push_back({std::move(b), {}});
  if (since_anchor_ >= history_anchor_events) {
    history_.back().anchor = current_;
    since_anchor_ = 0;
  }
  trim(when);
  advanced_.pulse();
}

void hub::trim(time_point now) {
  while (!history_.empty() &&
         (events_ > limits_.events || bytes_ > limits_.bytes || history_.front().batch->when + limits_.age < now)) {
    drop_oldest();
  }
  while (!exact_.empty() && exact_.front().at() < floor_) exact_.pop_front();
}

void hub::drop_oldest() {
  auto& b = *history_.front().batch;
  floor_ = b.at;
  events_ -= b.events.size();
  bytes_ -= b.bytes;
  history_.pop_front();
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

hub::group& hub::join(std::string prefix) {
  std::uint64_t hash = seed_;
  for (unsigned char c : prefix) hash = hash_step(hash, c);
  auto& first = groups_[hash];
  for (auto* g = first.get(); g; g = g->next.get()) {
    if (g->prefix == prefix) return *g;
  }
  auto g = std::make_unique<group>();
  if (lengths_.size() <= prefix.size()) lengths_.resize(prefix.size() + 1);
  ++lengths_[prefix.size()];
  g->prefix = std::move(prefix);
  g->hash = hash;
  g->next = std::move(first);
  first = std::move(g);
  return *first;
}

void hub::leave(group& g, bool at_end) {
  --watchers_;
  if (at_end) --g.at_end;
  if (--g.members > 0) {
    if (g.at_end == g.members) g.clear();
    return;
  }
  --lengths_[g.prefix.size()];
  auto found = groups_.find(g.hash);
  auto* link = &found->second;
  while (link->get() != &g) link = &(*link)->next;
  *link = std::unique_ptr<group>(std::move((*link)->next));
  if (!found->second) groups_.erase(found);
}

result<std::unique_ptr<watcher>> hub::watch(std::string prefix, revision from) {
  if (stopped_) return fail(errc::unavailable, "the store stops");
  if (from == 0) from = current_.at();
  if (from < floor_)
    return fail(errc::expired, fmt::format("revision {} is too old: the history begins at {}", from, floor_));
  std::vector<event_ref> backlog;
  auto first =
      std::partition_point(history_.begin(), history_.end(), [&](const kept& k) { return k.batch->at <= from; });
  for (auto i = first; i != history_.end(); ++i) {
    for (auto& e : i->batch->events) {
      if (e->at > from && concerns(*e, prefix)) backlog.push_back(e);
    }
  }
  auto& g = join(std::move(prefix));
  auto w = std::make_unique<prefix_watcher>(shared_from_this(), g, from);
  ++watchers_;
  ++g.members;
  ++g.at_end;
  w->backlog = std::move(backlog);
  return w;
}

void hub::dispatch(const event_ref& e) {
  auto key = e->object->key();
  std::uint64_t hash = seed_;
  auto longest = std::min(key.size() + 1, lengths_.size());
  for (std::size_t n = 0; n < longest; ++n) {
    if (n > 0) hash = hash_step(hash, static_cast<unsigned char>(key[n - 1]));
    if (lengths_[n] == 0) continue;
    auto found = groups_.find(hash);
    if (found == groups_.end()) continue;
    for (auto* g = found->second.get(); g; g = g->next.get()) {
      if (g->prefix != key.substr(0, n)) continue;
      g->events.push_back(e);
      g->bytes += e->object->bytes().size();
      g->at_end = 0;
      // Whoever still needs what is dropped finds out at its next().
      while (g->size() > watch_lag_events_max || g->bytes > watch_lag_bytes_max) g->drop_first();
      auto& here = reactor::loop::current();
      while (!g->waiting.empty()) here.schedule(g->waiting.front());
    }
  }
}

snapshot hub::exactly(revision at) {
  kedge_assert(at >= floor_ && at <= current_.at());
  if (at == current_.at()) return current_;
  for (auto& s : exact_) {
    if (s.at() == at) return s;
  }
  // From the nearest later state that is kept, backwards over what came after `at`.
  auto i = std::partition_point(history_.begin(), history_.end(), [&](const kept& k) { return k.batch->at <= at; });
  auto last = i;
  while (last != history_.end() && last->anchor.at() == 0) ++last;
  auto objects = store_access::objects(last == history_.end() ? current_ : last->anchor);
  if (last != history_.end()) ++last;
  while (last != i) {
    auto& events = (--last)->batch->events;
    for (auto e = events.rbegin(); e != events.rend() && (*e)->at > at; ++e) {
      if ((*e)->type == event_type::added)
        objects.erase((*e)->object->key());
      else
        objects.put((*e)->previous);
    }
  }
  auto out = store_access::make(at, std::move(objects));
  exact_.push_back(out);
  if (exact_.size() > exact_snapshots_max) exact_.pop_front();
  return out;
}

event_ref hub::find_event(revision at) const {
  auto i = std::partition_point(history_.begin(), history_.end(), [&](const kept& k) { return k.batch->at < at; });
  if (i == history_.end()) return nullptr;
  for (auto& e : i->batch->events) {
    if (e->at == at) return e;
  }
  return nullptr;
}

}  // namespace kedge::store
