// Several servers over one database: who leads, who is listed, and what they share, through crashes, outages and clocks
// that jump.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/local_objects.h"
#include "api/registry/indexes.h"
#include "control/leader_election.h"
#include "control/server_endpoints.h"
#include "datastore/memory/memory_log.h"
#include "json/write.h"
#include "store/open.h"
#include "support/no_admission.h"
#include "world.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

// What stands outside of the servers and sees all of them.
struct cluster {
  datastore::memory_database db{datastore::memory_database::durability::each_commit, true};
  bool away = false;                   // the database doesn't answer
  std::map<std::string, int> leading;  // server → how many lead() run there now
  std::map<std::string, std::string> refused;
  std::set<std::string> joined;

  cluster() {
    auto down = [this]() -> std::optional<error> {
      if (away) return error{errc::unavailable, "the database is away"};
      return std::nullopt;
    };
    db.faults.fail_before_commit = down;
    db.faults.fail_read = down;
  }
  std::set<std::string> leaders() const {
    std::set<std::string> out;
    for (auto& [name, n] : leading)
      if (n) out.insert(name);
    return out;
  }
  std::string listed(std::string_view key, std::string_view list, std::string_view field) const {
    std::string out;
    const datastore::entry* newest = nullptr;
    for (auto& [at, e] : db.rows())
      if (e.name == key) newest = &e;
    if (!newest) return out;
    auto o = json::parse(newest->value);
    REQUIRE(o.has_value());
    auto& items = list == "subsets" ? (*o)["subsets"][0]["addresses"] : (*o)["endpoints"];
    for (std::size_t i = 0; i < items.size(); ++i)
      out += (out.empty() ? "" : " ") +
             std::string(list == "subsets" ? items[i][field].as_string() : items[i][field][0].as_string());
    return out;
  }
  std::string endpoints() const {
    auto a = listed("/registry/services/endpoints/default/kubernetes", "subsets", "ip");
    auto b = listed("/registry/endpointslices/default/kubernetes", "endpoints", "addresses");
    return a == b ? a : a + " but in the slice " + b;
  }
};

struct server_setup {
  json::value settings = json::object{{"cluster-cidr", "10.42.0.0/16"}};
  std::string node_name;
  duration leave_after = duration::max();
  std::set<std::string>* kept_off = nullptr;  // hosts whose clock stands before the cluster's begin
};

task<void> server_main(host& h, cluster& c, server_setup setup) {
  auto opened = co_await store::open_store(
      {.log = datastore::make_memory_log(c.db), .loops = {&h.loop()}, .indexes = api::builtin_indexes()});
  if (!opened) {
    c.refused[h.name()] = opened.error().message;
    co_return;
  }
  tests::no_admission rules;
  api::service_ranges ranges;
  auto objects = api::make_objects(**opened, rules, ranges);
  control::server_endpoints listed(*objects, {.address = h.address(),
                                              .node_name = setup.node_name.empty() ? h.name() : setup.node_name,
                                              .identity = h.name() + "_" + h.loop().random().uuid(),
                                              .settings = setup.settings,
                                              .kept_off = [&]() -> std::optional<std::string> {
                                                if (!setup.kept_off || !setup.kept_off->contains(h.name()))
                                                  return std::nullopt;
                                                return "the clock is wrong";
                                              }});
  if (auto ok = co_await listed.join(); !ok) {
    c.refused[h.name()] = ok.error().message;
    co_await (*opened)->close();
    co_return;
  }
  c.joined.insert(h.name());
  control::election election(*objects, {.name = "kube-controller-manager", .identity = h.name(), .leave_it = [&] {
                                          return listed.k3s_lives();
                                        }});
  reactor::scope parts;
  struct mark {
    int& n;
    explicit mark(int& count) : n(count) { ++n; }
    ~mark() { --n; }
  };
  parts.spawn(election.run([&c, name = h.name()]() -> task<void> {
    mark here(c.leading[name]);
    co_await reactor::sleep_for(std::chrono::hours(1000));
  }));
  parts.spawn(listed.keep([&] { return election.leads(); }));
  if (setup.leave_after == duration::max()) co_return co_await parts.join();
  co_await reactor::sleep_for(setup.leave_after);
  auto deadline = h.loop().now() + 2s;
  co_await listed.leave(deadline);
  co_await election.release(deadline);
  parts.cancel();
  co_await (*opened)->close();
}

