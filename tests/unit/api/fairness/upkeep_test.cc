#include <doctest/doctest.h>
#include <fmt/format.h>

#include "api/bootstrap.h"
#include "api/fairness/upkeep.h"
#include "api/local_objects.h"
#include "datastore/memory/memory_log.h"
#include "json/parse.h"
#include "reactor/loop.h"
#include "store/open.h"
#include "support/no_admission.h"

namespace kedge::api::fairness {
namespace {

const resource_id schemas{"flowcontrol.apiserver.k8s.io", "v1", "flowschemas"};
const resource_id levels{"flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations"};
constexpr std::string_view annotation = "apf.kubernetes.io/autoupdate-spec";

json::value parse(std::string_view text) {
  auto v = json::parse(text);
  REQUIRE_MESSAGE(v.has_value(), text);
  return *std::move(v);
}

// An object whose spec is `n`; `says` is the annotation, if any.
json::value object(int n, int generation, std::string_view says = {}) {
  auto o = parse(fmt::format(R"({{"metadata":{{"name":"x","generation":{}}},"spec":{{"n":{}}}}})", generation, n));
  if (!says.empty()) o.member("metadata").member("annotations").set(annotation, std::string(says));
  return o;
}

void with_objects(std::function<task<void>(objects&)> f) {
  datastore::memory_database db;
  reactor::loop l{*reactor::make_backend(reactor::io_backend::epoll)};
  l.run_until([](datastore::memory_database& data, std::function<task<void>(objects&)> body) -> task<void> {
    auto opened =
        co_await store::open_store({.log = datastore::make_memory_log(data), .loops = {&reactor::loop::current()}});
    REQUIRE(opened.has_value());
    tests::no_admission rules;
    service_ranges ranges;
    auto client = make_objects(**opened, rules, ranges);
    co_await body(*client);
  }(db, std::move(f)));
}

}  // namespace

TEST_CASE(
    "a mandatory object has the server's spec, a suggested one while its annotation says so or nobody has changed it") {
  auto wanted = object(1, 0);
  struct {
    json::value now;
    bool mandatory;
    int n;                  // the spec afterwards
    std::string_view says;  // the annotation afterwards
    bool changes;
  } cases[] = {
      {object(1, 1, "true"), true, 1, "true", false},
      {object(1, 1), true, 1, "true", true},
      {object(2, 5, "false"), true, 1, "true", true},
      {object(1, 1, "true"), false, 1, "true", false},
      {object(2, 3, "true"), false, 1, "true", true},
      {object(2, 3, "false"), false, 2, "false", false},
      {object(2, 1), false, 1, "true", true},   // never changed: an older server's
      {object(2, 2), false, 2, "false", true},  // somebody's
      {object(2, 2, "yes please"), false, 2, "false", true},
      {object(1, 2, "T"), false, 1, "T", false},
  };
  for (auto& c : cases) {
    CAPTURE(c.n);
    CAPTURE(c.says);
    auto next = revised(wanted, c.now, c.mandatory);
    CHECK(next.has_value() == c.changes);
    auto& after = next ? *next : c.now;
    CHECK(after["spec"]["n"].as_integer() == c.n);
    CHECK(after["metadata"]["annotations"][annotation].as_string() == c.says);
    CHECK(!revised(wanted, after, c.mandatory));
  }
}

TEST_CASE("what a server brings is made, kept, and goes when no server brings it any more") {
  with_objects([](objects& client) -> task<void> {
    auto first = co_await bring_up_to_date(client);
    REQUIRE(first.has_value());
    const auto made = client.list(schemas).size() + client.list(levels).size();
    CHECK(made == 11 + 8);
    const auto before = client.get(schemas, "", "catch-all");
    REQUIRE(before.has_value());
    CHECK((*before)["metadata"]["annotations"][annotation].as_string() == "true");

    (void)co_await client.remove(schemas, "", "probes", {});
    (void)co_await client.modify(schemas, "", "catch-all", [](json::value& o) {
      o.member("spec").set("matchingPrecedence", 77);
      return true;
    });
    (void)co_await client.modify(schemas, "", "global-default", [](json::value& o) {
      o.member("metadata").member("annotations").set(annotation, "false");
      o.member("spec").set("matchingPrecedence", 78);
      return true;
    });
    // A level's own shares are the user's; what it is isn't.
    (void)co_await client.modify(levels, "", "exempt", [](json::value& o) {
      o.member("spec").member("exempt").set("nominalConcurrencyShares", 5);
      return true;
    });
    for (auto [name, says] : {std::pair("of-an-older-server", "true"), std::pair("of-a-user", "false")}) {
      auto o = *before;
      json::object metadata{{"name", name}, {"annotations", json::object{{std::string(annotation), says}}}};
      o.set("metadata", std::move(metadata));
      auto done = co_await client.create(schemas, "", o);
      REQUIRE(done.has_value());
    }
    auto second = co_await bring_up_to_date(client);
    REQUIRE(second.has_value());
    CHECK(client.get(schemas, "", "probes").has_value());
    CHECK((*client.get(schemas, "", "catch-all"))["spec"] == (*before)["spec"]);
    CHECK((*client.get(schemas, "", "global-default"))["spec"]["matchingPrecedence"].as_integer() == 78);
    CHECK((*client.get(levels, "", "exempt"))["spec"]["exempt"]["nominalConcurrencyShares"].as_integer() == 5);
    CHECK(!client.get(schemas, "", "of-an-older-server").has_value());
    CHECK(client.get(schemas, "", "of-a-user").has_value());
  });
}

}  // namespace kedge::api::fairness
