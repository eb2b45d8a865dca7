#include "api/read/watching.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/custom/conversion.h"
#include "api/custom/limits.h"
#include "api/custom/tables.h"
#include "api/read/limits.h"
#include "base/strings.h"
#include "json/write.h"
#include "reactor/loop.h"
#include "reactor/own_frame.h"
#include "reactor/wait_limit.h"

namespace kedge::api {
namespace {

using frame = std::shared_ptr<const std::string>;

bool selected(const watch_state& w, const store::object_ref& o) {
  return o && (!w.which || w.which->matches(*w.what, o));
}

// The event as this watch sees it; empty when it doesn't.
std::string_view seen_type(const watch_state& w, const store::event& e) {
  switch (e.type) {
    case store::event_type::added: return selected(w, e.object) ? "ADDED" : "";
    case store::event_type::deleted: return selected(w, e.previous) ? "DELETED" : "";
    case store::event_type::modified: {
      if (!w.which) return "MODIFIED";
      const bool now = selected(w, e.object), before = selected(w, e.previous);
      return now ? (before ? "MODIFIED" : "ADDED") : before ? "DELETED" : "";
    }
  }
  return "";
}

// `shown`: a revision to show instead of the object's own; 0: none.
frame frame_of(watch_state& w, std::string_view type, const store::object_ref& o, store::revision shown = 0) {
  const bool columns = w.as.as.as == shape::table && !std::exchange(w.columns_sent, true);
  auto out = watch_frame(*w.what, type, o, w.as, reactor::loop::current().wall_now(), columns, shown);
  w.counts.sent(out->size());
  return out;
}

std::string counted(const watch_state& w, std::string event) {
  w.counts.sent(event.size());
  return event;
}

// Takes up to watch_batch_events of `events` from `at` on; advances `at`. Fewer when the loop's turn is over.
std::vector<frame> take_batch(watch_state& w, const std::vector<store::event_ref>& events, std::size_t& at) {
  auto& loop = reactor::loop::current();
  std::vector<frame> out;
  for (; at < events.size() && out.size() < watch_batch_events; ++at) {
    if (!out.empty() && loop.yield_is_due()) break;
    auto& e = *events[at];
    if (e.at <= w.from) continue;
    auto type = seen_type(w, e);
    if (type.empty()) continue;
    // What is gone, or no longer selected, ends as it was last: whoever decides by the object must not be shown another
    // one, and whoever may see only what is selected not what it has become.
    out.push_back(type == "DELETED" ? frame_of(w, type, e.previous, e.at) : frame_of(w, type, e.object));
  }
  return out;
}

json::value bookmark_object(const watch_state& w, store::revision at, bool end_mark) {
  json::object meta{{"resourceVersion", std::to_string(at)}};
  if (end_mark) meta.set("annotations", json::object{{"k8s.io/initial-events-end", "true"}});
  auto& s = *w.what;
  if (w.as.as.as == shape::table) {
    auto t = table_head(s, w.as.as.v1beta1, false);
    t.set("metadata", std::move(meta));
    return t;
  }
  if (w.as.as.as != shape::whole)
    return json::object{{"kind", "PartialObjectMetadata"},
                        {"apiVersion", w.as.as.v1beta1 ? "meta.k8s.io/v1beta1" : "meta.k8s.io/v1"},
                        {"metadata", std::move(meta)}};
  return json::object{{"kind", s.kind}, {"apiVersion", s.api_version}, {"metadata", std::move(meta)}};
}

task<result<void>> write_frames(net::http::exchange& e, std::vector<frame> frames) {
  if (frames.empty()) co_return result<void>();
  std::vector<bytes> parts;
  parts.reserve(frames.size());
  for (auto& f : frames) parts.push_back(as_bytes(*f));
  co_return co_await e.write(parts);
}

KEDGE_OWN_FRAME task<result<void>> write_one(net::http::exchange& e, std::string text) {
  co_return co_await e.write(std::string_view(text));
}

custom::converter* versions_of(const watch_state& w) { return w.tables ? w.tables->versions() : nullptr; }

// The watch ends with what went wrong.
KEDGE_OWN_FRAME task<result<void>> break_off(net::http::exchange& e, const watch_state& w, status why) {
  (void)co_await write_one(e, watch_frame_of("ERROR", why.to_json(), w.as.as));
  co_return fail(errc::closed, "what happened can't be shown");
}

// The events with objects in the version that is watched.
KEDGE_OWN_FRAME task<api_result<std::vector<store::event_ref>>> converted(const watch_state& w,
                                                                          std::vector<store::event_ref> events) {
  std::vector<store::object_ref> objects;
  for (auto& e : events)
    for (auto o : {&e->object, &e->previous})
      if (*o) objects.push_back(*o);
  KEDGE_CO_TRY(objects, co_await custom::show_all(versions_of(w), *w.what, std::move(objects)));
  std::size_t at = 0;
  for (auto& e : events) {
    auto shown = std::make_shared<store::event>(*e);
    for (auto o : {&shown->object, &shown->previous})
      if (*o) *o = objects[at++];
    e = std::move(shown);
  }
  co_return std::move(events);
}

KEDGE_OWN_FRAME task<result<void>> write_initial_converted(net::http::exchange& e, watch_state& w,
                                                           store::snapshot cluster, search where) {
  const selection everything;
  object_walk walk(cluster, *w.what, std::move(where), everything, {});
  for (auto reached = object_walk::end::none; reached != object_walk::end::all;) {
    std::vector<store::object_ref> piece;
    reached = walk.step([&](const store::object_ref& o) {
      if (piece.size() == watch_batch_events) return false;
      piece.push_back(o);
      return true;
    });
    auto shown = co_await custom::show_all(versions_of(w), *w.what, std::move(piece));
    if (!shown) co_return co_await break_off(e, w, std::move(shown).error());
    std::vector<frame> batch;
    for (auto& o : *shown)
      if (selected(w, o)) batch.push_back(frame_of(w, "ADDED", o));
    KEDGE_CO_CHECK(co_await write_frames(e, std::move(batch)));
    co_await reactor::maybe_yield();
  }
  co_return result<void>();
}

KEDGE_OWN_FRAME task<result<void>> write_initial(net::http::exchange& e, watch_state& w, store::snapshot cluster,
                                                 search where, bool end_mark) {
  const selection everything;
  auto& loop = reactor::loop::current();
  std::vector<frame> batch;
  auto take = [&](const store::object_ref& o) {
    if (batch.size() == watch_batch_events || (!batch.empty() && loop.yield_is_due())) return false;
    batch.push_back(frame_of(w, "ADDED", o));
    return true;
  };
  object_walk walk(cluster, *w.what, where, w.which ? *w.which : everything, {});
  if (w.converts) KEDGE_CO_CHECK(co_await write_initial_converted(e, w, cluster, where));
  for (auto reached = w.converts ? object_walk::end::all : object_walk::end::none; reached != object_walk::end::all;) {
    reached = walk.step(take);
    KEDGE_CO_CHECK(co_await write_frames(e, std::exchange(batch, {})));
    co_await reactor::maybe_yield();
  }
  if (!end_mark) co_return result<void>();
  co_return co_await write_one(e,
                               counted(w, watch_frame_of("BOOKMARK", bookmark_object(w, cluster.at(), true), w.as.as)));
}

KEDGE_OWN_FRAME task<result<void>> write_events(net::http::exchange& e, watch_state& w,
                                                std::vector<store::event_ref> events) {
  if (w.converts) {
    auto shown = co_await converted(w, std::move(events));
    if (!shown) co_return co_await break_off(e, w, std::move(shown).error());
    events = *std::move(shown);
  }
  std::size_t at = 0;
  while (at < events.size()) {
    KEDGE_CO_CHECK(co_await write_frames(e, take_batch(w, events, at)));
    co_await reactor::maybe_yield();
  }
  co_return result<void>();
}

time_point next_tick(const watch_state& w) {
  auto next = w.bookmarks ? std::min(w.next_bookmark, w.ends) : w.ends;
  return w.kept && w.tables ? std::min(next, reactor::loop::current().now() + custom_watch_check) : next;
}

// Whether the watched custom resource was changed or removed.
bool outlived(const watch_state& w) {
  if (!w.kept || !w.tables) return false;
  auto s = w.tables->current()->find(w.what->group, w.what->version, w.what->resource);
  return !s || pin(*s) != w.kept;
}

// A bookmark when one is due. False at the end of the watch's life.
bool tick(watch_state& w, std::string& text) {
  const auto now = reactor::loop::current().now();
  if (now >= w.ends || outlived(w)) return false;
  if (!w.bookmarks || now < w.next_bookmark) return true;
  text = counted(w, watch_frame_of("BOOKMARK", bookmark_object(w, std::max(w.source->seen(), w.from), false), w.as.as));
  auto last = w.ends - bookmark_before_end;
  w.next_bookmark = now + bookmark_interval;
  if (now < last && w.next_bookmark > last) w.next_bookmark = last;
  if (now >= last) w.next_bookmark = w.ends;
  return true;
}

std::string expired_event(const watch_state& w, std::string message) {
  auto s = expired(std::move(message));
  return watch_frame_of("ERROR", s.to_json(), w.as.as);
}

// False at the end of the watch's life.
KEDGE_OWN_FRAME task<bool> tell(net::http::exchange& e, watch_state& w, result<std::vector<store::event_ref>> events) {
  if (events) co_return co_await write_events(e, w, *std::move(events)) && !outlived(w);
  if (events.error().code == errc::expired) {
    (void)co_await write_one(e, expired_event(w, "The resourceVersion for the provided watch is too old."));
    co_return false;
  }
  if (events.error().code != errc::timeout) co_return false;
  std::string text;
  if (!tick(w, text)) co_return false;
  co_return text.empty() || co_await write_one(e, std::move(text));
}

// Follows the source. This is the frame that an idle watch keeps.
KEDGE_OWN_FRAME task<void> follow(net::http::exchange& e, watch_state& w) {
  reactor::wait_limit limit;
  for (;;) {
    auto events = co_await limit.until(next_tick(w), w.source->next());
    if (!co_await tell(e, w, std::move(events))) co_return;
  }
}

std::int64_t lifetime_seconds(const list_options& o) {
  if (o.timeout_seconds && *o.timeout_seconds > 0) return *o.timeout_seconds;
  return watch_lifetime_min_seconds + static_cast<std::int64_t>(reactor::loop::current().random().below(
                                          static_cast<std::uint64_t>(watch_lifetime_min_seconds)));
}

}  // namespace

task<api_result<watch_start>> open_watch(store::store& s, const authorized& target, list_options o, selection which,
                                         view as, custom::tables* tables) {
  KEDGE_CO_TRY(auto wanted, parse_resource_version(o.resource_version));
  watch_start out;
  out.state = std::make_unique<watch_state>();
  auto& w = *out.state;
  auto& what = target.what();
  w.what = &what;
  w.converts = custom::may_need_call(what);
  w.kept = pin(what);
  w.tables = tables;
  w.as = as;
  w.bookmarks = o.allow_bookmarks;
  const auto now = reactor::loop::current().now();
  w.ends = now + std::chrono::seconds(lifetime_seconds(o));
  w.next_bookmark = std::min(now + bookmark_interval, std::max(w.ends - bookmark_before_end, now));

  const bool from_start = !wanted || *wanted == 0;
  out.send_initial = o.send_initial_events ? *o.send_initial_events : from_start;
  out.end_mark = out.send_initial && o.allow_bookmarks;
  if (from_start || out.send_initial) {
    // sendInitialEvents with a revision: the state at that revision or later.
    KEDGE_CO_TRY(out.initial, co_await snapshot_for(s, what, std::string(o.resource_version), "NotOlderThan", false));
    w.from = out.initial.at();
  } else {
    w.from = *wanted;
  }
  out.where = search_for(target, which, out.send_initial ? out.initial : s.current());
  if (!which.everything()) w.which = std::make_unique<selection>(std::move(which));
  auto source = s.watch(out.where.scope, w.from);
  if (!source) {
    if (source.error().code != errc::expired) co_return fail(from_error(source.error()));
    out.refused = fmt::format("too old resource version: {} ({})", w.from, s.current().at());
    co_return out;
  }
  w.source = *std::move(source);
  co_return out;
}

KEDGE_OWN_FRAME task<bool> begin_watch(net::http::exchange& e, prepared_watch& p) {
  if (!co_await e.start(p.head)) co_return false;
  p.head = {};
  auto& w = *p.start.state;
  if (!p.start.refused.empty()) {
    (void)co_await write_one(e, expired_event(w, p.start.refused));
    co_return true;
  }
  if (p.start.send_initial && !co_await write_initial(e, w, std::exchange(p.start.initial, {}),
                                                      std::exchange(p.start.where, {}), p.start.end_mark))
    co_return false;
  // An idle watch must not keep an old state of the cluster alive.
  p.start.initial = {};
  p.start.where = {};
  co_return true;
}

task<void> follow_watch(net::http::exchange& e, prepared_watch& p) {
  if (p.start.refused.empty()) co_await follow(e, *p.start.state);
  (void)co_await e.finish();
}

}  // namespace kedge::api
