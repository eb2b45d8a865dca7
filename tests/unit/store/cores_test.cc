// cores_test.cc: the store on several cores, over SQLite.
#include <stdlib.h>

#include <filesystem>

#include "datastore/sqlite/sqlite_log.h"
#include "harness.h"

namespace kedge::store {
namespace {

struct temporary_folder {
  std::string path;
  temporary_folder() {
    char name[] = "/tmp/kedge-store-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~temporary_folder() { std::filesystem::remove_all(path); }
};

// Runs on its core: writes objects of its own and reads each back at once; watches everything.
task<result<void>> client(class store& s, std::size_t core, std::size_t writes) {
  for (std::size_t i = 0; i < writes; ++i) {
    auto key = fmt::format("/registry/a/{}/{:04}", core, i);
    KEDGE_CO_TRY(auto made, co_await s.write(create(key, config_map("x", "1"))));
    auto own = s.current().find(key);
    if (!own || own->mod() != made.at) co_return fail(errc::internal, "an own write can't be read: " + key);
    KEDGE_CO_TRY(auto now, co_await s.latest());
    if (now.at() < made.at) co_return fail(errc::internal, "a linearizable read is older than an acknowledged write");
    if (i % 3 == 0) KEDGE_CO_CHECK(co_await s.write(removal(key, made.at)));
  }
  co_return result<void>();
}

task<result<std::size_t>> follow(class store& s, std::size_t events) {
  KEDGE_CO_TRY(auto watch, s.watch("/registry/a/", 2));
  std::size_t got = 0;
  revision last = 0;
  while (got < events) {
    KEDGE_CO_TRY(auto some, co_await watch->next());
    for (auto& e : some) {
      if (e->at <= last) co_return fail(errc::internal, "events out of order");
      last = e->at;
    }
    got += some.size();
  }
  co_return got;
}

TEST_CASE("every core reads its own writes, linearizable reads see all, watchers see everything in order") {
  constexpr std::size_t core_count = 3, writes = 120, events = core_count * (writes + (writes + 2) / 3);
  temporary_folder dir;
  auto cores = std::move(*reactor::cores::make(core_count, reactor::io_backend::automatic));
  std::vector<std::string> failures;
  std::size_t objects = 0;
  auto all = [](reactor::cores& c, const std::string& path, std::vector<std::string>& bad,
                std::size_t& left) -> task<void> {
    store_options o;
    o.log = datastore::make_sqlite_log({.path = path});
    o.loops = loops_of(c);
    auto s = std::move(*co_await open_store(std::move(o)));
    reactor::scope group;
    auto note = [&bad](const auto& r) {
      if (!r) bad.push_back(r.error().message);
    };
    for (std::size_t i = 0; i < c.size(); ++i) {
      group.spawn([](reactor::loop& l, class store& st, std::size_t n, auto& tell) -> task<void> {
        tell(co_await reactor::call_on(l, [&st, n] { return client(st, n, writes); }));
      }(c[i], *s, i, note));
      group.spawn([](reactor::loop& l, class store& st, auto& tell) -> task<void> {
        tell(co_await reactor::call_on(l, [&st] { return follow(st, events); }));
      }(c[i], *s, note));
    }
    co_await group.join();
    left = s->current().count("/registry/a/");
    co_await s->close();
    // The other cores end their hubs' last messages before the store goes.
    for (std::size_t i = 0; i < c.size(); ++i) {
      co_await reactor::call_on(c[i], []() -> task<int> { co_return 0; });
    }
    s.reset();
    c.stop();
  };
  auto path = dir.path + "/state.db";
  (*cores)[0].post([&] { (*cores)[0].spawn(all(*cores, path, failures, objects)); });
  cores->run();
  CHECK(failures == std::vector<std::string>{});
  CHECK(objects == core_count * (writes - (writes + 2) / 3));
}

}  // namespace
}  // namespace kedge::store