// What a K3s server does on the same datastore: kube-apiserver's row, renewed every 10 s for 15 s, and client-go's
// election.
task<void> k3s_main(host& h, cluster& c, bool controllers) {
  auto opened = co_await store::open_store(
      {.log = datastore::make_memory_log(c.db), .loops = {&h.loop()}, .indexes = api::builtin_indexes()});
  REQUIRE(opened.has_value());
  tests::no_admission rules;
  api::service_ranges ranges;
  auto objects = api::make_objects(**opened, rules, ranges);
  control::election election(*objects, {.name = "kube-controller-manager", .identity = h.name()});
  reactor::scope parts;
  struct mark {
    int& n;
    explicit mark(int& count) : n(count) { ++n; }
    ~mark() { --n; }
  };
  if (controllers)
    parts.spawn(election.run([&c, name = h.name()]() -> task<void> {
      mark here(c.leading[name]);
      co_await reactor::sleep_for(std::chrono::hours(1000));
    }));
  auto key = "/registry/masterleases/" + h.address();
  for (int generation = 1;; ++generation) {
    auto row = (*opened)->current().find(key);
    (void)co_await (*opened)->write(
        {.kind = row ? store::write_kind::update : store::write_kind::create,
         .key = key,
         .value = fmt::format(
             R"({{"kind":"Endpoints","apiVersion":"v1","metadata":{{"generation":{}}},"subsets":[{{"addresses":[{{"ip":"{}"}}]}}]}})",
             generation, h.address()),
         .expected = row ? row->mod() : 0,
         .lease_seconds = 15});
    co_await reactor::sleep_for(10s);
  }
}

struct scenario {
  cluster shared;  // outlives the servers
  world w;
  std::vector<host*> hosts;
  unsigned most_leaders = 0;
  explicit scenario(std::uint64_t seed, int servers, server_setup setup = {}) : w(seed) {
    shared.db.faults.delay_before_commit = [this] { return w.between(0ms, 3ms); };
    shared.db.faults.delay_after_commit = [this] { return w.between(0ms, 3ms); };
    for (int i = 0; i < servers; ++i) {
      hosts.push_back(&w.add_host("s" + std::to_string(i + 1)));
      hosts.back()->start([this, setup](host& h) { return server_main(h, shared, setup); });
    }
  }
  ~scenario() {
    for (auto* h : hosts)
      if (h->running()) h->crash();
  }
  bool until(duration limit, const std::function<bool()>& done) {
    return w.run_until(
        [&] {
          most_leaders = std::max(most_leaders, static_cast<unsigned>(shared.leaders().size()));
          return done();
        },
        limit);
  }
  host& leader() {
    for (auto* h : hosts)
      if (shared.leaders().contains(h->name())) return *h;
    REQUIRE(false);
    return *hosts[0];
  }
};

}  // namespace

TEST_CASE("one of the servers leads, and another when it dies") {
  for (auto seed : seeds(20)) {
    CAPTURE(seed);
    scenario s(seed, 3);
    REQUIRE(s.until(30s, [&] {
      return s.shared.joined.size() == 3 && s.shared.leaders().size() == 1 &&
             s.shared.endpoints() == "10.0.0.1 10.0.0.2 10.0.0.3";
    }));
    s.hosts[1]->jump_clock(3h);  // nobody compares clocks
    for (int round = 0; round < 3; ++round) {
      auto& old = s.leader();
      auto name = old.name(), address = old.address();
      old.crash();
      CHECK(s.shared.leaders().empty());
      REQUIRE(s.until(20s, [&] { return s.shared.leaders().size() == 1; }));
      CHECK(s.leader().name() != name);
      REQUIRE(s.until(15s, [&] { return s.shared.endpoints().find(address) == std::string::npos; }));
      old.restart();
      REQUIRE(s.until(15s, [&] { return s.shared.endpoints() == "10.0.0.1 10.0.0.2 10.0.0.3"; }));
    }
    CHECK(s.most_leaders == 1);
  }
}

