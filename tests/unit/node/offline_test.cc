// What a node keeps for a time without servers.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "crypto/files.h"
#include "json/parse.h"
#include "loop.h"
#include "node/pods/offline.h"
#include "support/temporary_folder.h"

using namespace kedge;
using namespace kedge::node;
using namespace std::chrono_literals;
using json::value;

namespace {

task<void> eventually(std::function<bool()> what) {
  for (int i = 0; i < 5000 && !what(); ++i) co_await reactor::sleep_for(1ms);
  CHECK(what());
}

std::vector<std::string> contents(const std::string& folder) {
  std::vector<std::string> out;
  std::error_code none;
  for (auto& entry : std::filesystem::directory_iterator(folder, none))
    if (entry.path().extension() != ".tmp") out.push_back(crypto::read_file(entry.path()).value_or(std::string()));
  return out;
}

value object_named(std::string_view text) { return json::parse(text).value(); }

// The API, which may be away, or refuse.
class played_cluster final : public pod_cluster {
 public:
  std::optional<errc> fails;
  std::optional<value> answer = object_named(R"({"metadata":{"name":"web"},"data":{"a":"1"}})");

  task<result<std::optional<value>>> config_map(std::string, std::string, time_point) override { return give(answer); }
  task<result<std::optional<value>>> secret(std::string, std::string, time_point) override { return give(answer); }
  task<result<std::optional<value>>> object(std::string) override { return give(answer); }
  task<result<std::vector<value>>> services(std::string, time_point) override {
    return give(std::vector<value>{*answer});
  }
  task<result<value>> token(std::string, std::string, value spec) override { return give(std::move(spec)); }
  task<result<value>> request_certificate(std::string, value request) override { return give(std::move(request)); }
  task<result<std::optional<value>>> certificate_request(std::string, std::string) override { return give(answer); }
  task<result<value>> patch_status(const value& pod, value) override { return give(pod); }
  task<result<value>> patch_claim_status(const value& claim, value) override { return give(claim); }
  task<result<void>> remove(const value&) override { co_return result<void>(); }
  task<result<value>> create(value pod) override { return give(std::move(pod)); }
  void tell(const value&, std::string, bool, std::string, std::string) override {}

 private:
  template <typename T>
  task<result<T>> give(T what) {
    if (fails) co_return fail(*fails, "no");
    co_return std::move(what);
  }
};

}  // namespace

TEST_CASE("what is kept lies sealed on the disk, for who has the node's password") {
  test_loop t;
  temporary_folder folder;
  auto at = folder.path() + "/offline";
  t.run([](std::string place) -> task<void> {
    const std::string path = "/api/v1/namespaces/default/secrets/key";
    auto secret = object_named(R"({"data":{"key":"aHVzaA=="}})");
    {
      offline_store store(place, "pw");
      co_await store.open();
      CHECK_FALSE((co_await store.find(path)).has_value());
      store.keep(path, secret);
      store.keep("/other", object_named("{}"));
      CHECK(co_await store.find(path) == secret);  // at once
      co_await eventually([&] { return contents(place).size() == 2; });
      for (auto& text : contents(place)) {
        CHECK_FALSE(text.contains("aHVzaA"));
        CHECK_FALSE(text.contains("secrets"));
      }
    }
    {
      offline_store store(place, "pw");
      co_await store.open();
      CHECK(co_await store.find(path) == secret);
      // The same again is no write.
      auto before = contents(place);
      store.keep(path, secret);
      store.forget("/other");
      co_await eventually([&] { return contents(place).size() == 1; });
      CHECK(std::ranges::find(before, contents(place)[0]) != before.end());
      CHECK(store.paths() == std::vector<std::string>{path});
      // What is half there isn't.
      for (auto& entry : std::filesystem::directory_iterator(place)) std::filesystem::resize_file(entry.path(), 20);
      CHECK_FALSE((co_await store.find(path)).has_value());
      store.keep(path, object_named(R"({"data":{}})"));
      co_await eventually([&] { return contents(place)[0].size() > 20; });
    }
    offline_store another(place, "another");
    co_await another.open();
    CHECK(another.paths().empty());
    CHECK(contents(place).empty());
  }(at));
}

