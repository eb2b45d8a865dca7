// Two servers over one database give addresses, ports and blocks of addresses at the same moment: nothing is given
// twice, and what a server took and never gave comes back.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <map>
#include <set>

#include "api/local_objects.h"
#include "api/registry/indexes.h"
#include "api/write/reservations.h"
#include "control/controller.h"
#include "control/manager.h"
#include "datastore/memory/memory_log.h"
#include "json/parse.h"
#include "store/open.h"
#include "support/no_admission.h"
#include "world.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

const api::resource_id nodes{"", "v1", "nodes"};
const api::resource_id services{"", "v1", "services"};

// Servers, each of which runs what it is given with its objects.
struct scenario {
  using work = std::function<task<void>(host&, api::objects&)>;
  datastore::memory_database db{datastore::memory_database::durability::each_commit, true};
  world w;
  std::vector<host*> hosts;

  scenario(std::uint64_t seed, int servers, work what, api::service_ranges ranges = {}) : w(seed) {
    db.faults.delay_before_commit = [this] { return w.between(0ms, 3ms); };
    db.faults.delay_after_commit = [this] { return w.between(0ms, 3ms); };
    for (int i = 0; i < servers; ++i) {
      hosts.push_back(&w.add_host("s" + std::to_string(i + 1)));
      hosts.back()->start([this, what, ranges](host& h) { return serve(h, what, ranges); });
    }
  }
  ~scenario() {
    for (auto* h : hosts)
      if (h->running()) h->crash();
  }
  task<void> serve(host& h, work what, api::service_ranges ranges) {
    auto opened = co_await store::open_store(
        {.log = datastore::make_memory_log(db), .loops = {&h.loop()}, .indexes = api::builtin_indexes()});
    REQUIRE(opened.has_value());
    tests::no_admission rules;
    auto objects = api::make_objects(**opened, rules, ranges);
    co_await what(h, *objects);
    reactor::event never;
    co_await never.wait();
  }
  // The newest values under a prefix, from the database itself.
  std::map<std::string, json::value> stored(std::string_view prefix) const {
    std::map<std::string, json::value> out;
    for (auto& [at, e] : db.rows()) {
      if (!std::string_view(e.name).starts_with(prefix)) continue;
      out.erase(e.name);
      if (e.kind == datastore::change::remove) continue;
      auto v = json::parse(e.value);
      REQUIRE(v.has_value());
      out.emplace(e.name, *std::move(v));
    }
    return out;
  }
};

json::value node(const std::string& name) {
  return json::object{{"kind", "Node"}, {"apiVersion", "v1"}, {"metadata", json::object{{"name", name}}}};
}

json::value service(const std::string& name, int node_port = 0, std::string address = {}) {
  json::value port = json::object{{"port", 80}};
  if (node_port) port.set("nodePort", node_port);
  json::value spec = json::object{{"type", "NodePort"}, {"ports", json::array{std::move(port)}}};
  if (!address.empty()) spec.set("clusterIP", address);
  return json::object{
      {"kind", "Service"}, {"apiVersion", "v1"}, {"metadata", json::object{{"name", name}}}, {"spec", std::move(spec)}};
}

}  // namespace

TEST_CASE("two leaders at once give no block of addresses to two nodes") {
  for (auto seed : seeds(40)) {
    CAPTURE(seed);
    constexpr int count = 24;
    scenario s(seed, 2, [&s](host& h, api::objects& objects) -> task<void> {
      auto run_node_ipam = [&objects]() -> task<void> {
        // 32 blocks
        control::settings only{.cluster_cidrs = {"10.42.0.0/19"}, .controllers = {"nodeipam"}};
        co_await control::run_controllers(only, objects.objects_store(),
                                          [&objects](api::user_info user, std::string manager) {
                                            static tests::no_admission rules;
                                            static api::service_ranges ranges;
                                            return api::make_objects(objects.objects_store(), rules, ranges, nullptr,
                                                                     std::move(user), std::move(manager));
                                          });
      };
      reactor::scope parts;
      if (h.name() == "s2") {
        // It takes over in the midst of it, and finds in the order of their names what the other does in the order of
        // their creation.
        co_await reactor::sleep_for(s.w.between(10ms, 60ms));
        co_return co_await run_node_ipam();
      }
      parts.spawn(run_node_ipam());
      for (int i = count; i > 0; --i)
        parts.spawn([](scenario& all, api::objects& o, std::string name) -> task<void> {
          CHECK((co_await o.create(nodes, "", node(name))).has_value());
          // Some go at once, and come back: another node of the same name.
          if (!all.w.chance(0.3)) co_return;
          co_await reactor::sleep_for(all.w.between(0ms, 30ms));
          CHECK((co_await o.remove(nodes, "", name)).has_value());
          CHECK((co_await o.create(nodes, "", node(name))).has_value());
        }(s, objects, fmt::format("n{:02}", i)));
      co_await parts.join();
    });
    std::set<std::string> twice;
    bool done = s.w.run_until(
        [&] {
          std::set<std::string> blocks;
          std::size_t having = 0;
          for (auto& [key, n] : s.stored("/registry/minions/")) {
            auto block = std::string(n["spec"]["podCIDR"].as_string());
            if (block.empty()) continue;
            ++having;
            if (!blocks.insert(block).second) twice.insert(block);
          }
          return having == count;
        },
        60s);
    CHECK(done);
    CHECK(twice.empty());
  }
}

