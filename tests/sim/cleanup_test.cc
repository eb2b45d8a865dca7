// Controllers that clean up, as they run: owners and dependents, namespaces, pods that nobody ends, quotas, budgets.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <set>

#include "control_world.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

const api::resource_id nodes{"", "v1", "nodes"};
const api::resource_id pods{"", "v1", "pods"};
const api::resource_id config_maps{"", "v1", "configmaps"};
const api::resource_id namespaces{"", "v1", "namespaces"};
const api::resource_id accounts{"", "v1", "serviceaccounts"};
const api::resource_id cluster_roles{"rbac.authorization.k8s.io", "v1", "clusterroles"};
const api::resource_id quotas{"", "v1", "resourcequotas"};
const api::resource_id budgets{"policy", "v1", "poddisruptionbudgets"};

std::string map_key(const std::string& name, const std::string& ns = "default") {
  return "/registry/configmaps/" + ns + "/" + name;
}

json::value map(const std::string& name, const std::string& ns = "default") {
  return yaml(fmt::format("{{kind: ConfigMap, apiVersion: v1, metadata: {{name: {}, namespace: {}}}}}", name, ns));
}
json::value owned(json::value object, const std::string& owner, const std::string& uid, bool blocking = false) {
  auto& list = object.member("metadata").member("ownerReferences");
  list.push_back(json::object{
      {"apiVersion", "v1"}, {"kind", "ConfigMap"}, {"name", owner}, {"uid", uid}, {"blockOwnerDeletion", blocking}});
  return object;
}
std::string uid(const control_world& c, const std::string& key) {
  return std::string(c.get(key)["metadata"]["uid"].as_string());
}

json::value pod(const std::string& name, const std::string& ns, const std::string& node) {
  return yaml(
      fmt::format("{{kind: Pod, apiVersion: v1, metadata: {{name: {}, namespace: {}, labels: {{app: web}}}}, "
                  "spec: {{nodeName: '{}', containers: [{{name: c, image: i}}]}}}}",
                  name, ns, node));
}

}  // namespace

TEST_CASE("garbage-collector-controller: what lost its owners goes, and nothing else") {
  for (auto seed : seeds(8)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"garbagecollector"}});
    c.create(namespaces, yaml("{kind: Namespace, apiVersion: v1, metadata: {name: other}}"));
    for (auto name : {"owner", "second", "loner"}) c.create(config_maps, map(name));
    c.create(config_maps, map("foreign", "other"));
    auto owner = uid(c, map_key("owner")), second = uid(c, map_key("second")),
         foreign = uid(c, map_key("foreign", "other"));
    c.crash_between_writes(0.03);
    for (int i = 0; i < 20; ++i) c.create(config_maps, owned(map(fmt::format("d{:02}", i)), "owner", owner));
    c.create(config_maps, owned(owned(map("both"), "owner", owner), "second", second));
    c.create(config_maps, owned(map("kept"), "second", second));
    c.create(config_maps, owned(map("of-a-stranger"), "foreign", foreign));  // its owner lives elsewhere: absent here
    c.create(config_maps, owned(map("of-another-uid"), "second", "00000000-0000-0000-0000-000000000001"));
    auto role = yaml("{kind: ClusterRole, apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: dep}, rules: []}");
    c.create(cluster_roles, owned(role, "owner", owner));
    CHECK(c.until([&] { return !c.exists(map_key("of-a-stranger")) && !c.exists(map_key("of-another-uid")); }));
    c.run_for(1min);
    CHECK(c.count("/registry/configmaps/default/d") == 20);
    CHECK(c.exists("/registry/clusterroles/dep"));
    c.remove(config_maps, "default", "owner");
    CHECK(c.until([&] { return c.count("/registry/configmaps/default/d") == 0; }));
    CHECK(c.until([&] { return c.get(map_key("both"))["metadata"]["ownerReferences"].size() == 1; }));
    c.run_for(2min);
    for (auto name : {"second", "loner", "both", "kept"}) CHECK(c.exists(map_key(name)));
    CHECK(c.exists("/registry/clusterroles/dep"));
    CHECK(c.exists(map_key("foreign", "other")));
  }
}

