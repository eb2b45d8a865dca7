// The collector of what nodes use, among nodes that answer, hang, lie, come and go.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "api/local_objects.h"
#include "api/registry/indexes.h"
#include "datastore/memory/memory_log.h"
#include "json/parse.h"
#include "store/open.h"
#include "supervisor/usage_collector.h"
#include "support/no_admission.h"
#include "world.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

enum class manner { well, hangs, endless, refuses, dribbles };

// Nodes that each use one processor, a server that asks them, and what a test does.
struct scenario {
  datastore::memory_database db{datastore::memory_database::durability::each_commit, true};
  world w;
  std::map<std::string, manner> manners;  // of nodes; not there: well
  std::map<std::string, int> asked;
  int at_once = 0, most_at_once = 0;
  bool done = false;
  using part = std::function<task<void>(supervisor::usage_collector&, api::objects&)>;

  explicit scenario(std::uint64_t seed) : w(seed) {}
  void run(int nodes, part user) {
    w.add_host("server").start([this, nodes, user](host& h) { return serve(h, nodes, user); });
    CHECK(w.run_until([this] { return done; }, 2h));
  }
  task<void> serve(host& h, int nodes, part user) {
    auto opened = co_await store::open_store(
        {.log = datastore::make_memory_log(db), .loops = {&h.loop()}, .indexes = api::builtin_indexes()});
    REQUIRE(opened.has_value());
    tests::no_admission rules;
    api::service_ranges ranges;
    auto objects = api::make_objects(**opened, rules, ranges);
    for (int i = 0; i < nodes; ++i) co_await add(*objects, fmt::format("n{}", i));
    supervisor::usage_collector collector(
        [this](std::string node, std::function<result<void>(std::string_view)> take) {
          return read(std::move(node), std::move(take));
        },
        *objects);
    co_await user(collector, *objects);
    collector.stop();
    done = true;
    reactor::event never;
    co_await never.wait();
  }
  static task<void> add(api::objects& objects, std::string name) {
    CHECK((co_await objects.create(
               {"", "v1", "nodes"}, "",
               *json::parse(fmt::format(R"({{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{}"}}}})", name))))
              .has_value());
  }
  // How a node answers: with a processor that is always busy.
  task<result<void>> read(std::string node, std::function<result<void>(std::string_view)> take) {
    struct running {
      int& n;
      ~running() { --n; }
    } here{at_once};
    most_at_once = std::max(most_at_once, ++at_once);
    ++asked[node];
    co_await reactor::sleep_for(5ms);
    reactor::event never;
    const std::string junk(64 * 1024, '#');
    switch (manners.contains(node) ? manners[node] : manner::well) {
      case manner::hangs: co_await never.wait(); break;
      case manner::refuses: co_return fail(errc::unavailable, "no");
      case manner::endless:
        for (;;) {
          KEDGE_CO_CHECK(take(junk));
          co_await reactor::sleep_for(1ms);
        }
      case manner::dribbles:
        for (;;) {
          KEDGE_CO_CHECK(take("#\n"));
          co_await reactor::sleep_for(1s);
        }
      case manner::well: break;
    }
    auto ms =
        std::chrono::floor<std::chrono::milliseconds>(reactor::loop::current().wall_now()).time_since_epoch().count();
    co_return take(fmt::format("node_cpu_usage_seconds_total {} {}\nnode_memory_working_set_bytes 1024 {}\n",
                               static_cast<double>(ms) / 1000, ms, ms));
  }
};

bool busy(const api::usage_by_node& all, const std::string& name) {
  auto n = all.find(name);
  if (n == all.end() || !n->second->node) return false;
  auto cores = static_cast<double>(n->second->node->nanocores) / 1e9;
  return cores > 0.99 && cores < 1.01;
}

}  // namespace

TEST_CASE("nobody is asked before somebody asks, and who asks first waits for a rate") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    scenario s(seed);
    s.run(3, [&](supervisor::usage_collector& c, api::objects&) -> task<void> {
      auto& loop = reactor::loop::current();
      co_await reactor::sleep_for(10min);
      CHECK(s.asked.empty());
      const auto began = loop.now();
      auto all = co_await c.now();
      CHECK(loop.now() - began < 2s);
      CHECK(all->size() == 3);
      for (auto* name : {"n0", "n1", "n2"}) CHECK(busy(*all, name));
      // The next ones don't wait.
      const auto then = loop.now();
      CHECK((co_await c.now())->size() == 3);
      CHECK(loop.now() == then);
      co_await reactor::sleep_for(1min);
      CHECK(busy(*co_await c.now(), "n0"));
      // A while after the last question nobody is asked any more.
      co_await reactor::sleep_for(6min);
      auto count = s.asked["n0"];
      co_await reactor::sleep_for(10min);
      CHECK(s.asked["n0"] == count);
      CHECK(busy(*co_await c.now(), "n0"));
    });
  }
}

TEST_CASE("nodes that hang, lie or are gone cost those that answer nothing") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    scenario s(seed);
    s.run(100, [&](supervisor::usage_collector& c, api::objects& objects) -> task<void> {
      for (int i = 0; i < 60; ++i) s.manners[fmt::format("n{}", i)] = static_cast<manner>(1 + i % 4);
      auto& loop = reactor::loop::current();
      const auto began = loop.now();
      auto all = co_await c.now();
      CHECK(loop.now() - began <= api::usage_first_wait + 10ms);
      co_await reactor::sleep_for(1min);
      for (int round = 0; round < 8; ++round) {
        all = co_await c.now();
        CHECK(all->size() == 40);
        for (int i = 60; i < 100; ++i) CHECK(busy(*all, fmt::format("n{}", i)));
        co_await reactor::sleep_for(13s);
      }
      CHECK(s.most_at_once <= static_cast<int>(api::usage_nodes_at_once + api::usage_failed_nodes_at_once));
      // Who fails is asked less and less.
      CHECK(s.asked["n0"] < s.asked["n99"]);
      // One of them gets well, one that was well goes silent, one is deleted and one comes.
      s.manners.erase("n0");
      s.manners["n99"] = manner::refuses;
      CHECK((co_await objects.remove({"", "v1", "nodes"}, "", "n98")).has_value());
      co_await scenario::add(objects, "late");
      for (int i = 0; i < 20; ++i) {
        co_await reactor::sleep_for(15s);
        all = co_await c.now();
      }
      CHECK(busy(*all, "n0"));
      CHECK(busy(*all, "late"));
      CHECK_FALSE(all->contains("n99"));
      CHECK_FALSE(all->contains("n98"));
    });
  }
}

TEST_CASE("who waits when the server stops is let go") {
  scenario s(1);
  s.run(1, [&](supervisor::usage_collector& c, api::objects&) -> task<void> {
    reactor::scope others;
    bool answered = false;
    others.spawn([](supervisor::usage_collector& all, bool& yes) -> task<void> {
      co_await all.now();
      yes = true;
    }(c, answered));
    co_await reactor::sleep_for(1ms);
    CHECK_FALSE(answered);
    c.stop();
    co_await others.join();
    CHECK(answered);
    CHECK((co_await c.now())->empty());
  });
}