TEST_CASE("two servers give no node port and no cluster IP twice") {
  for (auto seed : seeds(20)) {
    CAPTURE(seed);
    constexpr int count = 10;  // on each server; as many ports as services
    std::map<std::string, int> accepted;
    int finished = 0;
    scenario s(seed, 2,
               [&](host& h, api::objects& objects) -> task<void> {
                 // The same port, and the same address, asked for by both.
                 for (int i = 0; i < 5; ++i) {
                   auto port = co_await objects.create(services, "default",
                                                       service(fmt::format("port-{}-{}", h.name(), i), 30000 + i));
                   if (port)
                     ++accepted[fmt::format("port {}", i)];
                   else
                     CHECK(port.error().message.find("provided port is already allocated") != std::string::npos);
                   auto address = co_await objects.create(
                       services, "default",
                       service(fmt::format("address-{}-{}", h.name(), i), 0, fmt::format("10.43.0.{}", 20 + i)));
                   if (address)
                     ++accepted[fmt::format("address {}", i)];
                   else
                     CHECK(address.error().message.find("provided IP is already allocated") != std::string::npos);
                 }
                 for (int i = 0; i < count / 2; ++i) {
                   auto any =
                       co_await objects.create(services, "default", service(fmt::format("any-{}-{}", h.name(), i)));
                   CHECK_MESSAGE(any.has_value(), (any ? std::string() : any.error().message));
                 }
                 ++finished;
               },
               {.first_port = 30000, .last_port = 30019});
    REQUIRE(s.w.run_until([&] { return finished == 2; }, 60s));
    CHECK(accepted.size() == 10);
    for (auto& [what, times] : accepted) CHECK_MESSAGE(times == 1, what);
    std::set<std::int64_t> ports;
    std::set<std::string> addresses;
    auto all = s.stored("/registry/services/specs/");
    for (auto& [key, v] : all) {
      CHECK(ports.insert(v["spec"]["ports"][0]["nodePort"].as_integer()).second);
      CHECK(addresses.insert(std::string(v["spec"]["clusterIP"].as_string())).second);
    }
    CHECK(all.size() == 20);
    CHECK(s.stored(api::reservations_prefix("nodeports")).size() == 20);
  }
}

TEST_CASE("node ports go back with their service, and when it changes") {
  bool finished = false;
  scenario s(1, 1,
             [&](host&, api::objects& objects) -> task<void> {
               auto made = co_await objects.create(services, "default", service("a", 30001));
               CHECK(made.has_value());
               CHECK(!(co_await objects.create(services, "default", service("b", 30001))).has_value());
               auto moved = co_await objects.modify(services, "default", "a", [](json::value& v) {
                 (*v.member("spec").find("ports")->array())[0].set("nodePort", 30002);
                 return true;
               });
               CHECK(moved.has_value());
               CHECK((co_await objects.create(services, "default", service("b", 30001))).has_value());
               CHECK(!(co_await objects.create(services, "default", service("c", 30002))).has_value());
               CHECK((co_await objects.remove(services, "default", "a")).has_value());
               CHECK((co_await objects.create(services, "default", service("c", 30002))).has_value());
               auto full = co_await objects.create(services, "default", service("d"));
               CHECK(full.has_value());
               full = co_await objects.create(services, "default", service("e"));
               REQUIRE(!full.has_value());
               CHECK(full.error().message.find("range is full") != std::string::npos);
               auto plain = co_await objects.modify(services, "default", "b", [](json::value& v) {
                 v.member("spec").set("type", "ClusterIP");
                 (*v.member("spec").find("ports")->array())[0].erase("nodePort");
                 return true;
               });
               CHECK(plain.has_value());
               CHECK((co_await objects.create(services, "default", service("e"))).has_value());
               finished = true;
             },
             {.first_port = 30001, .last_port = 30003});
  REQUIRE(s.w.run_until([&] { return finished; }, 60s));
  CHECK(s.stored(api::reservations_prefix("nodeports")).size() == 3);
  // "e", which was refused once, holds one address.
  CHECK(s.stored("/registry/ipaddresses/").size() == 4);
}

TEST_CASE("what a server took for a service that it never wrote comes back") {
  bool ready = false;
  scenario s(1, 1, [&](host&, api::objects& objects) -> task<void> {
    auto& store = objects.objects_store();
    auto made = co_await objects.create(services, "default", service("lives", 30001));
    REQUIRE(made.has_value());
    auto dead = service("dead");
    dead.member("metadata").set("namespace", "default");
    dead.member("metadata").set("uid", "7b0a");
    CHECK((co_await api::reserve(store, "nodeports", "30002", dead)).value_or(false));
    // Also of a service that has another port by now.
    CHECK((co_await api::reserve(store, "nodeports", "30003", *made)).value_or(false));
    auto address =
        store.current().find("/registry/ipaddresses/" + std::string((*made)["spec"]["clusterIP"].as_string()));
    REQUIRE(address);
    auto left = json::parse(address->bytes());
    REQUIRE(left.has_value());
    left->member("metadata").set("name", "10.43.9.9");
    left->member("metadata").erase("resourceVersion");
    CHECK((co_await objects.create({"networking.k8s.io", "v1", "ipaddresses"}, "", *left)).has_value());
    ready = true;
    control::context c{.objects = objects};
    co_await control::run_service_allocations(c);
  });
  REQUIRE(s.w.run_until([&] { return ready; }, 10s));
  auto ports = [&] { return s.stored(api::reservations_prefix("nodeports")).size(); };
  auto addresses = [&] { return s.stored("/registry/ipaddresses/").size(); };
  // Not while it might still be written.
  s.w.run_for(9min);
  CHECK(ports() == 3);
  CHECK(addresses() == 2);
  s.w.run_for(10min);
  CHECK(ports() == 1);
  CHECK(addresses() == 1);
}
