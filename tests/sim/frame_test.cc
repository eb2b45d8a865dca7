// The frame of every controller, with controllers of the test's own: what a look sees, when it comes again, what is
// told.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "api/admission/chain.h"
#include "api/authorization/rbac.h"
#include "api/local_objects.h"
#include "api/registry/indexes.h"
#include "control/owners.h"
#include "control/resources.h"
#include "control/shell.h"
#include "datastore/memory/memory_log.h"
#include "json/parse.h"
#include "store/open.h"
#include "world.h"

using namespace kedge;
using namespace kedge::control;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

json::value map_named(const std::string& name, json::object data = {}) {
  return json::object{{"kind", "ConfigMap"},
                      {"apiVersion", "v1"},
                      {"metadata", json::object{{"name", name}, {"namespace", "default"}}},
                      {"data", std::move(data)}};
}

// One host, one store, one controller, and what a scenario does beside it.
struct frame {
  store::store& objects;
  api::objects& client;
  event_recorder& recorder;
};

// Runs `c` while `scenario` runs, and until that ends.
void with_controller(controller& c, unsigned workers, std::function<task<void>(frame)> scenario) {
  world w(7);
  datastore::memory_database db(datastore::memory_database::durability::each_commit, true);
  db.faults.delay_before_commit = [&] { return w.between(0ms, 3ms); };
  db.faults.delay_after_commit = [&] { return w.between(1ms, 3ms); };
  bool over = false;
  w.add_host("h").start([&](host& h) -> task<void> {
    auto opened = co_await store::open_store(
        {.log = datastore::make_memory_log(db), .loops = {&h.loop()}, .indexes = api::builtin_indexes()});
    REQUIRE(opened.has_value());
    api::rule_source* rules = nullptr;
    auto may = api::make_authorizer(&rules);
    auto chain = api::admission_chain::create({}, *may, *rules, opened->get());
    REQUIRE(chain.has_value());
    api::service_ranges ranges;
    auto client = api::make_objects(**opened, **chain, ranges);
    REQUIRE((co_await client->create(
                 {"", "v1", "namespaces"}, "",
                 json::object{
                     {"kind", "Namespace"}, {"apiVersion", "v1"}, {"metadata", json::object{{"name", "default"}}}}))
                .has_value());
    event_recorder recorder(*client, "tester");
    shell s({.name = "tester", .client = *client, .recorder = recorder, .workers = workers}, c);
    feed f(**opened);
    s.join(f);
    reactor::scope work;
    work.spawn([](feed& f) -> task<void> { (void)co_await f.run(); }(f));
    work.spawn(recorder.run());
    co_await f.synced().wait();
    work.spawn(s.run());
    co_await scenario({**opened, *client, recorder});
    over = true;
  });
  CHECK(w.run_until([&] { return over; }, 1h));
}

time_point now() { return reactor::loop::current().now(); }

task<void> until(std::function<bool()> done) {
  for (int i = 0; i < 60'000 && !done(); ++i) co_await reactor::sleep_for(10ms);
  CHECK(done());
}

// ---- controllers

// Wants so many ConfigMaps, and says how often it looked.
struct counts_up final : controller {
  std::size_t wanted;
  int looks = 0;
  explicit counts_up(std::size_t n) : wanted(n) {}
  std::vector<source> sources() override {
    return {{config_maps, [](const seen&, keys& k) { k.add("all"); }}};
  }
  void begin(keys& k) override { k.add("all"); }
  plan look(const view& cluster, const std::string&, const moment&) override {
    ++looks;
    plan p;
    std::size_t there = 0;
    cluster.cluster().scan(cluster.prefix(config_maps), {}, [&](const store::object_ref&) { return ++there, true; });
    // By the count alone, with names that tell nothing: were an own write missing, there would be too many.
    if (there < wanted) p.write(creation(config_maps, "default", map_named(fmt::format("m{}-{}", there, looks))));
    return p;
  }
};

// Never gets what it wants.
struct refused final : controller {
  std::vector<time_point> tries, told;
  std::vector<std::string> reasons;
  std::vector<source> sources() override { return {}; }
  void begin(keys& k) override { k.add("x"); }
  plan look(const view&, const std::string&, const moment& m) override {
    plan p;
    if (m.refused) {
      told.push_back(m.now);
      reasons.push_back(m.refused->message);
      return p;
    }
    tries.push_back(m.now);
    return p.write(creation(config_maps, "default", map_named("Not A Name")));
  }
};

// Stamps each ConfigMap once; everybody else changes them as well.
struct stamps final : controller {
  std::size_t looks = 0;
  std::vector<source> sources() override { return {{config_maps, &living_key}}; }
  plan look(const view& cluster, const std::string& key, const moment&) override {
    ++looks;
    plan p;
    auto m = cluster.get(config_maps, key);
    if (!m || !(*m)["data"]["stamp"].is_null()) return p;
    auto next = *m;
    next.member("data").set("stamp", "yes");
    return p.write(update_of(config_maps, std::move(next)));
  }
};

}  // namespace