TEST_CASE("garbage-collector-controller: a cluster-scoped object with a namespaced owner is told of, once") {
  control_world c(1, {.controllers = {"garbagecollector"}});
  c.create(config_maps, map("owner"));
  auto owner = uid(c, map_key("owner"));
  c.create(
      cluster_roles,
      owned(yaml("{kind: ClusterRole, apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: dep}, rules: []}"),
            "owner", owner));
  CHECK(c.until([&] { return !c.events("dep").empty(); }));
  c.run_for(1min);
  auto told = c.events("dep");
  REQUIRE(told.size() == 1);
  CHECK(told[0] == "OwnerRefInvalidNamespace: ownerRef [v1/ConfigMap, namespace: , name: owner, uid: " + owner +
                       "] does not exist in namespace \"\"");
}

TEST_CASE("garbage-collector-controller: foreground and orphaning deletions end, whatever crashes") {
  for (auto seed : seeds(8)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"garbagecollector"}});
    for (auto name : {"front", "left"}) c.create(config_maps, map(name));
    auto front = uid(c, map_key("front")), left = uid(c, map_key("left"));
    for (int i = 0; i < 10; ++i) c.create(config_maps, owned(map(fmt::format("f{}", i)), "front", front, i % 2 == 0));
    for (int i = 0; i < 10; ++i) c.create(config_maps, owned(map(fmt::format("l{}", i)), "left", left, true));
    // A dependent of a dependent goes before it.
    c.create(config_maps, owned(map("deep"), "f0", uid(c, map_key("f0")), true));
    c.crash_between_writes(0.05);
    bool early = false;
    c.remove(config_maps, "default", "front", {.propagation_policy = "Foreground"});
    c.remove(config_maps, "default", "left", {.propagation_policy = "Orphan"});
    CHECK(c.until([&] {
      // The owner outlives what blocks it.
      if (!c.exists(map_key("front")))
        for (int i = 0; i < 10; i += 2) early = early || c.exists(map_key(fmt::format("f{}", i)));
      if (!c.exists(map_key("f0"))) early = early || c.exists(map_key("deep"));
      return !c.exists(map_key("front")) && !c.exists(map_key("left")) &&
             c.count("/registry/configmaps/default/f") == 0;
    }));
    CHECK(!early);
    c.run_for(1min);
    CHECK(c.count("/registry/configmaps/default/l") == 10);
    for (int i = 0; i < 10; ++i) CHECK(c.get(map_key(fmt::format("l{}", i)))["metadata"]["ownerReferences"].empty());
  }
}

TEST_CASE("garbage-collector-controller: what lies in another namespace holds nothing up, and takes nothing along") {
  control_world c(4, {.controllers = {"garbagecollector"}});
  c.create(namespaces, yaml("{kind: Namespace, apiVersion: v1, metadata: {name: mine}}"));
  c.create(config_maps, map("owner"));
  auto of = uid(c, map_key("owner"));
  c.create(config_maps, owned(map("dependent"), "owner", of, true));
  // Right in all but the place; and of a kind that nobody serves, so that it is never known whether that owner is
  // there.
  c.create(config_maps, owned(map("wrong", "mine"), "owner", of, true));
  auto unknown = owned(map("unknown", "mine"), "owner", of, true);
  unknown.member("metadata").member("ownerReferences").array()->front().set("apiVersion", "ex.io/v1");
  c.create(config_maps, unknown);
  CHECK(c.until([&] { return !c.exists("/registry/configmaps/mine/wrong"); }));
  CHECK(c.exists(map_key("owner")));
  CHECK(c.exists(map_key("dependent")));
  c.remove(config_maps, "default", "owner", {.propagation_policy = "Foreground"});
  CHECK(c.until([&] { return !c.exists(map_key("owner")) && !c.exists(map_key("dependent")); }));
  CHECK(c.exists("/registry/configmaps/mine/unknown"));
}

TEST_CASE("garbage-collector-controller: two that own and block each other go") {
  control_world c(3, {.controllers = {"garbagecollector"}});
  c.create(config_maps, map("a"));
  c.create(config_maps, owned(map("b"), "a", uid(c, map_key("a")), true));
  c.change(config_maps, "default", "a", [&](json::value& v) { v = owned(v, "b", uid(c, map_key("b")), true); });
  c.remove(config_maps, "default", "a", {.propagation_policy = "Foreground"});
  CHECK(c.until([&] { return !c.exists(map_key("a")) && !c.exists(map_key("b")); }));
}

