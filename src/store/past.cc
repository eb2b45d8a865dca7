#include "store/past.h"

#include <algorithm>

#include "store/limits.h"
#include "store/object.h"

namespace kedge::store {

namespace {

struct released {
  reactor::semaphore& of;
  ~released() { of.release(); }
};

}  // namespace

stretch_ref past_reader::kept(std::string_view prefix, revision after) {
  auto now = reactor::loop::current().now();
  std::erase_if(kept_, [&](auto& k) { return k.read + past_stretch_kept < now; });
  for (auto& k : kept_) {
    if (k.after == after && k.prefix == prefix) return k.what;
  }
  return nullptr;
}

task<result<stretch_ref>> past_reader::events(std::string prefix, revision after, revision newest) {
  auto at = after - after % past_stretch;
  const auto end = at + past_stretch;
  for (;;) {
    auto found = co_await read(prefix, at, std::min(newest, end));
    if (!found && found.error().code == errc::expired && at < after) {
      // What is compacted ends within the stretch.
      at = after;
      continue;
    }
    if (!found || (*found)->at > after) co_return found;
    at = (*found)->at;
  }
}

task<result<stretch_ref>> past_reader::read(std::string prefix, revision after, revision upto) {
  if (auto found = kept(prefix, after)) co_return found;
  co_await readers_.acquire();
  released turn{readers_};
  if (auto found = kept(prefix, after)) co_return found;
  KEDGE_CO_TRY(auto page, co_await source_.log.past({.after = after, .upto = upto, .prefix = prefix}));
  kedge_assert(page.at > after);
  auto out = std::make_shared<stretch>();
  out->at = page.at;
  for (auto& c : page.changes) {
    if (auto e = event_of(c)) out->events.push_back(std::move(e));
    co_await reactor::maybe_yield();
  }
  kept_.push_back({std::move(prefix), after, reactor::loop::current().now(), out});
  if (kept_.size() > past_stretches_max) kept_.pop_front();
  co_return out;
}

task<result<undone>> past_reader::undo(std::string prefix, revision state, revision after, revision upto) {
  co_await readers_.acquire();
  released turn{readers_};
  KEDGE_CO_TRY(auto page, co_await source_.log.past(
                              {.after = after, .upto = upto, .prefix = std::move(prefix), .replaced_max = state}));
  kedge_assert(page.at > after);
  undone out;
  out.at = page.at;
  for (auto& c : page.changes) {
    out.versions.emplace_back(c.what.name, object_of(c, true));
    co_await reactor::maybe_yield();
  }
  co_return out;
}

object_ref past_reader::object_of(const datastore::past_change& c, bool replaced) const {
  auto& e = c.what;
  if (replaced ? !c.replaced : e.kind == datastore::change::remove) return {};
  auto text = source_.values.plain(e.name, replaced ? *c.replaced : e.value);
  if (!text) return {};
  auto at = replaced ? e.previous : e.at;
  return object_access::make(e.name, *text, at, e.created ? e.created : at, e.lease_seconds);
}

event_ref past_reader::event_of(const datastore::past_change& c) const {
  auto e = std::make_shared<event>();
  e->at = c.what.at;
  e->previous = object_of(c, true);
  e->object = object_of(c, false);
  if (!e->previous && !e->object) return nullptr;
  e->found_by = source_.found_by(object_access::get(e->previous), object_access::get(e->object));
  e->type = !e->object ? event_type::deleted : e->previous ? event_type::modified : event_type::added;
  if (!e->object) e->object = object_access::with_revision(*e->previous, e->at);
  e->resource_size = static_cast<std::uint32_t>(source_.resource_size(c.what.name));
  return e;
}

}  // namespace kedge::store
