// A database that loses its end, is slow for one server, or vanishes for it: what clients and the other servers see.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "datastore/memory/memory_log.h"
#include "store/limits.h"
#include "store/open.h"
#include "support/temporary_folder.h"
#include "world.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

std::string thing(std::string_view name, std::string_view value) {
  return fmt::format(R"({{"kind":"Thing","apiVersion":"v1","metadata":{{"name":"{}"}},"data":"{}"}})", name, value);
}
constexpr const char* prefix = "/registry/things/";

// What anybody was ever told of a revision.
struct told {
  std::map<store::revision, std::string> changes;
  store::revision floor = 0;  // the newest before the last loss was accepted
  bool losing = false;  // until all have ended, servers that had seen less may give out what others had: all of it is
                        // compacted then
  std::string twice;    // the first that was given to two
  void add(store::revision at, std::string_view key, std::string_view text) {
    auto what = fmt::format("{} {}", key, text);
    auto [was, fresh] = changes.try_emplace(at, what);
    bool again = at <= floor || (!fresh && was->second != what && !losing);
    if (again && twice.empty()) twice = fmt::format("{}: {} and {}", at, was->second, what);
  }
};

struct member {
  temporary_folder folder;
  datastore::memory_link link;
  host* machine = nullptr;
  bool accept = false;
  store::store* objects = nullptr;  // while it runs
  std::string refused;
  unsigned starts = 0, ended = 0, written = 0;
};

struct cluster {
  datastore::memory_database db{datastore::memory_database::durability::each_commit, true};
  std::vector<std::unique_ptr<member>> members;
  told all;
  std::size_t value_bytes = 10;
  duration pause = 20ms;
};

task<void> writing(cluster& c, member& m, std::string name) {
  for (int n = 0;; ++n) {
    auto one = fmt::format("{}-{}", name, n);
    auto done = co_await m.objects->write(
        {.kind = store::write_kind::create, .key = prefix + one, .value = thing(one, std::string(c.value_bytes, 'x'))});
    if (done) {
      ++m.written;
      c.all.add(done->at, done->object->key(), done->object->bytes());
    }
    co_await reactor::sleep_for(done ? c.pause : 100ms);
  }
}

// An informer: lists, watches from there, and lists again only when it is told to.
task<void> informer(cluster& c, member& m, store::revision& at) {
  for (;;) {
    auto watch = at ? m.objects->watch(prefix, at) : result<std::unique_ptr<store::watcher>>(fail(errc::expired, ""));
    if (!watch) {
      if (watch.error().code == errc::expired) at = m.objects->current().at();
      co_await reactor::sleep_for(1ms);
      continue;
    }
    for (;;) {
      auto events = co_await (*watch)->next();
      if (!events) break;
      for (auto& e : *events) c.all.add(e->at, e->object->key(), e->object->bytes());
      at = events->back()->at;
    }
  }
}

task<void> server_main(host& h, cluster& c, member& m, store::revision& seen_by_client) {
  ++m.starts;
  m.refused.clear();
  reactor::event lost;
  store::store_options o{.log = datastore::make_memory_log(c.db, &m.link), .loops = {&h.loop()}};
  o.seen_file = m.folder.path() + "/seen.json";
  o.accept_data_loss = m.accept;
  o.on_lost_history = [&lost](const error&) { lost.set(); };
  auto opened = co_await store::open_store(std::move(o));
  if (!opened) {
    m.refused = opened.error().message;
    co_return;
  }
  m.objects = opened->get();
  struct shown {
    member& m;
    ~shown() { m.objects = nullptr; }
  } guard{m};
  {
    reactor::scope parts;
    parts.spawn(writing(c, m, fmt::format("{}-{}", h.name(), m.starts)));
    parts.spawn(informer(c, m, seen_by_client));
    co_await lost.wait();
  }
  co_await (*opened)->close();
  m.refused = "it ended";
  ++m.ended;
}

}  // namespace

