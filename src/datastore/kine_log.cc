#include "datastore/kine_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace kedge::datastore {

kine_row make_row(const kine_columns& c) {
  kine_row out;
  out.id = c.id;
  if (c.id <= 0 || c.name.empty() || c.name == compact_key) return out;
  auto number = [](std::int64_t n) { return static_cast<revision>(std::max<std::int64_t>(0, n)); };
  entry e;
  e.at = static_cast<revision>(c.id);
  e.name = c.name;
  e.kind = c.deleted != 0 ? change::remove : c.created != 0 ? change::create : change::update;
  e.previous = number(c.prev_revision);
  e.created = e.kind == change::create ? e.at : number(c.create_revision);
  e.lease_seconds = e.kind == change::remove ? 0 : static_cast<std::uint32_t>(number(c.lease));
  e.value = c.value;
  out.what = std::move(e);
  return out;
}

result<void> kine_log::still_there(revision after, revision compacted) {
  if (after >= compacted) return {};
  return fail(errc::expired, fmt::format("revision {} is compacted: the history begins at {}", after, compacted));
}

void kine_log::know(revision at, const entry* e) {
  if (at <= known_.at) return;
  known_ = {};
  known_.at = at;
  if (e && e->at == at) {
    known_.name = e->name;
    known_.previous = e->previous;
    known_.value = e->value;
  }
}

task<result<page>> kine_log::read_from(revision after) {
  gap g{.after = after, .told = reactor::loop::current().now() + gap_told_after};
  std::size_t pause = 0;
  for (;;) {
    KEDGE_CO_TRY(auto n, co_await ask_news(after));
    if (n.newest < after)
      co_return fail(fork(fmt::format("its newest row is {}, this server has {}", n.newest, after)));
    if (after != 0) KEDGE_CO_CHECK(still_there(after, n.compacted));
    page out;
    out.compacted = n.compacted;
    out.at = after;
    bool whole = take_contiguous(n, out);
    if (out.at > after || n.list.empty()) {
      out.done = whole && out.at >= n.newest;
      know(out.at, out.entries.empty() ? nullptr : &out.entries.back());
      co_return out;
    }
    if (pause < std::size(gap_pauses)) {
      co_await reactor::sleep_for(gap_pauses[pause++]);
      continue;
    }
    KEDGE_CO_CHECK(co_await look_into(g, n));
  }
}

bool kine_log::take_contiguous(kine_news& n, page& out) const {
  for (auto& r : n.list) {
    auto id = static_cast<revision>(r.id);
    if (r.id <= 0) continue;
    // Below the compact revision rows are missing by right; and a table may begin anywhere.
    bool follows = id == out.at + 1 || id <= n.compacted || id <= explained_ || (out.at == 0 && n.compacted == 0) ||
                   (out.at < n.compacted && id == n.compacted + 1);
    if (!follows) return false;
    out.at = id;
    if (r.what) out.entries.push_back(std::move(*r.what));
  }
  return true;
}

task<result<page>> kine_log::load_snapshot(revision after, bool live) {
  auto answer = co_await ask_snapshot(after, live);
  if (!answer) {
    end_snapshot();
    co_return fail(std::move(answer).error());
  }
  page out;
  out.compacted = answer->compacted;
  out.at = after;
  bool whole = take_contiguous(*answer, out);
  know(out.at, out.entries.empty() ? nullptr : &out.entries.back());
  out.done = !whole || out.at >= answer->newest || answer->list.empty();
  snapshot_at_ = out.at;
  if (out.done) end_snapshot();
  co_return out;
}

task<result<appended>> kine_log::settle(written w) {
  appended out;
  out.outcomes = std::move(w.outcomes);
  // The caller has everything up to `told`: this session's answers before, or what it named as seen.
  page before;
  before.at = w.told;
  before.compacted = w.others.compacted;
  bool plain = w.told >= w.others.compacted && take_contiguous(w.others, before), none = true;
  for (auto& o : out.outcomes) {
    if (o.what != outcome::status::committed) continue;
    none = false;
    plain = plain && o.at == ++before.at;
  }
  if (none || plain) {
    out.others = std::move(before.entries);
    if (none)
      know(before.at, out.others.empty() ? nullptr : &out.others.back());
    else if (w.newest.at > known_.at)
      known_ = std::move(w.newest);
    co_return out;
  }
  // Rows of others lie between ours, some are not visible yet, or there are more than an answer holds: everything comes
  // from the table.
  for (auto after = w.told; after < w.newest.at;) {
    auto p = co_await read_from(after);
    if (!p) {
      kedge::log::warning("{}: writes landed, but what came before them can't be read: {}", description_,
                          p.error().message);
      co_return fail(errc::unknown_outcome, p.error().message);
    }
    after = p->at;
    std::move(p->entries.begin(), p->entries.end(), std::back_inserter(out.others));
  }
  co_return out;
}

}  // namespace kedge::datastore