TEST_CASE("a look has all that its controller has written") {
  for (unsigned workers : {1u, 4u}) {
    counts_up c(40);
    with_controller(c, workers, [&](frame f) -> task<void> {
      auto count = [&] {
        std::size_t n = 0;
        f.objects.current().scan("/registry/configmaps/", {}, [&](const store::object_ref&) { return ++n, true; });
        return n;
      };
      co_await until([&] { return count() >= 40; });
      co_await reactor::sleep_for(1s);
      CHECK(count() == 40);
      // And it rests: what is there gives nothing to do.
      auto looks = c.looks;
      co_await reactor::sleep_for(1min);
      CHECK(c.looks == looks);
    });
  }
}

TEST_CASE("what is refused is told to the look, and tried again in a second at the earliest") {
  refused c;
  with_controller(c, 1, [&](frame) -> task<void> {
    co_await reactor::sleep_for(10s);
    CHECK(c.tries.size() >= 5);
    CHECK(c.tries.size() <= 10);
    for (std::size_t i = 1; i < c.tries.size(); ++i) CHECK(c.tries[i] - c.tries[i - 1] >= 1s);
    CHECK(c.told.size() == c.tries.size());
    CHECK(c.reasons.front().find("Not A Name") != std::string::npos);
  });
}

TEST_CASE("what others change meanwhile is looked at again at once, and nothing of theirs is lost") {
  stamps c;
  with_controller(c, 2, [&](frame f) -> task<void> {
    for (int i = 0; i < 30; ++i)
      CHECK((co_await f.client.create(config_maps, "default", map_named(fmt::format("m{}", i)))).has_value());
    for (int round = 0; round < 5; ++round)
      for (int i = 0; i < 30; ++i)
        CHECK((co_await f.client.modify(config_maps, "default", fmt::format("m{}", i), [&](json::value& m) {
                return m.member("data").set(fmt::format("r{}", round), "x"), true;
              })).has_value());
    auto before = now();
    auto stamped = [&](int i) {
      auto m = f.client.get(config_maps, "default", fmt::format("m{}", i));
      return m && (*m)["data"].size() == 6;
    };
    for (int i = 0; i < 30; ++i) co_await until([&] { return stamped(i); });
    CHECK(now() - before < 5s);
  });
}

TEST_CASE("what changes while the feed starts is missed by nobody") {
  // The stamper begins with a thousand objects, and more come and change while it hears of them.
  world w(9);
  datastore::memory_database db(datastore::memory_database::durability::each_commit, true);
  db.faults.delay_before_commit = [&] { return w.between(0ms, 1ms); };
  db.faults.delay_after_commit = [&] { return w.between(0ms, 1ms); };
  bool over = false;
  w.add_host("h").start([&](host& h) -> task<void> {
    auto opened = co_await store::open_store(
        {.log = datastore::make_memory_log(db), .loops = {&h.loop()}, .indexes = api::builtin_indexes()});
    REQUIRE(opened.has_value());
    auto& s = **opened;
    auto put = [&](int i, int version) -> task<void> {
      std::string key = fmt::format("/registry/configmaps/default/m{:05}", i);
      auto found = s.current().find(key);
      (void)co_await s.write({found ? store::write_kind::update : store::write_kind::create, key,
                              fmt::format("{{\"data\":{{\"v\":\"{}\"}}}}", version), found ? found->mod() : 0});
    };
    for (int i = 0; i < 1000; ++i) co_await put(i, 0);
    feed f(s);
    std::map<std::string, std::string> heard;
    f.follow("/registry/configmaps/", [&](const seen& e) {
      if (e.deleted())
        heard.erase(std::string(e.key()));
      else
        heard[std::string(e.key())] = std::string(e.object()->bytes());
    });
    reactor::scope work;
    work.spawn([](feed& f) -> task<void> { (void)co_await f.run(); }(f));
    for (int i = 0; i < 400; ++i) {
      co_await put((i * 37) % 1200, i + 1);
      if (i % 5 == 0)
        (void)co_await s.write(
            {store::write_kind::remove, fmt::format("/registry/configmaps/default/m{:05}", (i * 11) % 1000), "", 0});
    }
    co_await f.synced().wait();
    co_await reactor::sleep_for(1s);
    std::map<std::string, std::string> there;
    s.current().scan("/registry/configmaps/", {}, [&](const store::object_ref& o) {
      there[std::string(o->key())] = std::string(o->bytes());
      return true;
    });
    CHECK(there.size() > 900);
    CHECK(heard == there);
    over = true;
  });
  CHECK(w.run_until([&] { return over; }, 1h));
}