TEST_CASE("namespace-controller: a namespace ends with all that is in it, and holds what has finalizers") {
  for (auto seed : seeds(6)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"namespace"}});
    c.create(namespaces, yaml("{kind: Namespace, apiVersion: v1, metadata: {name: gone}}"));
    c.create(accounts, yaml("{kind: ServiceAccount, apiVersion: v1, metadata: {name: default, namespace: gone}}"));
    for (int i = 0; i < 100; ++i) c.create(config_maps, map(fmt::format("m{:03}", i), "gone"));
    auto held = map("held", "gone");
    held.member("metadata").set("finalizers", yaml("[example.org/mine]"));
    c.create(config_maps, held);
    c.create(pods, pod("p", "gone", ""));
    c.crash_between_writes(0.03);
    c.remove(namespaces, "", "gone");
    CHECK(c.until([&] { return c.count("/registry/configmaps/gone/") == 1 && c.count("/registry/pods/gone/") == 0; }));
    CHECK(c.until([&] {
      auto ns = c.get("/registry/namespaces/gone");
      for (std::size_t i = 0; i < ns["status"]["conditions"].size(); ++i)
        if (ns["status"]["conditions"][i]["type"].as_string() == "NamespaceFinalizersRemaining")
          return ns["status"]["conditions"][i]["message"].as_string() ==
                 "Some content in the namespace has finalizers remaining: example.org/mine in 1 resource instances";
      return false;
    }));
    CHECK(c.get("/registry/namespaces/gone")["status"]["phase"].as_string() == "Terminating");
    c.change(config_maps, "gone", "held", [](json::value& v) { v.member("metadata").erase("finalizers"); });
    CHECK(c.until([&] { return !c.exists("/registry/namespaces/gone"); }, 1min));
    for (auto& [key, v] : c.all("/registry/")) CHECK_MESSAGE(v["metadata"]["namespace"].as_string() != "gone", key);
  }
}

TEST_CASE("namespace-controller: nothing outlives its namespace that another server creates by old news") {
  for (auto seed : seeds(12)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"namespace"}});
    REQUIRE(c.until([&] { return c.runs(0) && c.runs(1); }));
    c.create(namespaces, yaml("{kind: Namespace, apiVersion: v1, metadata: {name: gone}}"));
    REQUIRE(c.until([&] { return c.exists("/registry/namespaces/gone"); }));
    // Of kinds that are judged by what the server has, and of one that asks for the newest state.
    int made = 0;
    std::map<int, int> refused;  // by code
    bool ended = false;
    c.begin_on(1, [&](api::objects& client) -> task<void> {
      for (int i = 0; refused.empty(); ++i) {
        auto name = fmt::format("m{:03}", i);
        auto account = yaml(fmt::format("{{kind: ServiceAccount, apiVersion: v1, metadata: {{name: {}}}}}", name));
        auto done = co_await (i % 3 ? client.create(config_maps, "gone", map(name, "gone"))
                                    : client.create(accounts, "gone", std::move(account)));
        if (done)
          ++made;
        else
          ++refused[done.error().code];
      }
      ended = true;
    });
    c.run_for(c.w.between(10ms, 60ms));
    // In the middle of one, until all is over.
    c.server(1).pause();
    c.remove(namespaces, "", "gone");
    CHECK(c.until([&] { return !c.exists("/registry/namespaces/gone"); }, 1min));
    c.server(1).resume();
    CHECK(c.until([&] { return ended; }, 1min));
    c.run_for(1s);
    CHECK(made > 0);
    CHECK(refused.contains(404));
    for (auto& [key, v] : c.all("/registry/")) CHECK_MESSAGE(v["metadata"]["namespace"].as_string() != "gone", key);
  }
}

