// conformance_test.cc: what log.h promises, over every backend.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <set>

#include "backends.h"
#include "cutting_proxy.h"
#include "datastore/etcd/etcd_log.h"
#include "datastore/memory/memory_log.h"
#include "datastore/mysql/mysql_log.h"
#include "datastore/postgres/postgres_log.h"
#include "datastore/redis/redis_log.h"
#include "datastore/sqlite/sqlite_log.h"
#include "etcd_server.h"
#include "mysql_server.h"
#include "postgres_server.h"
#include "redis_server.h"
#include "runner.h"

namespace kedge::datastore {
namespace {

class in_memory final : public test_database {
 public:
  std::unique_ptr<log> make() override { return make_memory_log(db_); }
  bool shared() const override { return true; }

 private:
  memory_database db_{memory_database::durability::each_commit, true};
};

class in_sqlite final : public test_database {
 public:
  in_sqlite() {
    char name[] = "/tmp/kedge-datastore-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  ~in_sqlite() override { std::filesystem::remove_all(folder_); }
  std::unique_ptr<log> make() override { return make_sqlite_log({.path = folder_ + "/state.db"}); }
  bool shared() const override { return false; }

 private:
  std::string folder_;
};

class in_postgres final : public test_database {
 public:
  in_postgres() {
    static int n = 0;
    name_ = fmt::format("conformance{}", ++n);
  }
  std::unique_ptr<log> make() override {
    return make_postgres_log({.connection = *postgres::parse_url(the_postgres().url(name_))});
  }
  bool shared() const override { return true; }
  bool cut() override {
    sql_session sql(the_postgres().url("postgres"));
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + name_ + "'");
    return true;
  }

 private:
  std::string name_;
};

class in_mysql final : public test_database {
 public:
  in_mysql() {
    static int n = 0;
    name_ = fmt::format("conformance{}", ++n);
  }
  std::unique_ptr<log> make() override {
    return make_mysql_log({.connection = *mysql::parse_dsn(the_mysql().dsn(name_), false)});
  }
  bool shared() const override { return true; }
  bool cut() override {
    mysql_session sql(the_mysql().at(""));
    for (auto& id : sql("SELECT id FROM information_schema.processlist WHERE db = '" + name_ + "'"))
      sql.tries("KILL " + id);
    return true;
  }

 private:
  std::string name_;
};

class in_redis final : public test_database {
 public:
  in_redis() {
    static int n = 0;
    database_ = ++n;
  }
  std::unique_ptr<log> make() override {
    return make_redis_log({.connection = *redis::parse_endpoint(the_redis().url(database_), false)});
  }
  bool shared() const override { return true; }
  bool cut() override {
    redis_session redis(the_redis().port());
    redis({"CLIENT", "KILL", "TYPE", "normal"});
    redis({"CLIENT", "KILL", "TYPE", "pubsub"});
    return true;
  }

 private:
  int database_;
};

class in_etcd final : public test_database {
 public:
  std::unique_ptr<log> make() override {
    return make_etcd_log({.cluster = *etcd::parse_endpoint(fmt::format("http://127.0.0.1:{}", proxy_.port())),
                          .start_wait = patience,
                          .revision_jump = jump()});
  }
  bool shared() const override { return true; }
  bool cut() override {
    proxy_.lose_next_answer();
    return true;
  }
  revision jump() const override { return 2000; }