TEST_CASE(
    "a failover loses the end of the log: all servers end, none starts on it by itself, and no revision is given "
    "twice") {
  for (auto seed : seeds(20)) {
    CAPTURE(seed);
    cluster c;
    world w(seed);
    c.db.faults.delay_before_commit = [&w] { return w.between(0ms, 3ms); };
    c.db.faults.delay_after_commit = [&w] { return w.between(0ms, 3ms); };
    c.db.faults.delay_read = [&w] {
      return w.between(0ms, 40ms);
    };  // some servers have seen less than others when it happens
    std::vector<store::revision> clients(3);  // what the clients of each server have seen: they outlive it
    for (std::size_t i = 0; i < 3; ++i) {
      auto& m = *c.members.emplace_back(std::make_unique<member>());
      m.machine = &w.add_host("s" + std::to_string(i + 1));
      m.machine->start([&c, &m, &clients, i](host& h) { return server_main(h, c, m, clients[i]); });
    }
    auto all_serve = [&] {
      return std::all_of(c.members.begin(), c.members.end(), [](auto& m) { return m->objects && m->written > 20; });
    };
    REQUIRE(w.run_until(all_serve, 60s));
    for (int round = 0; round < 2; ++round) {
      auto newest = c.db.newest();
      c.all.losing = true;
      c.db.lose_after(newest - w.random().below(8) - 1);
      REQUIRE(w.run_until(
          [&] {
            return std::all_of(c.members.begin(), c.members.end(), [](auto& m) { return m->refused == "it ended"; });
          },
          60s));
      c.all.losing = false;
      // The service manager starts them, again and again.
      auto left = c.db.newest();
      for (int i = 0; i < 3; ++i)
        for (auto& m : c.members) {
          m->machine->crash();
          w.run_for(w.between(0ms, 2s));
          m->machine->restart();
          REQUIRE(w.run_until([&] { return m->refused != ""; }, 60s));
          CHECK(m->refused.find("--accept-data-loss") != std::string::npos);
        }
      CHECK(c.db.newest() == left);
      c.all.floor = c.all.changes.rbegin()->first;
      // A person decides. Any of them first; the others may be told the same, or not.
      auto first = w.random().below(3);
      for (std::size_t i = 0; i < 3; ++i) {
        auto& m = *c.members[(first + i) % 3];
        m.accept = i == 0 || w.chance(0.5);
        m.written = 0;
        m.machine->crash();
        m.machine->restart();
        REQUIRE(w.run_until([&] { return m.objects || m.refused != ""; }, 60s));
        CHECK(m.refused == "");
      }
      for (auto& m : c.members) m->accept = false;
      REQUIRE(w.run_until(all_serve, 60s));
      CHECK(c.all.twice == "");
      CHECK(c.db.newest() > newest + 1'000'000);
      for (auto at : clients) CHECK(at > newest + 1'000'000);
    }
    for (auto& m : c.members) m->machine->crash();
  }
}

TEST_CASE("a backup is restored while all servers stand still: that is noticed too") {
  for (auto seed : seeds(10)) {
    CAPTURE(seed);
    cluster c;
    world w(seed);
    std::vector<store::revision> clients(2);
    for (std::size_t i = 0; i < 2; ++i) {
      auto& m = *c.members.emplace_back(std::make_unique<member>());
      m.machine = &w.add_host("s" + std::to_string(i + 1));
      m.machine->start([&c, &m, &clients, i](host& h) { return server_main(h, c, m, clients[i]); });
    }
    w.run_for(w.between(5s, 100s));
    auto backup = c.db.newest();
    // Killed, so that only what was noted in passing tells: once a minute.
    w.run_for(61s);
    for (auto& m : c.members) m->machine->crash();
    c.db.lose_after(backup);
    for (auto& m : c.members) {
      m->machine->restart();
      REQUIRE(w.run_until([&] { return m->refused != "" || m->objects; }, 60s));
      CHECK_MESSAGE(m->refused.find(fmt::format("its newest revision is {}", backup)) != std::string::npos, m->refused);
    }
    CHECK(c.db.newest() == backup);
    for (auto& m : c.members) m->machine->crash();
  }
}

TEST_CASE("one server behind a slow link: the others write as if it weren't there, and it catches up when it can") {
  for (auto seed : seeds(5)) {
    CAPTURE(seed);
    cluster c;
    c.value_bytes = 20'000;
    c.pause = 15ms;  // 1.3 MB/s from the first
    world w(seed);
    c.db.faults.delay_before_commit = [&w] { return w.between(0ms, 3ms); };
    std::vector<store::revision> clients(3);
    for (std::size_t i = 0; i < 3; ++i) {
      auto& m = *c.members.emplace_back(std::make_unique<member>());
      m.machine = &w.add_host("s" + std::to_string(i + 1));
      m.machine->start([&c, &m, &clients, i](host& h) { return server_main(h, c, m, clients[i]); });
    }
    w.run_for(2s);
    auto &fast = *c.members[0], &slow = *c.members[1];
    auto before = fast.written;
    w.run_for(5s);
    auto usual = fast.written - before;
    slow.link.bytes_per_second = 200'000;
    before = fast.written;
    w.run_for(5s);
    CHECK(fast.written - before > usual * 9 / 10);
    slow.link.bytes_per_second = 0;
    auto goal = c.db.newest();
    CHECK(w.run_until(
        [&] {
          reactor::loop::current_guard guard(slow.machine->loop());
          return slow.objects->current().at() >= goal;
        },
        60s));
    CHECK(c.all.twice == "");
    for (auto& m : c.members) m->machine->crash();
  }
}

