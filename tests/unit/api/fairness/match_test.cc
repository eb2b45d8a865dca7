#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "api/fairness/match.h"
#include "json/parse.h"
#include "schema/bootstrap.h"

namespace kedge::api::fairness {
namespace {

std::vector<json::value> bootstrap(std::string_view category) {
  auto list = json::parse(schema::bootstrap_json(category));
  REQUIRE(list.has_value());
  return *list->array();
}

configuration fresh_cluster() {
  return configuration::make(bootstrap("prioritylevelconfigurations"), bootstrap("flowschemas"));
}

json::value parse(std::string_view text) {
  auto v = json::parse(text);
  REQUIRE_MESSAGE(v.has_value(), text);
  return *std::move(v);
}

user_ref user(std::string name, std::vector<std::string> groups) {
  return user_info{std::move(name), "", std::move(groups), {}};
}

attributes resource(user_ref who, std::string verb, std::string group, std::string name, std::string ns = "",
                    std::string sub = "") {
  attributes a;
  a.user = std::move(who);
  a.verb = std::move(verb);
  a.is_resource = true;
  a.api_group = std::move(group);
  a.api_version = "v1";
  a.resource = std::move(name);
  a.subresource = std::move(sub);
  a.ns = std::move(ns);
  return a;
}
attributes path(user_ref who, std::string verb, std::string p) {
  attributes a;
  a.user = std::move(who);
  a.verb = std::move(verb);
  a.path = std::move(p);
  return a;
}

}  // namespace

TEST_CASE("a fresh cluster's schemas take the requests that kube-apiserver's do") {
  auto c = fresh_cluster();
  auto admin = user("admin", {"system:masters", "system:authenticated"});
  auto node = user("system:node:n1", {"system:nodes", "system:authenticated"});
  auto scheduler = user("system:kube-scheduler", {"system:authenticated"});
  auto manager = user("system:kube-controller-manager", {"system:authenticated"});
  auto system_account =
      user("system:serviceaccount:kube-system:coredns", {"system:serviceaccounts", "system:authenticated"});
  auto account = user("system:serviceaccount:default:app", {"system:serviceaccounts", "system:authenticated"});
  auto alice = user("alice", {"system:authenticated"});
  auto stranger = user("system:anonymous", {"system:unauthenticated"});
  const std::string leases = "coordination.k8s.io";
  struct {
    attributes what;
    std::string_view schema, level;
    std::string_view flow;
  } table[] = {
      {resource(admin, "list", "", "pods"), "exempt", "exempt", ""},
      {path(admin, "get", "/metrics"), "exempt", "exempt", ""},
      {path(stranger, "get", "/healthz"), "probes", "exempt", ""},
      {path(alice, "get", "/readyz/ping"), "probes", "exempt", ""},
      {path(alice, "post", "/readyz"), "global-default", "global-default", "alice"},
      {path(alice, "get", "/readyzz"), "global-default", "global-default", "alice"},
      {resource(manager, "update", leases, "leases", "kube-system"), "system-leader-election", "leader-election",
       "system:kube-controller-manager"},
      {resource(scheduler, "get", leases, "leases", "kube-system"), "system-leader-election", "leader-election",
       "system:kube-scheduler"},
      {resource(system_account, "create", leases, "leases", "kube-system"), "system-leader-election", "leader-election",
       system_account->name},
      {resource(scheduler, "patch", leases, "leases", "kube-system"), "kube-scheduler", "workload-high", "kube-system"},
      {resource(node, "patch", "", "nodes", "", "status"), "system-node-high", "node-high", "system:node:n1"},
      {resource(node, "update", leases, "leases", "kube-node-lease"), "system-node-high", "node-high",
       "system:node:n1"},
      {resource(node, "list", leases, "leases"), "system-nodes", "system",
       "system:node:n1"},  // cluster scope is not meant there
      {resource(node, "get", "", "secrets", "default"), "system-nodes", "system", "system:node:n1"},
      {path(node, "get", "/version"), "system-nodes", "system", "system:node:n1"},
      {resource(manager, "list", "", "pods"), "kube-controller-manager", "workload-high", ""},
      {resource(scheduler, "create", "", "pods", "x", "binding"), "kube-scheduler", "workload-high", "x"},
      {resource(system_account, "list", "", "pods", "y"), "kube-system-service-accounts", "workload-high", "y"},
      {resource(account, "list", "", "pods", "y"), "service-accounts", "workload-low", account->name},
      {resource(alice, "list", "", "pods"), "global-default", "global-default", "alice"},
      {path(stranger, "get", "/apis"), "global-default", "global-default", "system:anonymous"},
      // Whom no schema knows: not even system:authenticated.
      {resource(user("ghost", {}), "list", "", "pods"), "catch-all", "catch-all", "ghost"},
  };
  for (auto& t : table) {
    CAPTURE(t.what.user->name);
    CAPTURE(t.what.verb);
    CAPTURE(t.what.resource);
    CAPTURE(t.what.path);
    auto& s = match(c, t.what);
    CHECK(s.name == t.schema);
    CHECK(c.levels[s.level].name == t.level);
    if (!c.levels[s.level].exempt) CHECK(distinguisher_of(s, t.what) == t.flow);
  }
}

TEST_CASE("what may stand in rules") {
  auto who = user("u", {"g"});
  struct {
    std::string_view pattern, path;
    bool covered;
  } paths[] = {{"*", "/x", true},     {"/a", "/a", true},   {"/a", "/a/b", true},   {"/a", "/ab", false},
               {"/a/", "/a/b", true}, {"/a/", "/a", false}, {"/a/*", "/a/b", true}, {"/a/*", "/a", false},
               {"/a*", "/ab", false}, {"/a*", "/a/b", true}};
  for (auto& p : paths) {
    CAPTURE(p.pattern);
    CAPTURE(p.path);
    CHECK(matches(path_rule{{"get"}, {std::string(p.pattern)}}, path(who, "get", std::string(p.path))) == p.covered);
  }
  resource_rule r{{"get", "list"}, {"apps"}, {"deployments", "deployments/scale"}, {"a", "b"}, false};
  CHECK(matches(r, resource(who, "get", "apps", "deployments", "a")));
  CHECK(matches(r, resource(who, "list", "apps", "deployments", "b", "scale")));
  CHECK_FALSE(matches(r, resource(who, "list", "apps", "deployments", "b", "status")));
  CHECK_FALSE(matches(r, resource(who, "list", "apps", "deployments")));
  CHECK_FALSE(matches(r, resource(who, "list", "apps", "deployments", "c")));
  CHECK_FALSE(matches(r, resource(who, "watch", "apps", "deployments", "a")));
  CHECK_FALSE(matches(r, resource(who, "get", "", "deployments", "a")));
  r.resources = {"*"};
  r.cluster_scope = true;
  CHECK(matches(r, resource(who, "list", "apps", "x", "", "y")));

  using kind = subject::kind;
  auto account = user("system:serviceaccount:ns:app", {"system:serviceaccounts"});
  CHECK(matches(subject{kind::user, "u", ""}, *who));
  CHECK(matches(subject{kind::user, "*", ""}, *who));
  CHECK_FALSE(matches(subject{kind::user, "g", ""}, *who));
  CHECK(matches(subject{kind::group, "g", ""}, *who));
  CHECK(matches(subject{kind::group, "*", ""}, *user("nobody", {})));
  CHECK(matches(subject{kind::service_account, "app", "ns"}, *account));
  CHECK(matches(subject{kind::service_account, "*", "ns"}, *account));
  CHECK_FALSE(matches(subject{kind::service_account, "*", "n"}, *account));
  CHECK_FALSE(matches(subject{kind::service_account, "ap", "ns"}, *account));
  CHECK_FALSE(matches(subject{kind::service_account, "*", "u"}, *who));
}

TEST_CASE("schemas are asked in order of precedence, then name; dangling and broken ones are not asked") {
  auto schema = [](std::string_view name, int precedence, std::string_view level) {
    return parse(fmt::format(
        R"({{"metadata":{{"name":"{}","uid":"uid-{}"}},"spec":{{"matchingPrecedence":{},"priorityLevelConfiguration":{{"name":"{}"}},
      "rules":[{{"subjects":[{{"kind":"User","user":{{"name":"*"}}}}],"nonResourceRules":[{{"verbs":["*"],"nonResourceURLs":["*"]}}]}}]}}}})",
        name, name, precedence, level));
  };
  auto level = [](std::string_view name, std::string_view spec) {
    return parse(fmt::format(R"({{"metadata":{{"name":"{}","uid":"uid-{}"}},"spec":{}}})", name, name, spec));
  };
  auto good = level(
      "good",
      R"({"type":"Limited","limited":{"nominalConcurrencyShares":10,"limitResponse":{"type":"Queue","queuing":{"queues":8,"handSize":2,"queueLengthLimit":5}}}})");
  auto who = path(user("u", {}), "get", "/x");
  auto first = [&](std::vector<json::value> levels, std::vector<json::value> schemas) {
    return match(configuration::make(levels, schemas), who).name;
  };
  CHECK(first({good}, {schema("b", 50, "good"), schema("a", 60, "good")}) == "b");
  CHECK(first({good}, {schema("b", 50, "good"), schema("a", 50, "good")}) == "a");
  CHECK(first({good}, {schema("b", 50, "gone"), schema("a", 60, "good")}) == "a");
  CHECK(first({}, {schema("b", 50, "gone")}) == "catch-all");
  for (
      auto spec :
      {R"({"type":"Limited"})", R"({"type":"Exempt","exempt":{}})",
       R"({"type":"Limited","limited":{"limitResponse":{"type":"Queue"}}})",
       R"({"type":"Limited","limited":{"limitResponse":{"type":"Queue","queuing":{"queues":4,"handSize":5,"queueLengthLimit":1}}}})",
       R"({"type":"Limited","limited":{"limitResponse":{"type":"Queue","queuing":{"queues":1024,"handSize":10,"queueLengthLimit":1}}}})",
       R"({"type":"Limited","limited":{"limitResponse":{"type":"Reject","queuing":{"queues":8,"handSize":2,"queueLengthLimit":5}}}})"}) {
    CAPTURE(spec);
    CHECK(first({level("bad", spec)}, {schema("b", 50, "bad")}) == "catch-all");
  }
}

