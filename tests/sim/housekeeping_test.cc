// What kube-apiserver keeps true by itself, on several servers at once and with no controllers anywhere: each of them
// does all of it.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "api/bootstrap.h"
#include "api/custom/tables.h"
#include "api/local_objects.h"
#include "api/registry/indexes.h"
#include "control/housekeeping.h"
#include "datastore/memory/memory_log.h"
#include "json/parse.h"
#include "store/open.h"
#include "support/no_admission.h"
#include "world.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

const api::resource_id definitions{"apiextensions.k8s.io", "v1", "customresourcedefinitions"};
const api::resource_id things{"example.org", "v1", "things"};

json::value definition(std::string_view plural = "things") {
  return *json::parse(fmt::format(
      R"({{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{{"name":"{0}.example.org"}},"spec":{{"group":"example.org",
    "scope":"Namespaced","names":{{"plural":"{0}","singular":"{0}x","kind":"K{0}","listKind":"K{0}List","shortNames":["th"]}},"versions":[
    {{"name":"v1","served":true,"storage":true,"schema":{{"openAPIV3Schema":{{"type":"object"}}}}}},
    {{"name":"v1beta1","served":true,"storage":false,"schema":{{"openAPIV3Schema":{{"type":"object"}}}}}},
    {{"name":"v1alpha1","served":false,"storage":false,"schema":{{"openAPIV3Schema":{{"type":"object"}}}}}}]}}}})",
      plural));
}

struct scenario {
  datastore::memory_database db{datastore::memory_database::durability::each_commit, true};
  world w;
  std::function<task<void>(host&, api::objects&)> user;  // what somebody does at the first server
  bool done = false;
  std::vector<host*> hosts;

  scenario(std::uint64_t seed, int servers, std::function<task<void>(host&, api::objects&)> u)
      : w(seed), user(std::move(u)) {
    for (int i = 1; i <= servers; ++i) {
      hosts.push_back(&w.add_host(fmt::format("s{}", i)));
      hosts.back()->start([this, i](host& h) { return serve(h, i == 1); });
    }
  }
  task<void> serve(host& h, bool first) {
    auto opened = co_await store::open_store(
        {.log = datastore::make_memory_log(db), .loops = {&h.loop()}, .indexes = api::builtin_indexes()});
    REQUIRE(opened.has_value());
    tests::no_admission rules;
    api::service_ranges ranges;
    api::custom::tables tables(**opened);
    tables.follow();
    auto objects = api::make_objects(**opened, rules, ranges, &tables);
    api::bootstrap_options options{.client_ca = "ca", .request_header_ca = "ca"};
    auto made = co_await api::bootstrap_cluster(*objects, options);
    REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
    control::context c{.objects = *objects};
    reactor::scope parts;
    parts.spawn(control::run_housekeeping(c, [&] { return api::ensure_system_objects(*objects, options); }));
    if (first)
      parts.spawn([](scenario& s, host& at, api::objects& o) -> task<void> {
        co_await s.user(at, o);
        s.done = true;
      }(*this, h, *objects));
    co_await parts.join();
  }
  // The newest value of the database itself; null for none.
  json::value stored(std::string_view key) const {
    json::value out;
    for (auto& [at, e] : db.rows())
      if (e.name == key) out = e.kind == datastore::change::remove ? json::value() : *json::parse(e.value);
    return out;
  }
  bool holds(const std::function<bool()>& what, duration limit) { return w.run_until(what, limit); }
};

bool condition(const json::value& o, std::string_view type, std::string_view state) {
  auto& all = o["status"]["conditions"];
  for (std::size_t i = 0; i < all.size(); ++i)
    if (all[i]["type"].as_string() == type && all[i]["status"].as_string() == state) return true;
  return false;
}

}  // namespace

TEST_CASE(
    "definitions are established and have API services, and go with their objects, whoever runs the controllers") {
  for (auto seed : seeds(12)) {
    for (int servers : {1, 3}) {
      CAPTURE(seed);
      CAPTURE(servers);
      reactor::event* turn = nullptr;
      scenario s(seed, servers, [&](host&, api::objects& o) -> task<void> {
        CHECK((co_await o.create(definitions, "", definition())).has_value());
        while (!(co_await o.create(
                     things, "default",
                     *json::parse(R"({"apiVersion":"example.org/v1","kind":"Kthings","metadata":{"name":"a"}})")))
                    .has_value())
          co_await reactor::sleep_for(100ms);
        reactor::event next;
        turn = &next;
        co_await next.wait();
        turn = nullptr;
        CHECK((co_await o.remove(definitions, "", "things.example.org")).has_value());
        co_await reactor::sleep_for(1h);
      });
      const std::string crd = "/registry/apiextensions.k8s.io/customresourcedefinitions/things.example.org",
                        services = "/registry/apiregistration.k8s.io/apiservices/";
      auto is_there = [&](std::string_view version) {
        auto a = s.stored(services + std::string(version) + ".example.org");
        return a["spec"]["group"].as_string() == "example.org" &&
               a["spec"]["groupPriorityMinimum"].as_integer() == 1000 && condition(a, "Available", "True");
      };
      CHECK(s.holds(
          [&] {
            return condition(s.stored(crd), "Established", "True") && is_there("v1") && is_there("v1beta1") && turn;
          },
          60s));
      s.w.run_for(5s);
      CHECK(s.stored(services + "v1alpha1.example.org").is_null());
      CHECK(is_there("v1"));
      {
        reactor::loop::current_guard at_user(s.hosts[0]->loop());
        turn->set();
      }
      CHECK(s.holds(
          [&] {
            return s.stored(crd).is_null() && s.stored("/registry/example.org/things/default/a").is_null() &&
                   s.stored(services + "v1.example.org").is_null() &&
                   s.stored(services + "v1beta1.example.org").is_null();
          },
          60s));
    }
  }
}

TEST_CASE("what the system needs is made again when it is deleted") {
  const std::pair<api::resource_id, std::pair<std::string, std::string>> objects[] = {
      {{"", "v1", "services"}, {"default", "kubernetes"}},
      {{"", "v1", "configmaps"}, {"kube-system", "extension-apiserver-authentication"}},
      {{"networking.k8s.io", "v1", "servicecidrs"}, {"", "kubernetes"}},
      {{"flowcontrol.apiserver.k8s.io", "v1", "flowschemas"}, {"", "exempt"}},
      {{"flowcontrol.apiserver.k8s.io", "v1", "flowschemas"}, {"", "probes"}},
      {{"flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations"}, {"", "catch-all"}},
  };
  for (int servers : {1, 2}) {
    scenario s(7, servers, [&](host&, api::objects& o) -> task<void> {
      std::vector<std::string> before;
      for (auto& [resource, name] : objects) {
        auto found = o.get(resource, name.first, name.second);
        REQUIRE_MESSAGE(found.has_value(), name.second);
        before.emplace_back((*found)["metadata"]["uid"].as_string());
        auto removed = co_await o.remove(resource, name.first, name.second);
        CHECK_MESSAGE(removed.has_value(), name.second);
      }
      co_await reactor::sleep_for(10s);
      std::size_t i = 0;
      for (auto& [resource, name] : objects) {
        auto again = o.get(resource, name.first, name.second);
        REQUIRE_MESSAGE(again.has_value(), name.second);
        CHECK_MESSAGE((*again)["metadata"]["uid"].as_string() != before[i++], name.second);
      }
    });
    CHECK(s.holds([&] { return s.done; }, 60s));
  }
}