TEST_CASE(
    "a database that vanishes for one server: it says so, refuses within three seconds, and what is in memory is "
    "read") {
  for (auto seed : seeds(10)) {
    CAPTURE(seed);
    cluster c;
    world w(seed);
    c.db.faults.delay_before_commit = [&w] { return w.between(0ms, 3ms); };
    std::vector<store::revision> clients(2);
    for (std::size_t i = 0; i < 2; ++i) {
      auto& m = *c.members.emplace_back(std::make_unique<member>());
      m.machine = &w.add_host("s" + std::to_string(i + 1));
      m.machine->start([&c, &m, &clients, i](host& h) { return server_main(h, c, m, clients[i]); });
    }
    w.run_for(2s);
    auto &alone = *c.members[0], &other = *c.members[1];
    auto& loop = alone.machine->loop();
    // Some have been sent and stay in doubt; those behind them, and all that come later, are refused soon.
    alone.link.cut = true;
    struct asked {
      duration took{};
      errc code = errc::internal;
      bool done = false;
    };
    std::vector<asked> writes(30), reads(10);
    {
      reactor::loop::current_guard guard(loop);
      for (std::size_t i = 0; i < writes.size(); ++i)
        loop.spawn([](member& m, asked& a, std::size_t n) -> task<void> {
          co_await reactor::sleep_for(n < 3 ? n * 1ms : n * 300ms);  // the first in commits of their own
          auto began = reactor::loop::current().now();
          auto name = fmt::format("cut-{}", n);
          auto r = co_await m.objects->write(
              {.kind = store::write_kind::create, .key = prefix + name, .value = thing(name, "v")});
          a = {reactor::loop::current().now() - began, r ? errc::internal : r.error().code, true};
        }(alone, writes[i], i));
      for (std::size_t i = 0; i < reads.size(); ++i)
        loop.spawn([](member& m, asked& a, std::size_t n) -> task<void> {
          co_await reactor::sleep_for(n * 500ms);
          auto at = m.objects->current().at();  // resourceVersion=0
          auto watch = m.objects->watch(prefix, at);
          a = {{}, watch && at ? errc::internal : errc::unavailable, true};
        }(alone, reads[i], i));
    }
    CHECK(w.run_until(
        [&] {
          reactor::loop::current_guard guard(loop);
          return !alone.objects->healthy();
        },
        2s));
    auto before = other.written;
    w.run_for(9s);
    CHECK(other.written > before + 100);
    int refused = 0;
    for (auto& a : writes)
      if (a.done && a.code == errc::unavailable) {
        ++refused;
        CHECK(a.took <= 3s);
      }
    CHECK(refused > 20);
    for (auto& a : reads) CHECK((a.done && a.code == errc::internal));
    // Those in doubt are told so, also behind another: after the wait for an answer and then for the outcome, which
    // ends with a look.
    w.run_for(24s);
    int doubtful = 0;
    for (auto& a : writes) {
      CHECK(a.done);
      if (a.code != errc::unknown_outcome) continue;
      ++doubtful;
      CHECK(a.took <= 2 * datastore::memory_answer_wait + store::unknown_outcome_wait + 1s);
    }
    CHECK(doubtful > 0);
    alone.link.cut = false;
    before = alone.written;
    CHECK(w.run_until([&] { return alone.written > before + 5; }, 30s));
    CHECK(c.all.twice == "");
    for (auto& m : c.members) m->machine->crash();
  }
}

TEST_CASE("a server ends within its time, whatever its database does") {
  for (auto seed : seeds(5)) {
    CAPTURE(seed);
    cluster c;
    world w(seed);
    member m;
    m.machine = &w.add_host("s");
    bool in_doubt = false, closed = false;
    m.machine->start([&](host& h) -> task<void> {
      auto opened =
          co_await store::open_store({.log = datastore::make_memory_log(c.db, &m.link), .loops = {&h.loop()}});
      REQUIRE(opened.has_value());
      m.link.cut = true;
      reactor::scope parts;
      parts.spawn([](store::store& s, bool& out) -> task<void> {
        auto r = co_await s.write(
            {.kind = store::write_kind::create, .key = "/registry/things/a", .value = thing("a", "v")});
        out = !r && r.error().code == errc::unknown_outcome;
      }(**opened, in_doubt));
      co_await reactor::sleep_for(500ms);
      co_await (*opened)->close();
      closed = true;
      co_await parts.join();
    });
    CHECK(w.run_until([&] { return closed; }, 5s));
    w.run_for(1ms);
    CHECK(in_doubt);
    m.machine->crash();
  }
}