TEST_CASE("without objects there are the two that everything rests on") {
  auto c = configuration::make({}, {});
  REQUIRE(c.levels.size() == 2);
  REQUIRE(c.schemas.size() == 2);
  CHECK(c.schemas[0].name == "exempt");
  CHECK(c.levels[c.schemas[0].level].exempt);
  CHECK(c.schemas[1].name == "catch-all");
  CHECK(c.levels[c.schemas[1].level].shares == 5);
  CHECK(c.schemas[1].uid.empty());
}

TEST_CASE("a core's memory of users changes no answer") {
  auto c = fresh_cluster();
  matcher m(c);
  std::mt19937 random(11);
  auto one_of = [&](std::initializer_list<const char*> all) {
    return std::string(*(all.begin() + random() % all.size()));
  };
  std::vector<user_ref> users;
  for (int i = 0; i < 400; ++i) {
    std::vector<std::string> groups;
    for (auto g :
         {"system:masters", "system:nodes", "system:authenticated", "system:unauthenticated", "system:serviceaccounts"})
      if (random() % 3 == 0) groups.emplace_back(g);
    users.push_back(user(one_of({"a", "system:kube-scheduler", "system:kube-controller-manager",
                                 "system:serviceaccount:kube-system:x", "system:serviceaccount:d:x"}),
                         groups));
  }
  for (int i = 0; i < 20'000; ++i) {
    auto& who = users[random() % users.size()];
    auto a = random() % 3 == 0
                 ? path(who, one_of({"get", "post"}), one_of({"/healthz", "/readyz/x", "/apis", "/"}))
                 : resource(who, one_of({"get", "list", "update", "create", "patch"}),
                            one_of({"", "coordination.k8s.io", "apps"}), one_of({"nodes", "leases", "pods"}),
                            one_of({"", "kube-system"}), one_of({"", "status"}));
    CHECK(&m.match(a) == &match(c, a));
  }
}

TEST_CASE("a flow's hash is what kube-apiserver makes of both names") {
  // SHA-256 of "global-default\0alice": its first eight bytes as a little-endian number.
  CHECK(hash_of("global-default", "alice") == 17'644'606'172'554'983'095u);
  CHECK(hash_of("ab", "") != hash_of("a", "b"));
}

}  // namespace kedge::api::fairness