TEST_CASE("pod-garbage-collector-controller: pods that nobody else ends") {
  for (auto seed : seeds(6)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"podgc"}});
    c.create(nodes, yaml("{kind: Node, apiVersion: v1, metadata: {name: here}}"));
    c.create(nodes, yaml("{kind: Node, apiVersion: v1, metadata: {name: broken}, spec: {taints: [{key: "
                         "node.kubernetes.io/out-of-service, value: x, effect: NoExecute}]}}"));
    c.create(pods, pod("runs", "default", "here"));
    c.create(pods, pod("orphan", "default", "nowhere"));
    c.create(pods, pod("on-broken", "default", "broken"));
    auto waits = pod("unbound", "default", "");
    waits.member("metadata").set("finalizers", yaml("[example.org/mine]"));
    c.create(pods, waits);
    c.crash_between_writes(0.03);
    c.remove(pods, "default", "unbound");
    c.remove(pods, "default", "on-broken");
    auto began = c.w.now();
    CHECK(c.until([&] { return !c.exists("/registry/pods/default/orphan"); }));
    CHECK(c.w.now() - began > 20s);  // not before its node had time to come back
    CHECK(c.until([&] { return !c.exists("/registry/pods/default/on-broken"); }));
    CHECK(c.until([&] { return c.get("/registry/pods/default/unbound")["status"]["phase"].as_string() == "Failed"; }));
    c.run_for(3min);
    CHECK(c.exists("/registry/pods/default/runs"));
  }
}

TEST_CASE("pod-garbage-collector-controller: of finished pods as many stay as may") {
  for (auto seed : seeds(6)) {
    CAPTURE(seed);
    control_options o{.servers = 2, .controllers = {"podgc"}};
    o.settings.terminated_pod_gc_threshold = 3;
    control_world c(seed, o);
    c.create(nodes, yaml("{kind: Node, apiVersion: v1, metadata: {name: here}}"));
    c.crash_between_writes(0.03);
    c.create(pods, pod("runs", "default", "here"));
    for (int i = 0; i < 6; ++i) {
      c.create(pods, pod(fmt::format("done{}", i), "default", "here"));
      c.set_status(pods, "default", fmt::format("done{}", i), [&](json::value& p) {
        p.member("status").set("phase", i == 5 ? "Failed" : "Succeeded");
        if (i == 5) p.member("status").set("reason", "Evicted");
      });
    }
    CHECK(c.until([&] { return c.count("/registry/pods/default/done") == 3; }));
    CHECK(!c.exists("/registry/pods/default/done5"));  // evicted ones first
    c.run_for(3min);
    CHECK(c.exists("/registry/pods/default/runs"));
    CHECK(c.count("/registry/pods/default/done") == 3);
  }
}

TEST_CASE("storage-version-migrator-controller: migrations of one resource end one after the other, whatever crashes") {
  const api::resource_id migrations{"storagemigration.k8s.io", "v1", "storageversionmigrations"};
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"svm"}});
    for (int i = 0; i < 100; ++i) c.create(config_maps, map(fmt::format("m{:02}", i)));
    c.crash_between_writes(0.05);
    auto is = [&](std::string_view name, std::string_view type, std::string_view status) {
      const auto list = c.get(fmt::format("/registry/storageversionmigrations/{}", name))["status"]["conditions"];
      for (std::size_t i = 0; i < list.size(); ++i)
        if (list[i]["type"].as_string() == type) return list[i]["status"].as_string() == status;
      return false;
    };
    for (auto name : {"a", "b", "c"})
      c.create(migrations,
               yaml(fmt::format("{{kind: StorageVersionMigration, apiVersion: storagemigration.k8s.io/v1, metadata: "
                                "{{name: {}}}, spec: {{resource: {{resource: configmaps}}}}}}",
                                name)));
    bool together = false;
    CHECK(c.until([&] {
      int over = 0, run = 0;
      for (auto name : {"a", "b", "c"}) {
        run += is(name, "Running", "True") && !is(name, "Succeeded", "True");
        over += is(name, "Running", "False") && is(name, "Succeeded", "True");
      }
      together = together || run > 1;
      return over == 3;
    }));
    CHECK(!together);
    CHECK(c.count("/registry/configmaps/default/m") == 100);
  }
}

