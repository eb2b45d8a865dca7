#include "server/etcd/adopt.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>

#include "datastore/etcd/etcd_log.h"
#include "datastore/limits.h"
#include "datastore/sqlite/sqlite_log.h"

namespace kedge::server {

namespace {

task<result<std::size_t>> copy(datastore::log& from, datastore::log& to) {
  KEDGE_CO_CHECK(co_await from.open());
  KEDGE_CO_CHECK(co_await to.open());
  KEDGE_CO_TRY(auto there, co_await to.load_live(0));
  if (!there.entries.empty()) co_return fail(errc::already_exists, "etcd isn't empty");
  KEDGE_CO_CHECK(co_await to.begin());
  // The newest of each key, in whatever page it comes; all of it goes into memory anyway when the server is up.
  std::map<std::string, datastore::entry, std::less<>> standing;
  datastore::revision after = 0;
  for (bool done = false; !done;) {
    KEDGE_CO_TRY(auto page, co_await from.load_live(after));
    after = page.at;
    done = page.done;
    for (auto& e : page.entries) {
      if (e.kind == datastore::change::remove)
        standing.erase(e.name);
      else
        standing.insert_or_assign(e.name, std::move(e));
    }
  }
  standing.erase("/registry/health");
  std::size_t written = 0;
  datastore::revision newest = 0;
  for (auto next = standing.begin(); next != standing.end();) {
    auto batch = std::make_shared<std::vector<datastore::operation>>();
    for (; next != standing.end() && batch->size() < datastore::batch_ops_max; ++next) {
      auto& e = next->second;
      batch->push_back({datastore::change::create, next->first, std::move(e.value), 0, 0, e.lease_seconds});
    }
    KEDGE_CO_TRY(auto done, co_await to.append(batch));
    for (auto& o : done.outcomes) {
      if (o.what != datastore::outcome::status::committed)
        co_return fail(done.refused.value_or(error(errc::already_exists, "somebody else writes to the new etcd")));
      newest = std::max(newest, o.at);
    }
    written += batch->size();
  }
  if (newest) KEDGE_CO_CHECK(co_await to.compact(newest));
  co_return written;
}

}  // namespace

task<result<std::size_t>> adopt_database(datastore::sqlite_options from, datastore::etcd::settings to) {
  auto old = datastore::make_sqlite_log(std::move(from));
  auto fresh = datastore::make_etcd_log({.cluster = std::move(to)});
  auto done = co_await copy(*old, *fresh);
  co_await old->close();
  co_await fresh->close();
  co_return done;
}

}  // namespace kedge::server
