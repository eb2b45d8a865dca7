#include "server/database_space.h"

#include "base/log.h"
#include "store/open.h"

namespace kedge::server {

namespace {
constexpr auto measure_interval = std::chrono::seconds(5);  // how old what /metrics says may be
}  // namespace

task<result<void>> database_space::start() {
  auto& home = shared_.home();
  shared_.datastore_status = [this, &home]() -> task<json::value> {
    co_return co_await reactor::call_on(home, [this]() -> task<json::value> { co_return status(); });
  };
  shared_.compact_datastore = [this, &home]() -> task<result<void>> {
    co_return co_await reactor::call_on(home, [this]() -> task<result<void>> { co_return compact(); });
  };
  running_.spawn(measure());
  co_return result<void>();
}

task<void> database_space::stop() {
  running_.cancel();
  co_return;
}

json::value database_space::status() const {
  json::object out{{"compacting", compacting_}};
  if (auto space = store::occupied(identity_.objects())) {
    out.set("bytes", static_cast<std::int64_t>(space->bytes));
    out.set("free", static_cast<std::int64_t>(space->free));
  }
  if (!failed_.empty()) out.set("error", failed_);
  return json::value(std::move(out));
}

// Goes on after the answer.
result<void> database_space::compact() {
  if (std::exchange(compacting_, true)) return fail(errc::unavailable, "the datastore is being compacted");
  failed_.clear();
  running_.spawn([](database_space& self) -> task<void> {
    auto done = co_await store::compact(self.identity_.objects());
    if (!done) log::warning("compacting the datastore: {}", self.failed_ = done.error().message);
    self.compacting_ = false;
  }(*this));
  return {};
}

task<void> database_space::measure() {
  // kube-apiserver tells etcd's under this name.
  auto& size = shared_.measures.gauge("apiserver_storage_size_bytes",
                                      "[STABLE] Size of the storage database file physically allocated in bytes.",
                                      "storage_cluster_id=\"datastore\"");
  auto& unused =
      shared_.measures.gauge("kedge_datastore_free_bytes", "Bytes of the database's file that hold nothing.", "");
  for (;;) {
    if (auto space = store::occupied(identity_.objects())) {
      size.set(static_cast<std::int64_t>(space->bytes));
      unused.set(static_cast<std::int64_t>(space->free));
    }
    co_await reactor::sleep_for(measure_interval);
  }
}

}  // namespace kedge::server
