// faults_test.cc: a database that fails, loses answers, or is written by others too.
#include <fstream>

#include "base/log.h"
#include "harness.h"
#include "support/temporary_folder.h"

namespace kedge::store {
namespace {

using std::chrono::milliseconds;

TEST_CASE("when nothing landed the writer is told why, readers go on, and the next write works") {
  world w;
  w.open();
  w.must(create("/registry/a/1", config_map("1", "1")));
  bool full = true;
  w.database.faults.fail_before_commit = [&]() -> std::optional<error> {
    if (!full) return std::nullopt;
    return error(errc::exhausted, "the disk is full");
  };
  CHECK(w.write(create("/registry/a/2", config_map("2", "1"))).error().code == errc::exhausted);
  w.run_for(duration(0));
  CHECK(w.store->healthy().error().message == "the disk is full");
  CHECK(w.store->current().count("/registry/a/") == 1);
  full = false;
  w.must(create("/registry/a/2", config_map("2", "1")));
  w.run_for(duration(0));
  CHECK(w.store->healthy().has_value());
}

TEST_CASE("a lost answer is found out: what landed is acknowledged, what did not is refused, nothing is done twice") {
  for (bool landed : {true, false}) {
    CAPTURE(landed);
    world w;
    w.open();
    auto before = w.must(create("/registry/a/1", config_map("1", "1"))).at;
    int left = 1, blind = 3;
    auto lost = [&]() -> std::optional<error> {
      if (left-- <= 0) return std::nullopt;
      return error(errc::unknown_outcome, "the connection was lost");
    };
    (landed ? w.database.faults.fail_after_commit : w.database.faults.fail_before_commit) = lost;
    w.database.faults.fail_read = [&]() -> std::optional<error> {
      if (blind-- <= 0) return std::nullopt;
      return error(errc::unavailable, "not yet");
    };
    auto watch = *w.store->watch("/registry/a/", 0);
    auto done = w.write(update("/registry/a/1", config_map("1", "2"), before));
    CHECK(done.has_value() == landed);
    if (!landed) CHECK(done.error().code == errc::unavailable);
    CHECK(w.store->current().find("/registry/a/1")->mod() == (landed ? before + 1 : before));
    if (landed) CHECK(done->object->mod() == done->at);
    w.must(create("/registry/a/2", config_map("2", "1")));
    auto events = w.loop.run_until(watch->next());
    CHECK(events->size() == (landed ? 2 : 1));
    CHECK(w.database.newest() == w.store->current().at());
  }
}

TEST_CASE("while nobody can tell what became of a write, its caller and all others are told so; later all see it") {
  world w;
  w.open({.outcome_wait = milliseconds(20)});
  auto before = w.must(create("/registry/a/1", config_map("1", "1"))).at;
  bool away = false;
  w.database.faults.fail_after_commit = [&]() -> std::optional<error> {
    away = true;
    return error(errc::unknown_outcome, "the disk is broken");
  };
  w.database.faults.fail_read = [&]() -> std::optional<error> {
    if (!away) return std::nullopt;
    return error(errc::io, "still broken");
  };
  auto told = w.write(update("/registry/a/1", config_map("1", "2"), before));
  REQUIRE(!told.has_value());
  CHECK(told.error().code == errc::unknown_outcome);
  CHECK(told.error().message.starts_with("the disk is broken; whether this was written"));
  // Others aren't kept waiting, readers go on with what was acknowledged.
  CHECK(w.write(create("/registry/a/2", config_map("2", "1"))).error().code == errc::unavailable);
  CHECK(w.write(update("/registry/a/1", config_map("1", "3"), before)).error().code == errc::unavailable);
  CHECK(w.store->current().find("/registry/a/1")->mod() == before);
  CHECK(!w.store->healthy().has_value());

  w.database.faults = {};
  away = false;
  while (!w.store->healthy()) w.run_for(milliseconds(5));
  CHECK(w.store->current().find("/registry/a/1")->mod() == before + 1);
  CHECK(!w.store->current().find("/registry/a/2"));
  w.must(update("/registry/a/1", config_map("1", "3"), before + 1));
}

TEST_CASE("two servers over one database see each other's writes, and a linearizable read sees them at once") {
  world w(datastore::memory_database(datastore::memory_database::durability::each_commit, true));
  w.open();
  auto second =
      std::move(*w.loop.run_until(open_store({.log = datastore::make_memory_log(w.database), .loops = {&w.loop}})));
  auto watch = *second->watch("/registry/a/", 0);
  auto at = w.must(create("/registry/a/1", config_map("1", "1"))).at;
  auto read = w.loop.run_until(second->latest());
  REQUIRE(read.has_value());
  CHECK(read->find("/registry/a/1"));
  CHECK(w.loop.run_until(watch->next())->front()->at == at);

  // Each writes what the other wrote; who is behind is refused by the database.
  auto theirs = w.loop.run_until(second->write(update("/registry/a/1", config_map("1", "2"), at)));
  REQUIRE(theirs.has_value());
  auto stale = w.write(update("/registry/a/1", config_map("1", "3"), at));
  REQUIRE(!stale.has_value());
  CHECK(stale.error().code == errc::conflict);
  CHECK(w.loop.run_until(w.store->latest())->find("/registry/a/1")->mod() == theirs->at);
  w.must(update("/registry/a/1", config_map("1", "3"), theirs->at));
  watch.reset();
  w.loop.run_until(second->close());
}

TEST_CASE(
    "a write is refused when what it depends on has changed, by this server or another, and never shares a commit with "
    "the change") {
  world w{datastore::memory_database(datastore::memory_database::durability::each_commit, true)};
  w.open();
  auto other = w.loop.run_until(open_store({.log = datastore::make_memory_log(w.database), .loops = {&w.loop}}));
  REQUIRE(other.has_value());
  auto parent = w.must(create("/registry/parent", config_map("parent", "1"))).at;
  auto child = [&](std::string name, revision expected) {
    auto m = create("/registry/a/" + name, config_map(name, "1"));
    m.guards = {{"/registry/parent", expected}};
    return m;
  };
  CHECK(w.write(child("holds", parent)).has_value());
  CHECK(w.write(child("never-was", 0)).error().code == errc::conflict);
  // Changed by another server, while this one doesn't know it yet.
  w.database.faults.delay_before_commit = [] { return milliseconds(5); };
  std::optional<result<commit>> theirs, ours;
  {
    reactor::scope group;
    auto write = [](class store& s, mutation m, std::optional<result<commit>>& out) -> task<void> {
      out.emplace(co_await s.write(std::move(m)));
    };
    group.spawn(write(**other, update("/registry/parent", config_map("parent", "2"), parent), theirs));
    group.spawn(write(*w.store, child("late", parent), ours));
    w.run(group);
  }
  REQUIRE(theirs->has_value());
  CHECK(ours->error().code == errc::conflict);
  // In one queue: whichever of the two is asked first, the guard is judged in that order.
  for (bool change_first : {true, false}) {
    CAPTURE(change_first);
    auto now = w.loop.run_until(w.store->latest())->find("/registry/parent")->mod();
    std::vector<std::optional<result<commit>>> done(12);
    reactor::scope group;
    auto send = [&](std::size_t i, mutation m) {
      group.spawn([](class store& s, mutation one, std::optional<result<commit>>& out) -> task<void> {
        out.emplace(co_await s.write(std::move(one)));
      }(*w.store, std::move(m), done[i]));
    };
    auto change = update("/registry/parent", config_map("parent", "3"), now);
    if (change_first) send(0, change);
    for (std::size_t i = 1; i <= 10; ++i) send(i, child(fmt::format("{}-{}", change_first, i), now));
    if (!change_first) send(0, change);
    w.run(group);
    REQUIRE(done[0]->has_value());
    for (std::size_t i = 1; i <= 10; ++i) {
      CHECK(done[i]->has_value() == !change_first);
      if (!done[i]->has_value()) CHECK(done[i]->error().code == errc::conflict);
    }
  }
  CHECK(keys(w.loop.run_until(w.store->latest()).value(), "/registry/a/").size() == 11);
  w.loop.run_until((*other)->close());
}

TEST_CASE("between two commits in doubt nobody is told that writes work") {
  world w;
  temporary_folder folder;
  auto path = folder.path() + "/log";
  REQUIRE(log::configure({.file = path.c_str()}));
  w.open();
  auto& faults = w.database.faults;
  bool away = true;
  faults.delay_after_commit = [] { return milliseconds(5); };
  faults.fail_after_commit = [&]() -> std::optional<error> {
    if (!away) return std::nullopt;
    return error(errc::unknown_outcome, "the answer was lost");
  };
  faults.fail_read = [&]() -> std::optional<error> {
    if (!away) return std::nullopt;
    return error(errc::io, "away");
  };
  std::vector<std::optional<result<commit>>> done(2);
  reactor::scope writers;
  for (std::size_t i = 0; i < done.size(); ++i) {
    writers.spawn([](class store& s, std::size_t n, std::optional<result<commit>>& out) -> task<void> {
      out.emplace(co_await s.write(create(fmt::format("/registry/a/{}", n), config_map("a", "1"))));
    }(*w.store, i, done[i]));
    w.loop.turn(monotonic_clock::now());  // each in a commit of its own
  }
  while (w.store->healthy()) w.run_for(milliseconds(1));
  w.run_for(milliseconds(20));
  CHECK(!w.store->healthy().has_value());
  away = false;
  w.run(writers);
  w.run_for(milliseconds(1));
  for (auto& d : done) CHECK_MESSAGE(d->has_value(), d->error().message);
  CHECK(w.store->healthy().has_value());
  log::configure({});
  std::ifstream said(path);
  std::string all{std::istreambuf_iterator<char>(said), {}};
  auto first = all.find("writes work again");
  CHECK(first != std::string::npos);
  CHECK(all.find("writes work again", first + 1) == std::string::npos);
}

TEST_CASE("a removal whose answer was lost is not taken for another server's, nor another's for it") {
  world w(datastore::memory_database(datastore::memory_database::durability::each_commit, true));
  w.open();
  auto second =
      std::move(*w.loop.run_until(open_store({.log = datastore::make_memory_log(w.database), .loops = {&w.loop}})));
  auto at = w.must(create("/registry/a/1", config_map("1", "1"))).at;
  REQUIRE(w.loop.run_until(second->latest()).has_value());
  auto& faults = w.database.faults;
  bool away = true;
  std::vector<result<commit>> told;
  reactor::scope writers;
  auto write = [&](mutation m) {
    told.emplace_back();
    writers.spawn([](store& s, mutation what, std::vector<result<commit>>& out, std::size_t i) -> task<void> {
      auto done = co_await s.write(std::move(what));
      out[i] = std::move(done);
    }(*w.store, std::move(m), told, told.size() - 1));
  };
  faults.fail_read = [&]() -> std::optional<error> {
    if (!away) return std::nullopt;
    return error(errc::io, "away");
  };
  auto broken = []() -> std::optional<error> { return error(errc::unknown_outcome, "the link broke"); };
  SUBCASE("the other's landed, this one's did not") {
    faults.fail_before_commit = broken;
    write(removal("/registry/a/1", at));
    while (w.store->healthy()) w.run_for(milliseconds(1));
    faults.fail_before_commit = nullptr;
    REQUIRE(w.loop.run_until(second->write(removal("/registry/a/1", at))).has_value());
    away = false;
    while (writers.size() > 0) w.run_for(milliseconds(1));
    REQUIRE(!told[0].has_value());
    CHECK(told[0].error().code == errc::unknown_outcome);
    CHECK(told[0].error().message.starts_with("the link broke; it is gone, and whether this"));
  }
  SUBCASE("this one's landed, beside what nobody else can have written") {
    faults.fail_after_commit = broken;
    write(create("/registry/a/2", config_map("2", "1")));
    write(removal("/registry/a/1", at));
    away = false;
    while (writers.size() > 0) w.run_for(milliseconds(1));
    for (auto& t : told) CHECK_MESSAGE(t.has_value(), (t ? std::string() : t.error().message));
  }
  faults = {};
  CHECK(!w.loop.run_until(w.store->latest())->find("/registry/a/1"));
  w.loop.run_until(second->close());
}

TEST_CASE("an acknowledged write survives any crash of the server, under delays, errors and lost answers") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    seeded_random random(seed);
    world w;
    auto sometimes = [&random](std::uint64_t one_in, errc code) {
      return [&random, one_in, code]() -> std::optional<error> {
        if (random.below(one_in)) return std::nullopt;
        return error(code, "injected");
      };
    };
    std::map<std::string, revision> acknowledged;
    for (int life = 0; life < 4; ++life) {
      w.database.faults = {};
      w.open();
      w.database.faults.fail_before_commit = sometimes(9, random.below(2) ? errc::exhausted : errc::unknown_outcome);
      w.database.faults.fail_after_commit = sometimes(9, errc::unknown_outcome);
      w.database.faults.delay_before_commit = [&] { return duration(random.below(300'000)); };
      reactor::scope clients;
      for (int c = 0; c < 6; ++c) {
        clients.spawn([](class store& s, std::map<std::string, revision>& acks, int who, int when) -> task<void> {
          for (int i = 0; i < 8; ++i) {
            auto key = fmt::format("/registry/a/{}-{}-{}", when, who, i);
            auto made = co_await s.write(create(key, config_map("x", "1")));
            if (made) acks[key] = made->at;
          }
        }(*w.store, acknowledged, c, life));
      }
      w.run_for(milliseconds(random.below(12)));
      // kill -9: nobody is told, nothing is closed. The machine goes on, or goes down too.
      clients.cancel();
      w.store.reset();
      if (random.below(2)) w.database.lose_power();
    }
    w.database.faults = {};
    w.open();
    auto s = w.store->current();
    for (auto& [key, at] : acknowledged) {
      auto found = s.find(key);
      REQUIRE(found);
      CHECK(found->mod() == at);
    }
    w.close();
  }
}

TEST_CASE("compaction goes to where the log was one interval ago and spares the newest revisions") {
  world w;
  w.open({.compaction = milliseconds(30)});
  revision at = w.must(create("/registry/a/1", config_map("1", "1"))).at;
  for (int i = 0; i < 1'200; ++i) at = w.must(update("/registry/a/1", config_map("1", "2"), at)).at;
  while (w.database.compacted() == 0) w.run_for(milliseconds(10));
  CHECK(w.database.compacted() <= at - compaction_retain_min);
  CHECK(w.store->current().find("/registry/a/1")->mod() == at);
  w.close();
  w.open();
  CHECK(w.store->current().find("/registry/a/1")->mod() == at);
  CHECK(w.store->watch("/registry/", w.database.compacted() - 1).error().code == errc::expired);
}

}  // namespace
}  // namespace kedge::store
