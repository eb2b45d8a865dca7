#include <malloc.h>

#include <algorithm>

#include "../access_harness.h"
#include "api/authorization/authorization.h"

namespace kedge::api {
namespace {

using namespace testing;

constexpr std::string_view roles = R"(
kind: ClusterRole
metadata: {name: reader}
rules:
- {apiGroups: [""], resources: [pods, pods/log], verbs: [get, list]}
- {apiGroups: [apps], resources: ["*/scale"], verbs: [update]}
- {nonResourceURLs: ["/healthz", "/metrics/*"], verbs: [get]}
---
kind: ClusterRole
metadata: {name: one-secret}
rules:
- {apiGroups: [""], resources: [secrets], resourceNames: [a], verbs: ["*"]}
---
kind: ClusterRole
metadata: {name: everything}
rules:
- {apiGroups: ["*"], resources: ["*"], verbs: ["*"]}
---
kind: Role
metadata: {name: writer, namespace: dev}
rules:
- {apiGroups: [""], resources: [configmaps], verbs: [create, update]}
---
kind: ClusterRoleBinding
metadata: {name: readers}
subjects: [{kind: Group, name: readers}]
roleRef: {kind: ClusterRole, name: reader}
---
kind: ClusterRoleBinding
metadata: {name: b-one-secret}
subjects: [{kind: User, name: ann}]
roleRef: {kind: ClusterRole, name: one-secret}
---
kind: RoleBinding
metadata: {name: writers, namespace: dev}
subjects: [{kind: ServiceAccount, name: robot, namespace: ci}, {kind: ServiceAccount, name: local}]
roleRef: {kind: Role, name: writer}
---
kind: RoleBinding
metadata: {name: owner, namespace: dev}
subjects: [{kind: User, name: olga}]
roleRef: {kind: ClusterRole, name: everything}
)";

TEST_CASE("rules allow what they name and nothing else") {
  cluster c;
  c.put(roles);
  rule_source* rules = nullptr;
  auto authz = make_authorizer(&rules);
  auto reader = user("rita", {"readers", "system:authenticated"});
  auto robot = user("system:serviceaccount:ci:robot",
                    {"system:serviceaccounts", "system:serviceaccounts:ci", "system:authenticated"});
  auto local = user("system:serviceaccount:dev:local");
  struct row {
    attributes asked;
    bool allowed;
  };
  const row table[] = {
      {ask(reader, "get", "", "pods", "default", "a"), true},
      {ask(reader, "get", "", "pods/log", "default", "a"), true},
      {ask(reader, "get", "", "pods/exec", "default", "a"), false},
      {ask(reader, "list", "", "pods"), true},
      {ask(reader, "watch", "", "pods"), false},
      {ask(reader, "get", "apps", "pods", "default", "a"), false},
      {ask(reader, "update", "apps", "deployments/scale", "default", "a"), true},
      {ask(reader, "update", "apps", "deployments", "default", "a"), false},
      {ask_path(reader, "get", "/healthz"), true},
      {ask_path(reader, "get", "/healthz/ping"), false},
      {ask_path(reader, "get", "/metrics/cadvisor"), true},
      {ask_path(reader, "post", "/healthz"), false},
      {ask(user("rita"), "get", "", "pods", "default", "a"), false},
      {ask(user("ann"), "get", "", "secrets", "default", "a"), true},
      {ask(user("ann"), "get", "", "secrets", "default", "b"), false},
      {ask(user("ann"), "create", "", "secrets", "default"), false},
      {ask(user("ann"), "list", "", "secrets", "default"), false},
      {ask(robot, "create", "", "configmaps", "dev"), true},
      {ask(robot, "create", "", "configmaps", "prod"), false},
      {ask(robot, "create", "", "configmaps"), false},
      {ask(local, "update", "", "configmaps", "dev", "x"), true},
      {ask(user("olga"), "delete", "apps", "deployments/status", "dev", "x"), true},
      {ask(user("olga"), "delete", "apps", "deployments", "prod", "x"), false},
      {ask(user("olga"), "get", "", "nodes"), false},
      {ask_path(user("olga"), "get", "/healthz"), false},
      {ask(admin(), "delete", "", "nodes", "", "x"), true},
      {ask_path(admin(), "get", "/anything"), true},
  };
  for (int round = 0; round < 2; ++round)  // the second is answered from memory
    for (auto& r : table) {
      CAPTURE(r.asked.user->name);
      CAPTURE(r.asked.verb);
      CAPTURE(r.asked.resource + r.asked.path);
      CHECK((authz->authorize(r.asked, c.now()).what == decision::kind::allow) == r.allowed);
    }
  CHECK(authz->authorize(ask(user("ann"), "get", "", "secrets", "default", "a"), c.now()).reason ==
        R"(RBAC: allowed by ClusterRoleBinding "b-one-secret" of ClusterRole "one-secret" to User "ann")");
  CHECK(authz->authorize(ask(robot, "create", "", "configmaps", "dev"), c.now()).reason ==
        R"(RBAC: allowed by RoleBinding "writers/dev" of Role "writer" to ServiceAccount "robot/ci")");
}

TEST_CASE("a grant holds at once, and a revocation soon") {
  cluster c;
  c.put(roles);
  auto authz = make_authorizer();
  auto asked = ask(user("new"), "get", "", "secrets", "default", "a");
  CHECK(authz->authorize(asked, c.now()).what != decision::kind::allow);
  c.put(R"(
kind: ClusterRoleBinding
metadata: {name: fresh}
subjects: [{kind: User, name: new}]
roleRef: {kind: ClusterRole, name: everything}
)");
  CHECK(authz->authorize(asked, c.now()).what == decision::kind::allow);
  c.remove("/registry/clusterrolebindings/fresh");
  c.loop.run_until([]() -> task<void> { co_await reactor::sleep_for(std::chrono::milliseconds(5)); }());
  CHECK(authz->authorize(asked, c.now()).what != decision::kind::allow);
}

// Anybody may ask about anything (SelfSubjectAccessReview), in texts of megabytes: what is remembered of it must not
// add up.
TEST_CASE("long questions leave nothing behind") {
  cluster c;
  c.put(roles);
  auto authz = make_authorizer();
  auto who = node("n1");
  constexpr std::size_t text_bytes = 512 * 1024, questions = 64;
  auto ask_all = [&](std::size_t from) {
    for (std::size_t i = from; i < from + questions; ++i) {
      auto text = std::to_string(i) + std::string(text_bytes, 'x');
      attributes path = ask(who, "get", "", "", "", "");
      path.is_resource = false;
      path.path = text;
      for (auto& asked :
           {path, ask(who, "get", text, "secrets"), ask(who, "get", "", "secrets", text, "s"),
            ask(who, "get", "", "secrets", "default", text), ask(who, text, "", "secrets", "default", "s"),
            ask(user(text), "get", "", "secrets", "default", "s"),
            ask(user("ann", {text}), "get", "", "secrets", "default", "s"),
            ask(node(text), "get", "", "secrets", "default", "s")})
        CHECK(authz->authorize(asked, c.now()).what != decision::kind::allow);
    }
  };
  ask_all(0);  // what a question needs while it is answered
  auto before = ::mallinfo2();
  ask_all(questions);
  auto after = ::mallinfo2();
  auto used = [](const struct mallinfo2& m) { return m.uordblks + m.hblkhd; };
  CHECK_MESSAGE(used(after) < used(before) + 4 * text_bytes, used(before)
                                                                 << " bytes before, " << used(after) << " after");
}

TEST_CASE("aggregated roles are right before any controller has filled them") {
  cluster c;
  c.put(R"(
kind: ClusterRole
metadata: {name: admin}
aggregationRule: {clusterRoleSelectors: [{matchLabels: {to-admin: "true"}}]}
---
kind: ClusterRole
metadata: {name: edit, labels: {to-admin: "true"}}
aggregationRule: {clusterRoleSelectors: [{matchLabels: {to-edit: "true"}}]}
---
kind: ClusterRole
metadata: {name: part, labels: {to-edit: "true"}}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
kind: ClusterRoleBinding
metadata: {name: admins}
subjects: [{kind: User, name: ann}]
roleRef: {kind: ClusterRole, name: admin}
)");
  rule_source* rules = nullptr;
  auto authz = make_authorizer(&rules);
  CHECK(authz->authorize(ask(user("ann"), "get", "", "pods", "x", "y"), c.now()).what == decision::kind::allow);
  CHECK(rules->rules_for(user("ann"), "x", c.now()).size() == 1);
  // Circles end.
  c.put(R"(
kind: ClusterRole
metadata: {name: part, labels: {to-edit: "true"}}
rules: [{apiGroups: [""], resources: [pods], verbs: [list]}]
aggregationRule: {clusterRoleSelectors: [{}]}
)");
  CHECK(authz->authorize(ask(user("ann"), "list", "", "pods", "x"), c.now()).what == decision::kind::allow);
}

// What was decided once is no answer to another question, whatever the words hold: each pair of these is one list of
// parts cut elsewhere, or a path for a resource.
TEST_CASE("remembered decisions answer only what was asked") {
  cluster c;
  c.put(R"(
{kind: ClusterRole, metadata: {name: paths}, rules: [{nonResourceURLs: ["*"], verbs: ["*"]}]}
---
{kind: ClusterRoleBinding, metadata: {name: paths}, subjects: [{kind: User, name: alice}, {kind: Group, name: "a"}], roleRef: {kind: ClusterRole, name: paths}}
)");
  auto authz = make_authorizer();
  const std::string z(1, '\0');
  auto allowed = [&](const attributes& a) { return authz->authorize(a, c.now()).what == decision::kind::allow; };
  for (auto separator : {z, std::string("/"), std::string("\1"), std::string("\n"), std::string(",")}) {
    auto path = separator + "secrets" + separator + separator + "kube-system" + separator + "target";
    CHECK(allowed(ask_path(user("alice"), "get", path)));
    CHECK_FALSE(allowed(ask(user("alice"), "get", "", "secrets", "kube-system", "target")));
    CHECK_FALSE(allowed(ask(user("alice"), "get", "", "secrets" + separator, "kube-system", "target")));
    // A group's name that holds another's, and a user's that holds groups.
    CHECK(allowed(ask_path(user("bob", {"a"}), "get", "/x")));
    CHECK_FALSE(allowed(ask_path(user("bob" + separator + "a", {}), "get", "/x")));
    CHECK_FALSE(allowed(ask_path(user("bob", {"a" + separator + "get"}), "", "/x")));
    CHECK_FALSE(allowed(ask_path(user("bob", {separator + "a"}), "get", "/x")));
    CHECK(allowed(ask_path(user("bob", {"b", "a"}), "get", "/x")));
    CHECK_FALSE(allowed(ask_path(user("bob", {"b" + separator + "a"}), "get", "/x")));
  }
}

TEST_CASE("refusals read as the real server's") {
  auto text = [](const attributes& a, std::string_view reason = {}) { return forbidden_status(a, reason).message; };
  CHECK(text(ask(user("u"), "get", "", "pods/log", "ns", "x")) ==
        R"(pods "x" is forbidden: User "u" cannot get resource "pods/log" in API group "" in the namespace "ns")");
  CHECK(
      text(ask(user("u"), "list", "apps", "deployments")) ==
      R"(deployments.apps is forbidden: User "u" cannot list resource "deployments" in API group "apps" at the cluster scope)");
  CHECK(text(ask(user("u"), "get", "", "nodes", "", "b"), "why").ends_with("at the cluster scope: why"));
  CHECK(text(ask_path(user("u"), "get", "/foo")) == R"(forbidden: User "u" cannot get path "/foo")");
}

policy_rule rule(std::vector<std::string> verbs, std::vector<std::string> groups, std::vector<std::string> resources,
                 std::vector<std::string> names = {}) {
  return {std::move(verbs), std::move(groups), std::move(resources), std::move(names), {}};
}

TEST_CASE("escalation: laws of covering") {
  const std::vector<policy_rule> samples = {
      rule({"get", "list"}, {""}, {"pods", "secrets"}),
      rule({"*"}, {""}, {"pods"}),
      rule({"get"}, {"*"}, {"*"}),
      rule({"get"}, {""}, {"secrets"}, {"a", "b"}),
      rule({"update"}, {"apps"}, {"*/scale"}),
      {{"get"}, {}, {}, {}, {"/metrics/*"}},
      rule({"*"}, {"*"}, {"*"}),
  };
  for (auto& a : samples) {
    CHECK(uncovered({a}, {a}).empty());
    CHECK(!uncovered({}, {a}).empty());
    for (auto& b : samples) {
      // More held never misses more.
      CHECK(uncovered({a, b}, samples).size() <= uncovered({a}, samples).size());
      // What is missing is missing still when asked for alone.
      auto missing = uncovered({a}, {b});
      CHECK(uncovered({a}, missing).size() == missing.size());
    }
  }
  CHECK(uncovered({rule({"get"}, {""}, {"*"})}, {rule({"get"}, {""}, {"pods/log"})}).empty());
  CHECK(!uncovered({rule({"get"}, {""}, {"pods"})}, {rule({"get"}, {""}, {"pods/log"})}).empty());
  CHECK(!uncovered({rule({"get"}, {""}, {"secrets"}, {"a"})}, {rule({"get"}, {""}, {"secrets"})}).empty());
  CHECK(!uncovered({rule({"get"}, {""}, {"pods"})}, {rule({"*"}, {""}, {"pods"})}).empty());
  CHECK(compact({rule({"list"}, {""}, {"pods"}), rule({"get"}, {""}, {"pods"})}).size() == 1);
  CHECK(rule({"get"}, {""}, {"secrets"}).text() == R"({APIGroups:[""], Resources:["secrets"], Verbs:["get"]})");
}

TEST_CASE("escalation: nobody gives what he hasn't") {
  cluster c;
  c.put(roles);
  c.put(R"(
kind: ClusterRole
metadata: {name: rbac-writer}
rules: [{apiGroups: [rbac.authorization.k8s.io], resources: ["*"], verbs: [create, update]}]
---
kind: ClusterRole
metadata: {name: binder}
rules: [{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], resourceNames: [everything], verbs: [bind]}]
---
kind: ClusterRoleBinding
metadata: {name: bob-binds}
subjects: [{kind: User, name: bob}]
roleRef: {kind: ClusterRole, name: binder}
)");
  gate g(c);
  auto reader = user("rita", {"readers"});
  constexpr std::string_view secrets = R"(
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: x}, rules: [{apiGroups: [""], resources: [secrets], verbs: [get]}]})";
  auto refused = g.create(reader, secrets);
  CHECK(refused.message ==
        "clusterroles.rbac.authorization.k8s.io \"x\" is forbidden: user \"rita\" (groups=[\"readers\"]) is attempting "
        "to grant RBAC "
        "permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}");
  CHECK(refused.why.code == 403);
  CHECK(g.create(admin(), secrets).good);
  CHECK(g.create(reader, R"(
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: x}, rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]})")
            .good);
  // What the garbage collector changes is no grant, and rewriting what stands is none.
  CHECK(g.update(reader, secrets, secrets).good);
  const auto with = [&](std::string_view meta,
                        std::string_view rest = R"(rules: [{apiGroups: [""], resources: [secrets], verbs: [get]}])") {
    return "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: x" + std::string(meta) +
           "}, " + std::string(rest) + "}";
  };
  CHECK(g.update(reader, with(", finalizers: [a/b], ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: u}]"),
                 secrets)
            .good);
  // Everything else is: labels decide which roles take the rules in.
  for (auto meta : {R"(, labels: {rbac.authorization.k8s.io/aggregate-to-view: "true"})", ", labels: {any: thing}",
                    ", annotations: {any: thing}",
                    R"(, finalizers: [a/b], labels: {rbac.authorization.k8s.io/aggregate-to-view: "true"})"})
    CHECK_MESSAGE(!g.update(reader, with(meta), secrets).good, meta);
  CHECK(g.update(reader, with(", labels: {a: b}", R"(rules: [{apiGroups: [""], resources: [pods], verbs: [get]}])"),
                 with("", "rules: []"))
            .good);
  constexpr std::string_view bind = R"(
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: y}, subjects: [{kind: User, name: z}],
 roleRef: {kind: ClusterRole, name: everything}})";
  CHECK(!g.create(reader, bind).good);
  CHECK(g.create(user("bob"), bind).good);
  auto missing = g.create(reader, R"(
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: y}, roleRef: {kind: ClusterRole, name: nope}})");
  CHECK(missing.why.code == 404);
  // A right to bind or to escalate by name is one on that name; a new role that is posted has none yet.
  c.put(R"(
{kind: ClusterRole, metadata: {name: escalator}, rules: [{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], resourceNames: [x], verbs: [escalate]}]}
---
{kind: ClusterRoleBinding, metadata: {name: eve-escalates}, subjects: [{kind: User, name: eve}], roleRef: {kind: ClusterRole, name: escalator}}
)");
  auto eve = user("eve");
  auto written = yaml(secrets), before = yaml(with("", "rules: []"));
  CHECK(g.run(operation::update, ask(eve, "update", "rbac.authorization.k8s.io", "clusterroles", "", "x"), &written,
              &before)
            .good);
  CHECK_FALSE(g.run(operation::update, ask(eve, "update", "rbac.authorization.k8s.io", "clusterroles", "", "y"),
                    &written, &before)
                  .good);
  CHECK_FALSE(g.run(operation::create, ask(eve, "create", "rbac.authorization.k8s.io", "clusterroles"), &written).good);
  // Selectors decide over rules to come: that takes everything.
  CHECK(!g.create(reader, R"(
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: x}, aggregationRule: {clusterRoleSelectors: [{}]}})")
             .good);
}

}  // namespace
}  // namespace kedge::api