TEST_CASE("resourcequota-controller: what went is given back") {
  for (auto seed : seeds(6)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"resourcequota"}});
    c.create(quotas, yaml("{kind: ResourceQuota, apiVersion: v1, metadata: {name: q, namespace: default}, spec: {hard: "
                          "{configmaps: '50', pods: '10'}}}"));
    auto used = [&](std::string_view what) {
      return std::string(c.get("/registry/resourcequotas/default/q")["status"]["used"][what].as_string());
    };
    CHECK(c.until([&] { return used("pods") == "0"; }));
    c.crash_between_writes(0.03);
    for (int i = 0; i < 10; ++i) c.create(config_maps, map(fmt::format("m{}", i)));
    for (int i = 0; i < 4; ++i) c.create(pods, pod(fmt::format("p{}", i), "default", "n"));
    CHECK(c.until([&] { return used("configmaps") == "10" && used("pods") == "4"; }));
    for (int i = 0; i < 7; ++i) c.remove(config_maps, "default", fmt::format("m{}", i));
    c.set_status(pods, "default", "p0", [](json::value& p) { p.member("status").set("phase", "Succeeded"); });
    c.remove(pods, "default", "p1", {.grace_seconds = 0});
    CHECK(c.until([&] { return used("configmaps") == "3" && used("pods") == "2"; }));
    c.run_for(1min);
    CHECK(used("configmaps") == "3");
  }
}

TEST_CASE("disruption-controller: a budget says how many may go") {
  for (auto seed : seeds(6)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"disruption"}});
    c.create(budgets, yaml("{kind: PodDisruptionBudget, apiVersion: policy/v1, metadata: {name: b, namespace: "
                           "default}, spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}}"));
    auto status = [&](std::string_view what) {
      return c.get("/registry/poddisruptionbudgets/default/b")["status"][what].as_integer(-1);
    };
    c.crash_between_writes(0.03);
    for (int i = 0; i < 4; ++i) {
      c.create(pods, pod(fmt::format("p{}", i), "default", "n"));
      if (i == 3) continue;
      c.set_status(pods, "default", fmt::format("p{}", i), [](json::value& p) {
        p.member("status").set("conditions", yaml("[{type: Ready, status: 'True'}]"));
      });
    }
    CHECK(c.until([&] {
      return status("expectedPods") == 4 && status("currentHealthy") == 3 && status("disruptionsAllowed") == 1;
    }));
    c.remove(pods, "default", "p0", {.grace_seconds = 0});
    CHECK(c.until([&] { return status("expectedPods") == 3 && status("disruptionsAllowed") == 0; }));
    // A mark that no deletion followed.
    c.set_status(pods, "default", "p1", [&](json::value& p) {
      p.member("status").set("conditions", yaml("[{type: DisruptionTarget, status: 'True', reason: "
                                                "EvictionByEvictionAPI, lastTransitionTime: '2027-01-15T09:00:00Z'}]"));
    });
    CHECK(c.until([&] {
      return c.get("/registry/pods/default/p1")["status"]["conditions"][0]["status"].as_string() == "False";
    }));
  }
}

TEST_CASE("service-cidr-controller: a range of addresses goes when nobody has one") {
  const api::resource_id ranges{"networking.k8s.io", "v1", "servicecidrs"},
      used{"networking.k8s.io", "v1", "ipaddresses"};
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"service-cidr-controller"}});
    c.crash_between_writes(0.05);
    const std::string key = "/registry/servicecidrs/extra";
    c.create(ranges,
             yaml("{kind: ServiceCIDR, apiVersion: networking.k8s.io/v1, metadata: {name: extra}, spec: {cidrs: "
                  "[10.99.0.0/24]}}"));
    c.create(used, yaml("{kind: IPAddress, apiVersion: networking.k8s.io/v1, metadata: {name: 10.99.0.5, labels: "
                        "{ipaddress.kubernetes.io/managed-by: ipallocator.k8s.io, ipaddress.kubernetes.io/ip-family: "
                        "IPv4}}, spec: {parentRef: {resource: services, namespace: default, name: x}}}"));
    auto ready = [&] { return c.get(key)["status"]["conditions"][0]["status"].as_string(); };
    CHECK(c.until([&] { return ready() == "True"; }));
    c.remove(ranges, "", "extra");
    CHECK(c.until([&] { return ready() == "False"; }));
    c.run_for(1min);
    CHECK(c.exists(key));
    c.remove(used, "", "10.99.0.5");
    CHECK(c.until([&] { return !c.exists(key); }));
  }
}
