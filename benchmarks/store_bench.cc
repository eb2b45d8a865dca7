// store_bench.cc: what the store adds to SQLite, and what objects cost in memory.
//
//   create_through_store/32   32 writers, each waiting for its answer, through store + log + SQLite (WAL, NORMAL)
//   raw_sqlite_groups/32      the same rows into the same table with the same indexes, 32 a transaction, nothing else
// Compare items_per_second of the two in one run. `memory` prints bytes of memory for each byte of JSON.

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <malloc.h>
#include <sqlite3.h>
#include <stdlib.h>

#include <filesystem>

#include "datastore/sqlite/sqlite_log.h"
#include "store/open.h"
#include "store/tree.h"

namespace kedge::store {
namespace {

constexpr std::size_t rows_a_round = 20'000;

struct folder {
  std::string path;
  folder() {
    char name[] = "/var/tmp/kedge-store-bench-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~folder() { std::filesystem::remove_all(path); }
};

std::string key_of(std::size_t i) { return fmt::format("/registry/configmaps/default/cm-{:06}", i); }

// A ConfigMap of 1.2 KB.
std::string value_of(std::size_t i) {
  return fmt::format(
      R"({{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"cm-{:06}","namespace":"default","uid":"5f1c0d6e-5c1c-4c7e-8f7b-0123456789ab","creationTimestamp":"2026-11-21T04:50:38Z"}},"data":{{"payload":"{}"}}}})",
      i, std::string(1000, 'x'));
}

struct world {
  folder dir;
  reactor::loop loop{*reactor::make_backend(reactor::io_backend::automatic)};
  reactor::loop::current_guard here{loop};
  std::unique_ptr<class store> store;

