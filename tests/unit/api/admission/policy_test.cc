// Which requests policies are about, and what their values do to objects.
#include <fmt/format.h>

#include "../access_harness.h"
#include "api/admission/policy/changes.h"
#include "api/admission/policy/match.h"
#include "api/admission/policy/params.h"

namespace kedge::api::policy {
namespace {

using namespace kedge::api::testing;

struct asked_about {
  operation what;
  std::string group, version, resource, ns = "default", name = "a", subresource = {};
  std::string labels = "{}", old_labels = {};
};

bool is_meant(cluster& c, std::string_view resources, const asked_about& q) {
  auto object = yaml("{metadata: {name: " + q.name + ", labels: " + q.labels + "}}");
  auto old = q.old_labels.empty() ? json::value() : yaml("{metadata: {labels: " + q.old_labels + "}}");
  auto a =
      ask(admin(), "create", q.group, q.resource + (q.subresource.empty() ? "" : "/" + q.subresource), q.ns, q.name);
  a.api_version = q.version;
  admission_request r{.what = q.what, .who = a, .kind = "X", .object = &object, .old = old.is_null() ? nullptr : &old};
  auto s = builtin_registry().find(q.group, q.version, q.resource);
  REQUIRE(s);
  auto now = c.now();
  return bool(match_resources(yaml(resources)).of(subject_of(r, *s, now)));
}

}  // namespace

TEST_CASE("a policy is about what its rules and selectors name") {
  cluster c;
  c.put("{apiVersion: v1, kind: Namespace, metadata: {name: default, labels: {team: a}}}");
  constexpr auto create = operation::create;
  const asked_about map{create, "", "v1", "configmaps"};
  const std::string all = "namespaceSelector: {}, objectSelector: {}, matchPolicy: Equivalent, resourceRules: ";
  struct row {
    std::string resources;
    asked_about q;
    bool meant;
  };
  const row rows[] = {
      {"{" + all + "[{operations: ['*'], apiGroups: ['*'], apiVersions: ['*'], resources: ['*']}]}", map, true},
      {"{" + all + "[{operations: [UPDATE], apiGroups: [''], apiVersions: [v1], resources: [configmaps]}]}", map,
       false},
      {"{" + all + "[{operations: [CREATE], apiGroups: [apps], apiVersions: [v1], resources: [configmaps]}]}", map,
       false},
      {"{" + all + "[{operations: [CREATE], apiGroups: [''], apiVersions: [v2], resources: [configmaps]}]}", map,
       false},
      {"{" + all +
           "[{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [configmaps], scope: Cluster}]}",
       map, false},
      {"{" + all + "[{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: ['*'], scope: Cluster}]}",
       {create, "", "v1", "namespaces", ""},
       true},
      {"{" + all + "[{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]}",
       {create, "", "v1", "pods", "default", "a", "eviction"},
       false},
      {"{" + all + "[{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: ['pods/*']}]}",
       {create, "", "v1", "pods", "default", "a", "eviction"},
       true},
      {"{" + all + "[{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: ['pods/*']}]}",
       {create, "", "v1", "pods"},
       true},
      {"{" + all +
           "[{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [configmaps], resourceNames: [b]}]}",
       map, false},
      // The same objects in another version or group.
      {"{" + all +
           "[{operations: [CREATE], apiGroups: [autoscaling], apiVersions: [v2], resources: "
           "[horizontalpodautoscalers]}]}",
       {create, "autoscaling", "v1", "horizontalpodautoscalers"},
       true},
      {"{" + all + "[{operations: [CREATE], apiGroups: [events.k8s.io], apiVersions: [v1], resources: [events]}]}",
       {create, "", "v1", "events"},
       true},
      {"{namespaceSelector: {}, objectSelector: {}, matchPolicy: Exact, resourceRules: [{operations: [CREATE], "
       "apiGroups: "
       "[autoscaling], apiVersions: [v2], resources: [horizontalpodautoscalers]}]}",
       {create, "autoscaling", "v1", "horizontalpodautoscalers"},
       false},
      // Selectors; without rules everything is meant.
      {"{namespaceSelector: {matchLabels: {team: a}}, objectSelector: {}}", map, true},
      {"{namespaceSelector: {matchLabels: {team: b}}, objectSelector: {}}", map, false},
      {"{namespaceSelector: {matchLabels: {team: b}}, objectSelector: {}}", {create, "", "v1", "nodes", ""}, true},
      {"{namespaceSelector: {matchLabels: {team: b}}, objectSelector: {}}",
       {create, "", "v1", "namespaces", "", "a", "", "{team: b}"},
       true},
      {"{namespaceSelector: {}, objectSelector: {matchLabels: {x: y}}}", map, false},
      {"{namespaceSelector: {}, objectSelector: {matchLabels: {x: y}}}",
       {operation::update, "", "v1", "configmaps", "default", "a", "", "{}", "{x: y}"},
       true},
      {"{namespaceSelector: {}, objectSelector: {}, excludeResourceRules: [{operations: ['*'], apiGroups: [''], "
       "apiVersions: [v1], resources: [configmaps]}]}",
       map, false},
  };
  for (auto& r : rows) {
    CAPTURE(r.resources);
    CHECK(is_meant(c, r.resources, r.q) == r.meant);
  }
}

TEST_CASE("an apply configuration is laid over an object, but not over parts that go as a whole") {
  auto& pods = *builtin_registry().find("", "v1", "pods");
  auto pod = yaml("{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, image: x}]}}");
  auto done = apply_configuration(pods, "", pod,
                                  yaml("{spec: {containers: [{name: b, image: img}, {name: a, env: [{name: E}]}]}}"));
  REQUIRE_MESSAGE(done.has_value(), (done ? std::string() : done.error().failure));
  CHECK((*done)["spec"]["containers"].size() == 2);
  CHECK((*done)["spec"]["containers"][1]["image"].as_string() == "x");
  CHECK((*done)["spec"]["containers"][0]["imagePullPolicy"].as_string() == "Always");
  auto atomic =
      apply_configuration(pods, "", pod, yaml("{spec: {containers: [{name: a, args: [x]}], nodeSelector: {a: b}}}"));
  REQUIRE(!atomic.has_value());
  CHECK(atomic.error().failure ==
        "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: "
        ".spec.nodeSelector, .spec.containers[0].args");
  auto unknown = apply_configuration(pods, "", pod, yaml("{spec: {nothing: 1}}"));
  REQUIRE(!unknown.has_value());
  CHECK(unknown.error().failure ==
        "error applying patch: failed to convert patch object to typed object: .spec.nothing: field not declared in "
        "schema");
}

TEST_CASE("params are what the binding names, where its policy's kind lives") {
  cluster c;
  c.put("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: one, labels: {x: y}}}");
  c.put("{apiVersion: v1, kind: ConfigMap, metadata: {name: b, namespace: one, labels: {x: y}}}");
  auto maps = builtin_registry().find("", "v1", "configmaps"), nodes = builtin_registry().find("", "v1", "nodes");
  auto count = [&](const served* kind, std::string_view ref, std::string_view ns) -> std::string {
    auto r = param_reference::compile(yaml(ref));
    auto now = c.now();
    auto found = c.loop.run_until(find_params(kind, r ? &*r : nullptr, ns, now));
    return found ? std::to_string(found->size()) : found.error();
  };
  CHECK(count(maps, "{name: a, parameterNotFoundAction: Deny}", "one") == "1");
  CHECK(count(maps, "{name: a, parameterNotFoundAction: Allow}", "two") == "0");
  CHECK(count(maps, "{name: a, namespace: one, parameterNotFoundAction: Deny}", "two") == "1");
  CHECK(count(maps, "{name: z, parameterNotFoundAction: Deny}", "one") ==
        "no params found for policy binding with `Deny` parameterNotFoundAction");
  CHECK(count(maps, "{name: a, parameterNotFoundAction: Deny}", "") ==
        "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources");
  CHECK(count(nodes, "{name: a, namespace: one, parameterNotFoundAction: Deny}", "one") ==
        "paramRef.namespace must not be provided for a cluster-scoped `paramKind`");
  CHECK(count(nullptr, "{name: a}", "one") == "1");
  // However many a selector finds, also beyond what is looked at in one go.
  constexpr int many = 2'100;
  for (int i = 0; i < many; ++i)
    c.put(fmt::format(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: m{}, namespace: many, labels: {{x: '{}'}}}}}}", i,
        i % 2));
  CHECK(count(maps, "{selector: {matchLabels: {x: '1'}}, parameterNotFoundAction: Allow}", "many") ==
        std::to_string(many / 2));
  CHECK(count(maps, "{selector: {matchLabels: {x: y}}, parameterNotFoundAction: Allow}", "many") == "0");
}

}  // namespace kedge::api::policy