TEST_CASE("pods are given what was kept while no server answers, and what it says when one does") {
  test_loop t;
  temporary_folder folder;
  t.run([](std::string place) -> task<void> {
    offline_store store(place, "pw");
    co_await store.open();
    played_cluster api;
    offline_cluster cluster(api, store);
    auto spec = object_named(R"({"audiences":["api"],"boundObjectRef":{"name":"web","uid":"u1"}})");
    auto config = co_await cluster.config_map("default", "web", {});
    auto services = co_await cluster.services("default", {});
    auto token = co_await cluster.token("default", "own", spec);
    auto object = co_await cluster.object("/apis/node.k8s.io/v1/runtimeclasses/crun");
    for (auto away : {errc::closed, errc::refused, errc::timeout, errc::unavailable, errc::protocol}) {
      CAPTURE(name_of(away));
      api.fails = away;
      CHECK(**co_await cluster.config_map("default", "web", {}) == **config);
      CHECK(*co_await cluster.services("default", {}) == *services);
      CHECK(*co_await cluster.token("default", "own", spec) == *token);
      CHECK(**co_await cluster.object("/apis/node.k8s.io/v1/runtimeclasses/crun") == **object);
      // Another's name, another's token.
      CHECK_FALSE((co_await cluster.config_map("default", "another", {})).has_value());
      CHECK_FALSE((co_await cluster.secret("default", "web", {})).has_value());
      CHECK_FALSE((co_await cluster.token("default", "own", object_named(R"({"audiences":["vault"]})"))).has_value());
    }
    api.fails = errc::forbidden;
    CHECK((co_await cluster.config_map("default", "web", {})).error().code == errc::forbidden);
    api.fails = std::nullopt;
    api.answer = std::nullopt;
    CHECK_FALSE((co_await cluster.config_map("default", "web", {}))->has_value());
    api.fails = errc::closed;  // what was deleted stays so
    CHECK_FALSE((co_await cluster.config_map("default", "web", {})).has_value());
  }(folder.path() + "/offline"));
}

TEST_CASE("a pod is kept as long as it is to run, and what it names as long as one names it") {
  test_loop t;
  temporary_folder folder;
  t.run([](std::string place) -> task<void> {
    offline_store store(place, "pw");
    co_await store.open();
    auto pod = [](std::string name, std::string config, std::string phase = "Running") {
      return value(json::object{
          {"metadata",
           json::object{{"name", name}, {"namespace", "default"}, {"uid", "uid-" + name}, {"resourceVersion", "7"}}},
          {"spec", json::object{{"volumes", json::array{json::object{{"name", "c"},
                                                                     {"configMap", json::object{{"name", config}}}}}}}},
          {"status", json::object{{"phase", phase},
                                  {"startTime", "2026-11-30T00:00:00Z"},
                                  {"podIP", "10.42.0.7"},
                                  {"conditions", json::array{json::object{{"type", "Ready"}}}}}}});
    };
    offline_pods pods(store);
    store.keep("/api/v1/nodes/here", object_named("{}"));
    for (auto* name : {"shared", "own"})
      store.keep("/api/v1/namespaces/default/configmaps/" + std::string(name), object_named("{}"));
    store.keep("/api/v1/namespaces/gone/secrets/left", object_named("{}"));
    store.keep("/api/v1/namespaces/default/pods/b/token/x", object_named("{}"));
    pods.listed({pod("a", "shared"), pod("b", "own"), pod("c", "shared"), pod("done", "own", "Succeeded")});
    auto kept = co_await pods.pods();
    CHECK(kept.size() == 3);
    for (auto& one : kept) {
      CHECK(one["status"] == object_named(R"({"phase":"Running","startTime":"2026-11-30T00:00:00Z"})"));
      CHECK(one["metadata"]["resourceVersion"].is_null());
    }
    auto has = [&](std::string_view path) {
      auto all = store.paths();
      return std::ranges::find(all, path) != all.end();
    };
    CHECK_FALSE(has("/api/v1/namespaces/gone/secrets/left"));
    CHECK(has("/api/v1/namespaces/default/configmaps/own"));
    pods.changed(pod("b", "own", "Failed"));
    CHECK_FALSE(has("/api/v1/namespaces/default/configmaps/own"));
    CHECK_FALSE(has("/api/v1/namespaces/default/pods/b/token/x"));
    pods.removed(pod("a", "shared"));
    CHECK(has("/api/v1/namespaces/default/configmaps/shared"));
    pods.removed(pod("c", "shared"));
    CHECK(store.paths() == std::vector<std::string>{"/api/v1/nodes/here"});
  }(folder.path() + "/offline"));
}
