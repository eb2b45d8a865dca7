#include "supervisor/server_names.h"

#include <doctest/doctest.h>

#include "harness.h"
#include "json/parse.h"
#include "supervisor/node_passwords.h"

using namespace kedge;
using namespace kedge::supervisor;

namespace {

struct joining_world : api::api_world {
  config settings;
  node_passwords passwords{*client};
  joining_world() {
    settings.node_name = "server-1";
    settings.advertise_address = "10.0.0.1";
    settings.service_cidrs = {"10.43.0.0/16"};
    settings.tls_sans = {"kube.example.org", "10.0.0.100", "server-1", "server-2"};
  }
  void put(const api::resource_id& r, std::string ns, std::string_view text) {
    auto made = loop.run_until(client->create(r, std::move(ns), *json::parse(text)));
    REQUIRE_MESSAGE(made.has_value(), (made ? std::string() : made.error().message));
  }
  int check(std::string node, std::string password, bool by_certificate = false) {
    auto ok = loop.run_until(passwords.check(std::move(node), std::move(password), by_certificate));
    return ok ? 200 : ok.error().code;
  }
  void renew(std::string_view node, wall_time when) {
    put({"coordination.k8s.io", "v1", "leases"}, "kube-node-lease",
        fmt::format(
            R"({{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{{"name":"{}"}},"spec":{{"leaseDurationSeconds":40,"renewTime":"{}"}}}})",
            node, format_rfc3339_micro(when)));
  }
};

}  // namespace

TEST_CASE("no node is called as the servers are") {
  joining_world w;
  w.put(
      {"", "v1", "nodes"}, "",
      R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"server-2","labels":{"node-role.kubernetes.io/control-plane":"true"}}})");
  w.put({"", "v1", "nodes"}, "", R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"edge"}})");
  for (auto name : {"kubernetes", "kubernetes.default", "kubernetes.default.svc",
                    "kubernetes.default.svc.cluster.local", "localhost", "kube.example.org", "KUBE.example.org"})
    CHECK_MESSAGE(is_server_name(w.settings, *w.client, name), name);
  for (auto name : {"edge", "server-1", "server-2", "kubernetes-1", "kube.example.org.edge"})
    CHECK_MESSAGE(!is_server_name(w.settings, *w.client, name), name);
}

TEST_CASE("no node's certificate names a server's address, unless it asks from there") {
  joining_world w;
  w.put(
      {"discovery.k8s.io", "v1", "endpointslices"}, "default",
      R"({"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"kubernetes","labels":{"kubernetes.io/service-name":"kubernetes"}},"addressType":"IPv4",
            "endpoints":[{"addresses":["10.0.0.1"]},{"addresses":["10.0.0.2"]}],"ports":[{"port":6443}]})");
  using list = std::vector<std::string>;
  auto from = [&](std::string_view peer, const list& asked) {
    return certified_addresses(w.settings, *w.client, asked, peer);
  };
  CHECK(from("10.0.0.9", {"10.0.0.9", "192.168.1.1"}) == list{"10.0.0.9", "192.168.1.1"});
  for (auto theirs : {"10.0.0.1", "10.0.0.2", "10.43.0.1", "10.0.0.100", "::ffff:10.0.0.1"})
    CHECK_MESSAGE(from("10.0.0.9", {theirs, "10.0.0.9"}) == list{"10.0.0.9"}, theirs);
  CHECK(from("127.0.0.1", {"10.0.0.1"}) == list{"10.0.0.1"});  // a server's own node
  CHECK(from("10.0.0.2", {"10.0.0.2"}) == list{"10.0.0.2"});
  CHECK(from("10.0.0.2", {"10.0.0.1"}).empty());
}

TEST_CASE("a name whose password was lost isn't a stranger's while its node lives") {
  joining_world w;
  CHECK(w.check("new", "p1") == 200);
  CHECK(w.check("new", "p1") == 200);
  CHECK(w.check("new", "p2") == 403);
  for (auto name : {"alive", "dead", "silent"})
    w.put({"", "v1", "nodes"}, "",
          fmt::format(R"({{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{}"}}}})", name));
  w.renew("alive", w.loop.wall_now() - std::chrono::seconds(10));
  w.renew("dead", w.loop.wall_now() - std::chrono::seconds(41));
  CHECK(w.check("alive", "p") == 403);
  CHECK(w.check("alive", "p", true) == 200);  // its own certificate
  CHECK(w.check("alive", "p") == 200);        // and now the password is known again
  CHECK(w.check("dead", "p") == 200);
  CHECK(w.check("silent", "p") == 200);
}

TEST_CASE("a Node that is made again keeps the password that was recorded for the one before") {
  joining_world w;
  const api::resource_id nodes{"", "v1", "nodes"}, secrets{"", "v1", "secrets"};
  auto make = [&] { w.put(nodes, "", R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"back"}})"); };
  auto owner = [&] {
    auto secret = w.client->get(secrets, "kube-system", "back.node-password.k3s");
    REQUIRE(secret);
    return std::string((*secret)["metadata"]["ownerReferences"][0]["uid"].as_string());
  };
  auto uid = [&] { return std::string((*w.client->get(nodes, "", "back"))["metadata"]["uid"].as_string()); };
  make();
  CHECK(w.check("back", "p") == 200);
  CHECK(w.check("back", "p") == 200);
  CHECK(owner() == uid());
  REQUIRE(w.loop.run_until(w.client->remove(nodes, "", "back", {})));
  make();
  CHECK(owner() != uid());  // so it would be taken away
  CHECK(w.check("back", "other", true) == 403);
  CHECK(owner() != uid());
  CHECK(w.check("back", "p") == 200);
  CHECK(owner() == uid());
}

TEST_CASE("a Node that is deleted before its password was given to it frees its name all the same") {
  joining_world w;
  const api::resource_id nodes{"", "v1", "nodes"};
  reactor::scope running;
  w.loop.run_until([](joining_world& of, reactor::scope& into) -> task<void> {
    into.spawn(of.passwords.keep());
    co_await reactor::sleep_for(std::chrono::milliseconds(10));  // it has looked at what is there
  }(w, running));
  CHECK(w.check("short", "p1") == 200);
  w.put(nodes, "", R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"short"}})");
  REQUIRE(w.loop.run_until(w.client->remove(nodes, "", "short", {})));
  CHECK(w.check("short", "p2") == 403);
  for (auto end = w.loop.now() + std::chrono::seconds(30); w.loop.now() < end && w.check("short", "p2") != 200;)
    w.loop.run_until([]() -> task<void> { co_await reactor::sleep_for(std::chrono::milliseconds(100)); }());
  CHECK(w.check("short", "p2") == 200);
  running.cancel();
}