TEST_CASE("a dead server is out of the endpoints within seconds, while the leader lives") {
  for (auto seed : seeds(20)) {
    CAPTURE(seed);
    scenario s(seed, 3);
    REQUIRE(s.until(30s, [&] {
      return s.shared.joined.size() == 3 && s.shared.leaders().size() == 1 &&
             s.shared.endpoints() == "10.0.0.1 10.0.0.2 10.0.0.3";
    }));
    auto dies = std::find_if(s.hosts.begin(), s.hosts.end(), [&](host* h) { return h != &s.leader(); });
    (*dies)->crash();
    auto address = (*dies)->address();
    CHECK(s.until(10s, [&] { return s.shared.endpoints().find(address) == std::string::npos; }));
  }
}

TEST_CASE("a server that can serve nobody is in no list until it can, also when all can't") {
  for (auto seed : seeds(10)) {
    CAPTURE(seed);
    std::set<std::string> off;
    scenario s(seed, 3, {.kept_off = &off});
    auto all = "10.0.0.1 10.0.0.2 10.0.0.3";
    REQUIRE(s.until(30s, [&] { return s.shared.joined.size() == 3 && s.shared.endpoints() == all; }));
    off.insert(s.hosts[1]->name());
    CHECK(s.until(3s, [&] { return s.shared.endpoints() == "10.0.0.1 10.0.0.3"; }));
    // Nobody puts it back.
    CHECK(!s.until(20s, [&] { return s.shared.endpoints() != "10.0.0.1 10.0.0.3"; }));
    off.clear();
    CHECK(s.until(10s, [&] { return s.shared.endpoints() == all; }));
    for (auto* h : s.hosts) off.insert(h->name());
    CHECK(!s.until(20s, [&] { return s.shared.endpoints().empty(); }));
    off.clear();
    CHECK(s.until(15s, [&] { return s.shared.endpoints() == all; }));
  }
}

TEST_CASE("who stops cleanly is out at once, and another leads at once") {
  for (auto seed : seeds(20)) {
    CAPTURE(seed);
    scenario s(seed, 1, {.leave_after = 10s});
    REQUIRE(s.until(5s, [&] { return s.shared.leaders().size() == 1; }));
    for (int i = 0; i < 2; ++i) {
      s.hosts.push_back(&s.w.add_host("later" + std::to_string(i)));
      s.hosts.back()->start([&s](host& h) { return server_main(h, s.shared, {}); });
    }
    REQUIRE(s.until(5s, [&] { return s.shared.endpoints() == "10.0.0.1 10.0.0.2 10.0.0.3"; }));
    REQUIRE(s.until(20s, [&] { return s.shared.leaders().empty(); }));
    CHECK(
        s.until(200ms, [&] { return s.shared.leaders().size() == 1 && s.shared.endpoints() == "10.0.0.2 10.0.0.3"; }));
    CHECK(s.most_leaders == 1);
  }
}

TEST_CASE("while the database is away the leader stops, and nobody is taken for dead when it comes back") {
  for (auto seed : seeds(10)) {
    CAPTURE(seed);
    scenario s(seed, 3);
    REQUIRE(s.until(30s, [&] {
      return s.shared.joined.size() == 3 && s.shared.leaders().size() == 1 &&
             s.shared.endpoints() == "10.0.0.1 10.0.0.2 10.0.0.3";
    }));
    s.shared.away = true;
    REQUIRE(s.until(13s, [&] { return s.shared.leaders().empty(); }));
    s.w.run_for(40s);
    s.shared.away = false;
    bool always = true;
    s.until(20s, [&] {
      always = always && s.shared.endpoints() == "10.0.0.1 10.0.0.2 10.0.0.3";
      return false;
    });
    CHECK(always);
    CHECK(s.shared.leaders().size() == 1);
    CHECK(s.most_leaders == 1);
  }
}