  explicit world(datastore::sqlite_durability d = datastore::sqlite_durability::normal) {
    store_options o;
    o.log = datastore::make_sqlite_log({.path = dir.path + "/state.db", .durability = d});
    o.loops = {&loop};
    store = std::move(*loop.run_until(open_store(std::move(o))));
  }
  ~world() {
    if (!store) return;
    loop.run_until(store->close());
    store.reset();
  }
  void create_all(std::size_t rows, std::size_t writers) {
    std::size_t next = 0;
    loop.run_until([](class store& s, std::size_t& at, std::size_t end, std::size_t n) -> task<void> {
      reactor::scope all;
      for (std::size_t w = 0; w < n; ++w) {
        all.spawn([](class store& to, std::size_t& i, std::size_t last) -> task<void> {
          while (i < last) {
            auto mine = i++;
            auto done = co_await to.write({write_kind::create, key_of(mine), value_of(mine)});
            if (!done) std::abort();
          }
        }(s, at, end));
      }
      co_await all.join();
    }(*store, next, rows, writers));
  }
};

void create_through_store(benchmark::State& state) {
  for (auto _ : state) {
    state.PauseTiming();
    {
      world w;
      state.ResumeTiming();
      w.create_all(rows_a_round, static_cast<std::size_t>(state.range(0)));
      state.PauseTiming();
    }
    state.ResumeTiming();
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(rows_a_round));
}

void raw_sqlite_groups(benchmark::State& state) {
  for (auto _ : state) {
    state.PauseTiming();
    {
      folder dir;
      sqlite3* db = nullptr;
      sqlite3_open_v2((dir.path + "/raw.db").c_str(), &db,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
      auto run = [&](const char* sql) {
        if (sqlite3_exec(db, sql, nullptr, nullptr, nullptr) != SQLITE_OK) std::abort();
      };
      run("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size "
          "= -4096");
      run("CREATE TABLE kine (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, created INTEGER, deleted INTEGER, "
          "create_revision "
          "INTEGER, prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB);"
          "CREATE INDEX a ON kine (name, id); CREATE UNIQUE INDEX b ON kine (name, prev_revision)");
      sqlite3_stmt* insert = nullptr;
      sqlite3_prepare_v2(db,
                         "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value) "
                         "VALUES (?, 1, 0, 0, 0, 0, ?)",
                         -1, &insert, nullptr);
      state.ResumeTiming();
      auto group = static_cast<std::size_t>(state.range(0));
      for (std::size_t i = 0; i < rows_a_round;) {
        run("BEGIN IMMEDIATE");
        for (std::size_t j = 0; j < group && i < rows_a_round; ++j, ++i) {
          auto key = key_of(i), value = value_of(i);
          sqlite3_bind_text(insert, 1, key.data(), static_cast<int>(key.size()), SQLITE_STATIC);
          sqlite3_bind_blob(insert, 2, value.data(), static_cast<int>(value.size()), SQLITE_STATIC);
          if (sqlite3_step(insert) != SQLITE_DONE) std::abort();
          sqlite3_reset(insert);
        }
        run("COMMIT");
      }
      state.PauseTiming();
      sqlite3_finalize(insert);
      sqlite3_close(db);
    }
    state.ResumeTiming();
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(rows_a_round));
}

std::size_t heap_bytes() {
  auto m = mallinfo2();
  return m.uordblks + m.hblkhd;
}
std::size_t resident_bytes() {
  std::size_t total = 0, resident = 0;
  if (auto* f = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(f, "%zu %zu", &total, &resident) != 2) resident = 0;
    std::fclose(f);
  }
  return resident * 4096;
}

// Everything that 10,000 creates leave behind: objects, tree, events kept for watches, SQLite's cache.
void memory_of_10000_objects(benchmark::State& state) {
  for (auto _ : state) {
    world w;
    malloc_trim(0);
    auto heap = heap_bytes(), resident = resident_bytes();
    w.create_all(10'000, 32);
    std::size_t json = 0;
    w.store->current().scan("/registry/configmaps/", "", [&](const object_ref& o) {
      json += o->bytes().size();
      return true;
    });
    state.counters["json_mb"] = static_cast<double>(json) / 1e6;
    state.counters["heap_per_json_byte"] = static_cast<double>(heap_bytes() - heap) / static_cast<double>(json);
    state.counters["resident_per_json_byte"] =
        static_cast<double>(resident_bytes() - resident) / static_cast<double>(json);
  }
}

// From a file of `range` objects to a store that answers; and what the process holds then.
void open_store_of(benchmark::State& state) {
  folder dir;
  auto open = [&](reactor::loop& loop) {
    store_options o;
    o.log = datastore::make_sqlite_log({.path = dir.path + "/state.db"});
    o.loops = {&loop};
    return std::move(*loop.run_until(open_store(std::move(o))));
  };
  {
    world w;
    w.create_all(static_cast<std::size_t>(state.range(0)), 32);
    w.loop.run_until(w.store->close());
    std::filesystem::copy_file(w.dir.path + "/state.db", dir.path + "/state.db");
    w.store.reset();
  }
  for (auto _ : state) {
    reactor::loop loop{*reactor::make_backend(reactor::io_backend::automatic)};
    reactor::loop::current_guard here{loop};
    auto s = open(loop);
    state.PauseTiming();
    state.counters["resident_mb"] = static_cast<double>(resident_bytes()) / 1e6;
    loop.run_until(s->close());
    s.reset();
    state.ResumeTiming();
  }
}

// One change of one of `range` objects after each snapshot: what copy-on-write costs.
void tree_change_after_snapshot(benchmark::State& state) {
  world w;
  auto n = static_cast<std::size_t>(state.range(0));
  w.create_all(n, 32);
  std::vector<object_ref> all;
  w.store->current().scan("/registry/configmaps/", "", [&](const object_ref& o) {
    all.push_back(o);
    return true;
  });
  tree t;
  for (auto& o : all) t.put(o);
  std::size_t i = 0;
  tree held = t;
  for (auto _ : state) {
    held = t;
    t.put(all[i = (i + 7919) % all.size()]);
  }
}

// One event for 1,000 watchers of its prefix, with 10,000 watchers of other prefixes on the same core.
void event_to_1000_watchers(benchmark::State& state) {
  world w;
  std::vector<std::unique_ptr<watcher>> watchers;
  std::size_t got = 0;
  reactor::scope readers;
  auto start = [&](std::string prefix) {
    watchers.push_back(*w.store->watch(std::move(prefix), 0));
    readers.spawn([](watcher& from, std::size_t& n) -> task<void> {
      for (;;) {
        auto events = co_await from.next();
        if (!events) co_return;
        n += events->size();
      }
    }(*watchers.back(), got));
  };
  malloc_trim(0);
  auto before = heap_bytes();
  for (int i = 0; i < 10'000; ++i) start(fmt::format("/registry/pods/namespace-{}/", i));
  state.counters["bytes_per_idle_watcher"] = static_cast<double>(heap_bytes() - before) / 10'000;
  for (int i = 0; i < 1'000; ++i) start("/registry/configmaps/");
  std::size_t i = 0;
  for (auto _ : state) {
    if (!w.loop.run_until(w.store->write({write_kind::create, key_of(i), value_of(i)}))) std::abort();
    ++i;
    while (got < i * 1000) w.loop.run_until([]() -> task<void> { co_await reactor::yield(); }());
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(got));
  readers.cancel();
  watchers.clear();
}

BENCHMARK(raw_sqlite_groups)->Arg(32)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(create_through_store)->Arg(32)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(memory_of_10000_objects)->Iterations(1)->Unit(benchmark::kMillisecond);
BENCHMARK(open_store_of)->Arg(0)->Arg(10'000)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(tree_change_after_snapshot)->Arg(1'000)->Arg(100'000);
BENCHMARK(event_to_1000_watchers)->Unit(benchmark::kMicrosecond)->UseRealTime();

}  // namespace
}  // namespace kedge::store

BENCHMARK_MAIN();
