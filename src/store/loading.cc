#include "store/loading.h"

#include "base/log.h"
#include "base/strings.h"
#include "reactor/sync.h"
#include "store/object.h"

namespace kedge::store {

using datastore::change;

task<result<void>> loader::read_what_exists() {
  for (;;) {
    auto done = co_await read_pages();
    if (done || done.error().code != errc::expired) co_return done;
    log::info("{}: {}; reading again", options_.log->description(), done.error().message);
    objects = indexed_tree(objects.indexes());
    leased.clear();
    sealed_.clear();
    values_.forget();
    at = 0;
  }
}

task<result<void>> loader::read_pages() {
  // The next page is read while this one is put into memory.
  struct coming {
    std::optional<result<datastore::page>> page;
    reactor::event done;
  };
  reactor::scope reading;
  auto ask = [&](revision after) {
    auto next = std::make_shared<coming>();
    reading.spawn([](datastore::log& from, revision begin, std::shared_ptr<coming> to) -> task<void> {
      to->page = co_await from.load_live(begin);
      to->done.set();
    }(*options_.log, after, next));
    return next;
  };
  for (auto next = ask(0);;) {
    co_await next->done.wait();
    if (!*next->page) co_return fail(std::move(*next->page).error());
    auto page = **std::move(next->page);
    if (!page.done) next = ask(page.at);
    compacted = std::max(compacted, page.compacted);
    note_newest(page);
    for (auto& e : page.entries) {
      if (e.kind != change::remove && stored_values::is_sealed(e.value) && !values_.plain(e.name, e.value))
        sealed_.insert_or_assign(e.name, std::move(e));
      else
        load(e);
      co_await reactor::maybe_yield();
    }
    at = std::max(at, page.at);
    if (page.done) co_return result<void>();
  }
}

task<result<void>> loader::read_the_rest() {
  for (bool done = false; !done;) {
    KEDGE_CO_TRY(auto page, co_await options_.log->load(at));
    note_newest(page);
    compacted = std::max(compacted, page.compacted);
    for (auto& e : page.entries) load(e);
    at = std::max(at, page.at);
    done = page.done;
  }
  open_some();
  // Older versions of the rows with keys may have what the newest has no more.
  auto seen = [this](const std::string& key, std::string_view stored) {
    if (options_.transform.seen) options_.transform.seen(key, stored);
    open_some();
  };
  if (!sealed_.empty()) {
    KEDGE_CO_CHECK(co_await values_.read_key_rows(compacted, at, [&](const datastore::past_change& c) {
      if (c.replaced) seen(c.what.name, *c.replaced);
      if (c.what.kind != change::remove) seen(c.what.name, c.what.value);
    }));
  }
  while (!sealed_.empty()) load(datastore::entry(std::move(sealed_.begin()->second)));
  co_return result<void>();
}

void loader::note_newest(const datastore::page& p) {
  if (p.entries.empty()) return;
  auto& e = p.entries.back();
  if (e.at > newest.at) newest = look_at(e.at, e.kind, e.name, e.value);
}

void loader::open_some() {
  for (auto i = sealed_.begin(); i != sealed_.end();) {
    auto& e = (i++)->second;
    if (values_.plain(e.name, e.value)) load(datastore::entry(std::move(e)));
  }
}

void loader::load(const datastore::entry& e) {
  if (!sealed_.empty()) sealed_.erase(e.name);
  if (e.name == datastore::loss_name) loss_told = std::max<revision>(loss_told, parse_uint(e.value).value_or(0));
  auto text = values_.take(e);
  if (!text) {
    objects.erase(e.name);
    return;
  }
  auto created = e.kind == change::create || !e.created ? e.at : e.created;
  auto o = object_access::make(e.name, *text, e.at, created, e.lease_seconds);
  if (settled_.would_help(*o)) o = settled_.copy(*o);
  if (e.lease_seconds) leased.push_back(o);
  objects.put(std::move(o));
}

}  // namespace kedge::store