TEST_CASE("a server with other critical settings, or a name that is taken, is refused while the others live") {
  for (auto seed : seeds(10)) {
    CAPTURE(seed);
    scenario s(seed, 2);
    REQUIRE(s.until(30s, [&] { return s.shared.joined.size() == 2; }));
    auto& other = s.w.add_host("other");
    s.hosts.push_back(&other);
    other.start([&s](host& h) {
      return server_main(h, s.shared, {.settings = json::object{{"cluster-cidr", "10.52.0.0/16"}}});
    });
    REQUIRE(s.until(15s, [&] { return s.shared.refused.contains("other"); }));
    CHECK(s.shared.refused["other"].find("critical configuration value mismatch between servers") != std::string::npos);
    CHECK(s.shared.refused["other"].find("--cluster-cidr is \"10.52.0.0/16\" here and \"10.42.0.0/16\" there") !=
          std::string::npos);
    auto& twin = s.w.add_host("twin");
    s.hosts.push_back(&twin);
    twin.start([&s](host& h) { return server_main(h, s.shared, {.node_name = "s1"}); });
    REQUIRE(s.until(15s, [&] { return s.shared.refused.contains("twin"); }));
    CHECK(s.shared.refused["twin"].find("has the node name \"s1\" already") != std::string::npos);
    CHECK(s.shared.endpoints() == "10.0.0.1 10.0.0.2");

    // With the others gone the settings may change.
    for (auto* h : {s.hosts[0], s.hosts[1], &other}) h->crash();
    s.shared.refused.clear();
    other.restart();
    REQUIRE(s.until(20s, [&] { return s.shared.joined.contains("other"); }));
  }
}

TEST_CASE("of two servers that start together with different settings one stays") {
  for (auto seed : seeds(30)) {
    CAPTURE(seed);
    scenario s(seed, 0);
    for (auto cidr : {"10.42.0.0/16", "10.52.0.0/16"}) {
      s.hosts.push_back(&s.w.add_host(cidr));
      s.hosts.back()->start(
          [&s, cidr](host& h) { return server_main(h, s.shared, {.settings = json::object{{"cluster-cidr", cidr}}}); });
    }
    REQUIRE(s.until(30s, [&] { return s.shared.refused.size() + s.shared.joined.size() >= 2; }));
    CHECK(s.shared.joined.size() == 1);
    CHECK(s.shared.refused.size() == 1);
  }
}

TEST_CASE("a K3s server on the same datastore is listed as long as it lives, and leads") {
  for (auto seed : seeds(10)) {
    CAPTURE(seed);
    scenario s(seed, 2);
    REQUIRE(s.until(30s, [&] {
      return s.shared.joined.size() == 2 && s.shared.leaders().size() == 1 &&
             s.shared.endpoints() == "10.0.0.1 10.0.0.2";
    }));
    auto& k3s = s.w.add_host("k3s");
    s.hosts.push_back(&k3s);
    k3s.start([&s](host& h) { return k3s_main(h, s.shared, true); });
    REQUIRE(s.until(10s, [&] { return s.shared.endpoints() == "10.0.0.1 10.0.0.2 10.0.0.3"; }));
    // It does more than the others' controllers do.
    REQUIRE(s.until(10s, [&] { return s.shared.leaders() == std::set<std::string>{"k3s"}; }));
    bool always = true;
    s.until(60s, [&] {
      always = always && s.shared.endpoints() == "10.0.0.1 10.0.0.2 10.0.0.3" &&
               s.shared.leaders() == std::set<std::string>{"k3s"};
      return false;
    });
    CHECK(always);

    k3s.crash();
    REQUIRE(s.until(20s, [&] { return s.shared.endpoints() == "10.0.0.1 10.0.0.2"; }));
    REQUIRE(s.until(20s, [&] { return s.shared.leaders().size() == 1; }));
    CHECK(s.most_leaders == 1);
  }
}

TEST_CASE("the lead is not left to a K3s server that doesn't take it") {
  for (auto seed : seeds(10)) {
    CAPTURE(seed);
    scenario s(seed, 1);
    REQUIRE(s.until(10s, [&] { return s.shared.leaders().size() == 1; }));
    auto& k3s = s.w.add_host("k3s");
    s.hosts.push_back(&k3s);
    k3s.start([&s](host& h) { return k3s_main(h, s.shared, false); });
    REQUIRE(s.until(10s, [&] { return s.shared.leaders().empty(); }));
    REQUIRE(s.until(40s, [&] { return s.shared.leaders().size() == 1; }));
    bool always = true;
    s.until(60s, [&] {
      always = always && s.shared.leaders().size() == 1;
      return false;
    });
    CHECK(always);
  }
}
