// harness.h: a loop, a database in memory and a store over it, for tests that run on one thread.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <map>
#include <string>
#include <vector>

#include "datastore/memory/memory_log.h"
#include "store/open.h"

namespace kedge::store {

inline std::string config_map(std::string_view name, std::string_view data, std::string_view labels = "") {
  return fmt::format(R"({{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"{}"{}}},"data":{{"k":"{}"}}}})",
                     name, labels.empty() ? "" : fmt::format(R"(,"labels":{})", labels), data);
}

inline mutation create(std::string key, std::string value, std::uint32_t lease = 0) {
  return {write_kind::create, std::move(key), std::move(value), 0, lease};
}
inline mutation update(std::string key, std::string value, revision expected) {
  return {write_kind::update, std::move(key), std::move(value), expected, 0};
}
inline mutation removal(std::string key, revision expected = 0) {
  return {write_kind::remove, std::move(key), {}, expected, 0};
}

struct world {
  reactor::loop loop{*reactor::make_backend(reactor::io_backend::epoll)};
  reactor::loop::current_guard here{loop};
  datastore::memory_database database;
  std::unique_ptr<class store> store;

  world() = default;
  explicit world(datastore::memory_database db) : database(std::move(db)) {}
  ~world() { close(); }

  result<void> try_open(store_options o = {}) {
    o.log = datastore::make_memory_log(database);
    o.loops = {&loop};
    auto opened = loop.run_until(open_store(std::move(o)));
    if (!opened) return fail(opened.error());
    store = std::move(*opened);
    return {};
  }
  void open(store_options o = {}) {
    auto done = try_open(std::move(o));
    REQUIRE(done.has_value());
  }
  void close() {
    if (!store) return;
    loop.run_until(store->close());
    store.reset();
  }
  result<commit> write(mutation m) { return loop.run_until(store->write(std::move(m))); }
  commit must(mutation m) {
    auto done = write(std::move(m));
    REQUIRE_MESSAGE(done.has_value(), (done ? std::string() : done.error().message));
    return std::move(*done);
  }
  void run(reactor::scope& group) {
    loop.run_until([](reactor::scope& g) -> task<void> { co_await g.join(); }(group));
  }
  // What the watcher has up to now.
  std::vector<event_ref> drain(watcher& from) {
    std::vector<event_ref> out;
    while (from.seen() < store->current().at()) {
      std::optional<result<std::vector<event_ref>>> more;
      reactor::scope waiting;
      waiting.spawn([](watcher& w, std::optional<result<std::vector<event_ref>>>& to) -> task<void> {
        to = co_await w.next();
      }(from, more));
      // Where nothing concerns it, next() goes on waiting.
      while (!more && from.seen() < store->current().at())
        loop.turn(monotonic_clock::now() + std::chrono::milliseconds(1));
      if (!more) break;
      REQUIRE_MESSAGE(more->has_value(), more->error().message);
      out.insert(out.end(), (*more)->begin(), (*more)->end());
    }
    return out;
  }
  void run_for(duration d) {
    loop.run_until([](duration t) -> task<void> { co_await reactor::sleep_for(t); }(d));
  }
};

inline std::vector<std::string> keys(const snapshot& s, std::string_view prefix, std::string_view start = "") {
  std::vector<std::string> out;
  s.scan(prefix, start, [&](const object_ref& o) {
    out.emplace_back(o->key());
    return true;
  });
  return out;
}

}  // namespace kedge::store