 private:
  etcd_server server_;
  cutting_proxy proxy_{server_.port()};
};

const bool registered = [] {
  backends().push_back({"memory", [] { return std::unique_ptr<test_database>(new in_memory); }});
  backends().push_back({"sqlite", [] { return std::unique_ptr<test_database>(new in_sqlite); }});
  backends().push_back({"postgres", [] { return std::unique_ptr<test_database>(new in_postgres); }});
  backends().push_back({"mysql", [] { return std::unique_ptr<test_database>(new in_mysql); }});
  backends().push_back({"redis", [] { return std::unique_ptr<test_database>(new in_redis); }});
  backends().push_back({"etcd", [] { return std::unique_ptr<test_database>(new in_etcd); }});
  return true;
}();

template <typename F>
void on_each(F f) {
  for (auto& kind : backends()) {
    CAPTURE(kind.name);
    auto db = kind.fresh();
    f(*db);
  }
}

bool same(const entry& a, const entry& b) {
  return a.at == b.at && a.kind == b.kind && a.name == b.name && a.value == b.value &&
         a.lease_seconds == b.lease_seconds;
}

// The revisions of those that landed follow `last` without a hole, in the order of the operations where the log
// promises that. Gives the newest.
revision check_revisions(const log& l, const std::vector<outcome>& done, revision last) {
  std::vector<revision> landed;
  for (auto& o : done)
    if (o.what == outcome::status::committed) landed.push_back(o.at);
  if (!l.in_one_piece()) std::sort(landed.begin(), landed.end());
  for (auto at : landed) CHECK(at == ++last);
  return last;
}

}  // namespace

TEST_CASE("a new database begins with revision 2, and health") {
  on_each([](test_database& db) {
    runner r;
    server s(db);
    r.must(s.start());
    CHECK(s.applied() == 2);
    REQUIRE(s.heads().contains("/registry/health"));
    CHECK(s.heads().at("/registry/health").value == R"({"health":"true"})");
    CHECK(s.raw().healthy().has_value());
    CHECK(r.must(s.raw().current()) == 2);
    r.end(s);
  });
}

TEST_CASE("revisions follow the order of operations and batches, and everything is found again") {
  on_each([](test_database& db) {
    runner r;
    std::vector<entry> before;
    {
      server s(db);
      r.must(s.start());
      revision last = s.applied();
      for (int i = 0; i < 20; ++i) {
        std::vector<operation> ops;
        for (int j = 0; j < 10; ++j)
          ops.push_back(create(fmt::format("/registry/a/{}-{}", j, i), fmt::format("v{}", j), j == 3 ? 60u : 0u));
        if (i > 0) {
          ops.push_back(update(s.heads().at(fmt::format("/registry/a/1-{}", i - 1)),
                               std::string(3000, 'x') + std::string("\0\xff", 2)));
          ops.push_back(remove(s.heads().at(fmt::format("/registry/a/2-{}", i - 1))));
        }
        auto done = r.must(s.write(std::move(ops)));
        for (auto& o : done) CHECK(o.what == outcome::status::committed);
        last = check_revisions(s.raw(), done, last);
      }
      CHECK(r.must(s.raw().current()) == last);
      before = s.history();
      r.end(s);
    }
    server again(db);
    r.must(again.start());
    REQUIRE(again.history().size() == before.size());
    for (std::size_t i = 0; i < before.size(); ++i) CHECK(same(again.history()[i], before[i]));
    r.end(again);
  });
}

TEST_CASE("what doesn't fit is refused alone, with the version that stands") {
  on_each([](test_database& db) {
    if (!db.shared()) return;  // one server's memory has decided already
    runner r;
    server s(db);
    r.must(s.start());
    auto made =
        r.must(s.write({create("/registry/a", "1"), create("/registry/b", "1"), create("/registry/gone", "1")}));
    r.must(s.write({remove(s.heads().at("/registry/gone"))}));
    entry stale = s.heads().at("/registry/a");
    auto moved = r.must(s.write({update(stale, "2")}));
    entry never;
    never.name = "/registry/never";
    never.at = 1;
    auto mixed = r.must(s.write({create("/registry/a", "x"), remove(never), create("/registry/gone", "back"),
                                 update(s.heads().at("/registry/b"), "2")}));
    REQUIRE(mixed.size() == 4);
    CHECK(mixed[0].what == outcome::status::conflict);
    CHECK(mixed[0].at == moved[0].at);
    CHECK(mixed[1].what == outcome::status::conflict);
    CHECK(mixed[1].at == 0);
    CHECK(mixed[2].what == outcome::status::committed);
    CHECK(mixed[3].what == outcome::status::committed);
    // Refused ones leave no hole.
    check_revisions(s.raw(), mixed, std::min(mixed[2].at, mixed[3].at) - 1);
    CHECK(r.must(s.write({update(stale, "y")}))[0].what == outcome::status::conflict);
    CHECK(r.must(s.write({remove(stale)}))[0].at == moved[0].at);
    (void)made;
    r.end(s);
  });
}

TEST_CASE("a write lands only while its guards hold, also against what was sent just before") {
  on_each([](test_database& db) {
    runner r;
    server s(db);
    r.must(s.start());
    r.must(s.write({create("/registry/rule", "1"), create("/registry/gone", "1"), create("/registry/old", "1")}));
    r.must(s.write({remove(s.heads().at("/registry/gone"))}));
    auto rule = s.heads().at("/registry/rule");
    auto guarded = [](operation op, std::vector<guard> guards) {
      op.guards = std::move(guards);
      return op;
    };
    const guard holds{"/registry/rule", rule.at}, older{"/registry/rule", rule.at - 1}, absent{"/registry/never", 0},
        removed{"/registry/gone", 0}, there{"/registry/rule", 0}, never{"/registry/never", 7},
        dead{"/registry/gone", rule.at + 1};
    using enum outcome::status;
    struct row {
      std::vector<guard> guards;
      outcome::status becomes;
    } table[] = {{{holds}, committed},
                 {{absent}, committed},
                 {{removed}, committed},
                 {{holds, absent, removed}, committed},
                 {{older}, guard_failed},
                 {{there}, guard_failed},
                 {{never}, guard_failed},
                 {{dead}, guard_failed},
                 {{holds, older}, guard_failed},
                 {{absent, there}, guard_failed},
                 {{}, committed}};
    // Each alone, and all of them in one batch: one that fails takes no other with it, and leaves no hole.
    for (bool together : {false, true}) {
      std::vector<operation> ops;
      for (std::size_t i = 0; i < std::size(table); ++i)
        ops.push_back(guarded(create(fmt::format("/registry/{}/{}", together, i), "v"), table[i].guards));
      ops.push_back(guarded(update(s.heads().at("/registry/old"), "2"), {older}));
      std::vector<outcome> done;
      auto before = s.applied();
      if (together)
        done = r.must(s.write(ops));
      else
        for (auto& op : ops) done.push_back(r.must(s.write({op}))[0]);
      for (std::size_t i = 0; i < std::size(table); ++i) {
        CAPTURE(i);
        CHECK(done[i].what == table[i].becomes);
      }
      check_revisions(s.raw(), done, before);
      CHECK(done.back().what == guard_failed);
      CHECK(s.heads().at("/registry/old").value == "1");
    }
    // Two batches on their way: the second was decided before the first landed.
    std::optional<std::vector<outcome>> first, second;
    {
      reactor::scope group;
      auto send = [](server& to, std::vector<operation> ops, std::optional<std::vector<outcome>>& out) -> task<void> {
        auto done = co_await to.write(std::move(ops));
        CHECK(done.has_value());
        if (done) out = *done;
      };
      group.spawn(send(s, {update(rule, "2")}, first));
      group.spawn(send(s, {guarded(create("/registry/late", "v"), {holds})}, second));
      CHECK(r.until([&] { return group.size() == 0; }));
    }
    REQUIRE(first);
    REQUIRE(second);
    CHECK((*first)[0].what == committed);
    CHECK((*second)[0].what == guard_failed);
    CHECK(!s.heads().contains("/registry/late"));
    r.end(s);
  });
}

namespace {

// Writes some hundred random changes to a few names of two kinds.
void change_at_random(runner& r, server& s, int batches, std::uint64_t seed) {
  seeded_random random(seed);
  for (int i = 0; i < batches; ++i) {
    std::vector<operation> ops;
    for (auto kind : {"pods", "secrets"})
      for (int n = 0; n < 6; ++n) {
        if (random.below(3) == 0) continue;
        auto name = fmt::format("/registry/{}/d/{}", kind, n);
        auto value = fmt::format("{}-{}", i, std::string(random.below(200), 'v'));
        auto standing = s.heads().find(name);
        if (standing == s.heads().end())
          ops.push_back(create(name, value, static_cast<std::uint32_t>(n)));
        else if (random.below(4) == 0)
          ops.push_back(remove(standing->second));
        else
          ops.push_back(update(standing->second, value));
      }
    if (!ops.empty()) r.must(s.write(std::move(ops)));
  }
}

std::vector<past_change> all_of_the_past(runner& r, log& l, past_question q) {
  std::vector<past_change> out;
  while (q.after < q.upto) {
    auto page = r.must(l.past(q));
    REQUIRE(page.at > q.after);
    for (auto& c : page.changes) {
      CHECK(c.what.at > q.after);
      CHECK(c.what.at <= page.at);
      out.push_back(std::move(c));
    }
    q.after = page.at;
  }
  return out;
}

}  // namespace

TEST_CASE("the past can be read from any revision that is not compacted, with what was replaced") {
  on_each([](test_database& db) {
    runner r;
    server s(db);
    r.must(s.start());
    change_at_random(r, s, 60, 7);
    auto newest = s.applied();
    auto check = [&](revision after, revision upto, std::string_view prefix) {
      CAPTURE(after);
      CAPTURE(prefix);
      // From the history that was given: what stood before each change, and which is the first of its name.
      std::map<std::string, entry> heads;
      std::set<std::string> changed;
      std::vector<past_change> wanted, firsts;
      for (auto& e : s.history()) {
        auto before = heads.find(e.name);
        if (e.at > after && e.at <= upto && e.name.starts_with(prefix)) {
          past_change c{e, std::nullopt};
          if (before != heads.end()) c.replaced = before->second.value;
          if (changed.insert(e.name).second) firsts.push_back(c);
          wanted.push_back(std::move(c));
        }
        if (e.kind == change::remove)
          heads.erase(e.name);
        else
          heads.insert_or_assign(e.name, e);
      }
      auto got = all_of_the_past(r, s.raw(), {after, upto, std::string(prefix)});
      REQUIRE(got.size() == wanted.size());
      for (std::size_t i = 0; i < got.size(); ++i) {
        CHECK(same(got[i].what, wanted[i].what));
        CHECK(got[i].replaced == wanted[i].replaced);
      }
      got = all_of_the_past(r, s.raw(), {after, upto, std::string(prefix), after});
      std::set<std::string> met;
      std::erase_if(got, [&](auto& c) { return !met.insert(c.what.name).second; });
      REQUIRE(got.size() == firsts.size());
      for (std::size_t i = 0; i < got.size(); ++i) {
        CHECK(got[i].what.at == firsts[i].what.at);
        CHECK(got[i].what.name == firsts[i].what.name);
        CHECK(got[i].what.value.empty());
        CHECK(got[i].replaced == firsts[i].replaced);
      }
    };
    for (revision after : {revision(2), newest / 3, newest - 20, newest - 1})
      for (auto prefix : {"/registry/", "/registry/pods/", "/registry/secrets/d/3", "/registry/x"})
        check(after, newest, prefix);
    check(10, 50, "/registry/pods/");
    // Enough behind it that every database forgets.
    for (int i = 0; i < 1100; i += 100) {
      std::vector<operation> ops;
      for (int n = 0; n < 100; ++n) ops.push_back(create(fmt::format("/registry/late/{}", i + n), "v"));
      r.must(s.write(std::move(ops)));
    }
    r.must(s.raw().compact(newest / 2));
    auto gone = r.loop.run_until(s.raw().past({newest / 2 - 1, newest, "/registry/pods/"}));
    REQUIRE(!gone.has_value());
    CHECK(gone.error().code == errc::expired);
    check(newest / 2, newest, "/registry/pods/");
    check(newest - 30, newest, "/registry/");
    r.end(s);
  });
}

TEST_CASE("a step of the past holds a bounded part of it") {
  on_each([](test_database& db) {
    runner r;
    server s(db);
    r.must(s.start());
    // 24 MB in 12 versions, and many small ones.
    r.must(s.write({create("/registry/big", std::string(2'000'000, 'x'))}));
    for (int i = 0; i < 12; ++i)
      r.must(s.write({update(s.heads().at("/registry/big"), std::string(2'000'000, static_cast<char>('a' + i)))}));
    for (int i = 0; i < 5; ++i) {
      std::vector<operation> ops;
      for (int n = 0; n < 1000; ++n) ops.push_back(create(fmt::format("/registry/small/{}-{}", i, n), "v"));
      r.must(s.write(std::move(ops)));
    }
    past_question q{2, s.applied(), "/registry/"};
    std::size_t steps = 0, changes = 0;
    while (q.after < q.upto) {
      auto page = r.must(s.raw().past(q));
      std::size_t bytes = 0;
      for (auto& c : page.changes) bytes += c.what.value.size();
      CHECK(bytes <= 8'000'000);
      CHECK(page.changes.size() <= 2000);
      q.after = page.at;
      changes += page.changes.size();
      ++steps;
    }
    CHECK(changes == 5013);
    CHECK(steps >= 5);
    r.end(s);
  });
}

TEST_CASE("what exists is loaded alone, whatever was before") {
  on_each([](test_database& db) {
    runner r;
    std::map<std::string, entry> standing;
    revision newest = 0;
    {
      server s(db);
      r.must(s.start());
      change_at_random(r, s, 80, 11);
      for (int i = 0; i < 5; ++i) {
        std::vector<operation> ops;
        for (int n = 0; n < 1000; ++n) ops.push_back(create(fmt::format("/registry/many/{}-{}", i, n), "v"));
        r.must(s.write(std::move(ops)));
      }
      standing = s.heads();
      newest = s.applied();
      r.end(s);
    }
    auto l = db.make();
    r.must(l->open());
    std::map<std::string, entry> loaded;
    revision at = 0, last = 0;
    for (bool done = false; !done;) {
      auto page = r.must(l->load_live(at));
      for (auto& e : page.entries) {
        CHECK(e.at > last);
        last = e.at;
        if (e.kind == change::remove)
          loaded.erase(e.name);
        else
          loaded.insert_or_assign(e.name, e);
      }
      CHECK(page.at >= at);
      at = page.at;
      done = page.done;
    }
    CHECK(at == newest);
    REQUIRE(loaded.size() == standing.size());
    for (auto& [name, e] : standing) CHECK(same(loaded.at(name), e));
    // And goes on where that ended.
    r.must(l->begin());
    CHECK(r.must(l->load(at)).entries.empty());
    r.loop.run_until(l->close());
  });
}

TEST_CASE("compaction forgets what was replaced and removed, and nothing that exists") {
  on_each([](test_database& db) {
    runner r;
    {
      server s(db);
      r.must(s.start());
      r.must(s.write({create("/registry/old", "kept"), create("/registry/hot", "0"), create("/registry/gone", "0")}));
      r.must(s.write({remove(s.heads().at("/registry/gone"))}));
      for (int i = 0; i < 3000;) {
        std::vector<operation> ops;
        for (int j = 0; j < 100; ++j, ++i) ops.push_back(create(fmt::format("/registry/n/{}", i), "v"));
        ops.push_back(update(s.heads().at("/registry/hot"), std::to_string(i)));
        r.must(s.write(std::move(ops)));
      }
      r.must(s.raw().compact(1500));
      auto again = r.must(s.raw().current());
      CHECK(again == s.applied());
      r.end(s);
    }
    server s(db);
    r.must(s.raw().open());
    auto first = r.must(s.raw().load(0));
    CHECK(first.compacted == 1500);
    r.end(s);
    server whole(db);
    r.must(whole.start());
    CHECK(whole.heads().at("/registry/old").value == "kept");
    CHECK(whole.heads().at("/registry/hot").value == "3000");
    CHECK(!whole.heads().contains("/registry/gone"));
    CHECK(whole.heads().size() == 3003);
    int hot = 0;
    for (auto& e : whole.history()) {
      CHECK(e.name != "/registry/gone");
      if (e.name == "/registry/hot" && e.at <= 1500) ++hot;
    }
    CHECK(hot <= 1);
    r.end(whole);
  });
}

TEST_CASE("after writes were lost no revision comes again, and who knows an old one is told") {
  on_each([](test_database& db) {
    runner r;
    server s(db), other(db);
    r.must(s.start());
    r.must(s.write({create("/registry/a", "1"), create("/registry/b", "1")}));
    auto newest = s.applied();
    auto began = db.shared();
    if (began) r.must(other.start());
    // This server has seen 40 revisions that the database doesn't have any more.
    r.must(s.raw().pass_over(newest + 40));
    auto height = r.must(s.raw().current());
    CHECK(height == newest + 40 + db.jump());
    // Who else asks for it has got it.
    r.must(s.raw().pass_over(newest + 40));
    r.must(s.raw().pass_over(newest + 7));
    CHECK(r.must(s.raw().current()) == height);
    if (began) {
      // Where it is done by writing, who was there follows, in as many steps as it comes in.
      for (auto at = other.applied(); at < height;) {
        auto late = r.loop.run_until(other.raw().tail(at, r.in(patience)));
        if (!late) {
          CHECK(late.error().code == errc::expired);
          break;
        }
        REQUIRE(late->at > at);
        at = late->at;
        CHECK(at <= height);
      }
      r.end(other);
    }
    r.end(s);
    server again(db);
    r.must(again.start());
    CHECK(again.applied() == height);
    CHECK(again.heads().at("/registry/a").value == "1");
    CHECK(again.heads().size() == 3);
    auto done = r.must(again.write({update(again.heads().at("/registry/a"), "2"), create("/registry/c", "1")}));
    check_revisions(again.raw(), done, height);
    r.end(again);
    server looks(db);
    r.must(looks.raw().open());
    CHECK(r.must(looks.raw().load(0)).compacted == height);
    r.end(looks);
  });
}

TEST_CASE("who found a loss tells the others, and the highest word stands") {
  on_each([](test_database& db) {
    if (!db.shared()) return;
    runner r;
    server s(db), other(db);
    r.must(s.start());
    r.must(other.start());
    const std::string name(loss_name);
    for (auto [seen, stands] : {std::pair(50, "50"), {70, "70"}, {60, "70"}, {70, "70"}}) {
      r.must(s.raw().tell_loss(static_cast<revision>(seen)));
      r.must(other.catch_up(r.must(s.raw().current()), r.in(patience)));
      REQUIRE(other.heads().contains(name));
      CHECK(other.heads().at(name).value == stands);
    }
    CHECK(other.applied() == 4);
    // And it is an object like any other.
    r.must(other.write({remove(other.heads().at(name))}));
    r.must(s.raw().tell_loss(10));
    r.must(other.catch_up(r.must(s.raw().current()), r.in(patience)));
    CHECK(other.heads().at(name).value == "10");
    r.end(s);
    r.end(other);
  });
}

TEST_CASE("a name's life goes on over removal and creation") {
  on_each([](test_database& db) {
    runner r;
    server s(db);
    r.must(s.start());
    revision last = 0;
    for (int i = 0; i < 5; ++i) {
      auto made = r.must(s.write({create("/registry/a", "1")}));
      REQUIRE(made[0].what == outcome::status::committed);
      REQUIRE(r.must(s.write({update(s.heads().at("/registry/a"), "2")}))[0].what == outcome::status::committed);
      CHECK(s.heads().at("/registry/a").created == made[0].at);
      auto gone = r.must(s.write({remove(s.heads().at("/registry/a"))}));
      REQUIRE(gone[0].what == outcome::status::committed);
      CHECK(gone[0].at > last);
      last = gone[0].at;
    }
    server again(db);
    r.end(s);
    r.must(again.start());
    CHECK(!again.heads().contains("/registry/a"));
    r.end(again);
  });
}

namespace {

// Creates of its own and one object that all count up; counts only what was acknowledged.
task<void> writer(server& s, int who, int rounds, int& counted, std::set<std::string>& acknowledged) {
  auto& loop = reactor::loop::current();
  std::vector<operation> again;  // what was refused by itself
  for (int i = 0; i < rounds || !again.empty(); ++i) {
    auto ops = std::exchange(again, {});
    const auto kept = static_cast<std::ptrdiff_t>(ops.size());
    for (int j = 0; j < 5 && i < rounds; ++j)
      ops.push_back(create(fmt::format("/registry/w{}/{}-{}", who, i, j), std::string(200, 'v')));
    int seen = 0;
    if (auto hot = s.heads().find("/registry/count"); hot != s.heads().end()) {
      seen = std::stoi(hot->second.value);
      ops.push_back(update(hot->second, fmt::format("{} by {}", seen + 1, who)));
    }
    auto names = ops;
    auto done = co_await s.write(std::move(ops));
    if (!done) {
      // Refused as a whole: again.
      again.assign(names.begin(), names.begin() + kept);
      co_await reactor::sleep_for(std::chrono::milliseconds(5));
      (void)co_await s.follow(loop.now() + std::chrono::milliseconds(1));
      --i;
      continue;
    }
    for (std::size_t j = 0; j < done->size(); ++j) {
      if ((*done)[j].what == outcome::status::refused && names[j].kind == change::create) again.push_back(names[j]);
      if ((*done)[j].what != outcome::status::committed) continue;
      if (names[j].name == "/registry/count")
        ++counted;
      else
        acknowledged.insert(names[j].name);
    }
    (void)co_await s.follow(loop.now() + std::chrono::milliseconds(i % 3));
  }
}

void many_writers(test_database& db, std::function<void(int)> meanwhile) {
  runner r;
  constexpr int servers = 3, rounds = 60;
  std::vector<std::unique_ptr<server>> all;
  for (int i = 0; i < servers; ++i) {
    all.push_back(std::make_unique<server>(db));
    r.must(all.back()->start());
  }
  r.must(all[0]->write({create("/registry/count", "0")}));
  for (auto& s : all) r.must(s->catch_up(all[0]->applied(), r.in(patience)));
  int counted = 0;
  std::set<std::string> acknowledged;
  {
    reactor::scope group;
    for (int i = 0; i < servers; ++i)
      group.spawn(writer(*all[static_cast<std::size_t>(i)], i, rounds, counted, acknowledged));
    for (int n = 0; group.size() > 0; ++n) {
      r.loop.turn(monotonic_clock::now() + std::chrono::milliseconds(20));
      if (meanwhile) meanwhile(n);
    }
  }
  revision newest = 0;
  for (int tries = 0; newest == 0 && tries < 200; ++tries) {
    auto now = r.loop.run_until(all[0]->raw().current());
    if (now) newest = *now;
  }
  REQUIRE(newest > 0);
  for (auto& s : all) r.must(s->catch_up(newest, r.in(patience)));
  server fresh(db);
  r.must(fresh.start());
  CHECK(acknowledged.size() == servers * rounds * 5);
  for (auto& name : acknowledged) CHECK(fresh.heads().contains(name));
  CHECK(std::stoi(fresh.heads().at("/registry/count").value) == counted);
  CHECK(counted > 0);
  // Everybody has seen the same, in the same order.
  for (auto& s : all) {
    REQUIRE(s->history().size() == fresh.history().size());
    for (std::size_t i = 0; i < fresh.history().size(); ++i) {
      if (!same(s->history()[i], fresh.history()[i])) FAIL("differs at " << fresh.history()[i].at);
    }
  }
  for (auto& s : all) r.end(*s);
  r.end(fresh);
}

}  // namespace

TEST_CASE(
    "several servers write at once: nothing acknowledged is lost, nobody counts the same twice, all see the same") {
  on_each([](test_database& db) {
    if (db.shared()) many_writers(db, {});
  });
}

TEST_CASE("the same while their connections are cut") {
  on_each([](test_database& db) {
    if (!db.shared() || !db.cut()) return;
    int cuts = 0;
    many_writers(db, [&](int n) {
      if (n % 40 == 39 && cuts < 20) {
        ++cuts;
        db.cut();
      }
    });
    CHECK(cuts > 0);
  });
}

TEST_CASE("what another server wrote arrives by itself") {
  on_each([](test_database& db) {
    if (!db.shared()) return;
    runner r;
    server a(db), b(db);
    r.must(a.start());
    r.must(b.start());
    r.must(b.catch_up(a.applied(), r.in(patience)));
    std::vector<duration> took;
    for (int i = 0; i < 20; ++i) {
      auto before = monotonic_clock::now();
      r.must(a.write({create(fmt::format("/registry/{}", i), "v")}));
      r.must(b.catch_up(a.applied(), r.in(patience)));
      took.push_back(monotonic_clock::now() - before);
      // Linearizable on the other server.
      CHECK(r.must(b.raw().current()) == a.applied());
    }
    std::sort(took.begin(), took.end());
    MESSAGE("the other server had it after " << std::chrono::duration<double, std::milli>(took[10]).count() << " ms");
    r.end(a);
    r.end(b);
  });
}

}  // namespace kedge::datastore
