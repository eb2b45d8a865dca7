#include "control/feed.h"

#include "control/limits.h"

namespace kedge::control {

const json::value& seen::parsed(const store::object_ref& o, std::shared_ptr<const json::value>& into) {
  static const json::value nothing;
  if (!into && o) into = value_of(o);
  return into ? *into : nothing;
}

void feed::follow(std::string prefix, callback each) {
  kedge_assert(!running_);
  for (auto& f : followers_)
    if (f.prefix == prefix) return f.callbacks.push_back(std::move(each));
  followers_.push_back({std::move(prefix), {}});
  followers_.back().callbacks.push_back(std::move(each));
}

void feed::give(store::event_type type, const store::object_ref& object, const store::object_ref& previous) {
  auto key = object->key();
  for (auto& f : followers_) {
    if (!key.starts_with(f.prefix)) continue;
    seen what(type, object, previous, f.prefix);
    for (auto& each : f.callbacks) each(what);
  }
}

// The next objects of a follower, from the newest state: what is given later than its own change is no older than that.
std::vector<store::object_ref> feed::piece_of(const follower& f, const std::string& start) const {
  std::vector<store::object_ref> out;
  store_.current().scan(f.prefix, start, [&](const store::object_ref& o) {
    out.push_back(o);
    return out.size() < scan_piece;
  });
  return out;
}

// Changes are given between the pieces, so that a long start doesn't fall behind them.
task<result<void>> feed::give_existing(store::watcher& changes) {
  const store::object_ref none;
  for (std::size_t i = 0; i < followers_.size(); ++i) {
    std::string start;
    for (bool more = true; more;) {
      auto piece = piece_of(followers_[i], start);
      more = piece.size() == scan_piece;
      if (more) start = std::string(piece.back()->key()) + '\0';
      for (auto& o : piece) {
        seen what(store::event_type::added, o, none, followers_[i].prefix);
        for (auto& each : followers_[i].callbacks) each(what);
        co_await reactor::maybe_yield();
      }
      while (changes.seen() < store_.current().at()) KEDGE_CO_CHECK(co_await give_next(changes));
    }
  }
  co_return result<void>();
}

task<result<void>> feed::give_next(store::watcher& changes) {
  KEDGE_CO_TRY(auto events, co_await changes.next());
  for (auto& e : events) {
    give(e->type, e->object, e->previous);
    co_await reactor::maybe_yield();
  }
  co_return result<void>();
}

task<error> feed::run() {
  kedge_assert(!running_);
  running_ = true;
  reactor::named_activity a("what controllers follow");
  auto changes = store_.watch("/registry/", store_.current().at());
  if (!changes) co_return changes.error();
  if (auto done = co_await give_existing(**changes); !done) co_return done.error();
  synced_.set();
  for (;;)
    if (auto done = co_await give_next(**changes); !done) co_return done.error();
}

}  // namespace kedge::control
