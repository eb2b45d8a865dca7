// Controllers of nodes, as they run: silent nodes, zones, evictions, what is left of a node that is gone.
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
const api::resource_id leases{"coordination.k8s.io", "v1", "leases"};

std::string node_key(const std::string& name) { return "/registry/minions/" + name; }
std::string pod_key(const std::string& name) { return "/registry/pods/default/" + name; }

std::string_view condition(const json::value& o, std::string_view type) {
  auto& list = o["status"]["conditions"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["type"].as_string() == type) return list[i]["status"].as_string();
  return {};
}

bool has_taint(const json::value& node, std::string_view key, std::string_view effect = "NoExecute") {
  auto& list = node["spec"]["taints"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["key"].as_string() == key && list[i]["effect"].as_string() == effect) return true;
  return false;
}

// Kubelets, as far as the API sees them: a status once, a Lease every ten seconds while they live.
struct kubelets {
  control_world& c;
  std::set<std::string> alive = {};
  std::string renewed = {};

  void add(const std::string& name, const std::string& zone = {}) {
    auto node = yaml(fmt::format(
        "{{kind: Node, apiVersion: v1, metadata: {{name: {}, labels: {{kubernetes.io/os: linux}}}}}}", name));
    if (!zone.empty()) node.member("metadata").member("labels").set("topology.kubernetes.io/zone", zone);
    c.create(nodes, node);
    c.create(
        leases,
        yaml(fmt::format(
            "{{kind: Lease, apiVersion: coordination.k8s.io/v1, metadata: {{name: {}, namespace: kube-node-lease}}, "
            "spec: {{holderIdentity: x, leaseDurationSeconds: 40}}}}",
            name)));
    c.set_status(nodes, "", name, [](json::value& n) {
      n.member("status").set("conditions",
                             yaml("[{type: Ready, status: 'True', lastHeartbeatTime: '2026-01-01T00:00:00Z'}]"));
    });
    alive.insert(name);
  }
  // Lives for a while: who is alive renews.
  void live(duration d) {
    for (auto end = c.w.now() + d; c.w.now() < end;) {
      renewed = format_rfc3339_micro(wall_time(c.w.now().time_since_epoch()));
      (void)c.act([this](api::objects& o) -> task<std::string> {
        for (auto& name : alive)
          (void)co_await o.modify(leases, "kube-node-lease", name,
                                  [&](json::value& l) { return l.member("spec").set("renewTime", renewed), true; });
        co_return "";
      });
      c.run_for(std::min<duration>(5s, end - c.w.now()));
    }
  }
  bool live_until(const std::function<bool()>& done, duration limit) {
    for (auto end = c.w.now() + limit; c.w.now() < end && !done();) live(5s);
    return done();
  }
};

json::value pod(const std::string& name, const std::string& node, std::string_view tolerations = "[]") {
  return yaml(
      fmt::format("{{kind: Pod, apiVersion: v1, metadata: {{name: {}, namespace: default}}, "
                  "spec: {{nodeName: '{}', terminationGracePeriodSeconds: 30, containers: [{{name: c, image: i}}], "
                  "tolerations: {}}}}}",
                  name, node, tolerations));
}
void make_pod(control_world& c, const std::string& name, const std::string& node, std::string_view tolerations = "[]") {
  c.create(pods, pod(name, node, tolerations));
  c.set_status(pods, "default", name, [](json::value& p) {
    p.member("status").set("phase", "Running");
    p.member("status").set("conditions", yaml("[{type: Ready, status: 'True'}]"));
  });
}

}  // namespace

TEST_CASE(
    "node-lifecycle-controller, taint-eviction-controller: a silent node of many is marked, tainted, and its pods go") {
  for (auto seed : seeds(6)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2});
    kubelets k{c};
    for (int i = 0; i < 4; ++i) k.add(fmt::format("n{}", i));
    make_pod(c, "stays", "n0");
    make_pod(c, "goes", "n1",
             "[{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 0}]");
    make_pod(c, "later", "n1",
             "[{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 60}]");
    make_pod(c, "never", "n1", "[{operator: Exists}]");
    c.crash_between_writes(0.02);
    k.live(90s);
    for (int i = 0; i < 4; ++i) CHECK(condition(c.get(node_key(fmt::format("n{}", i))), "Ready") == "True");
    k.alive.erase("n1");
    REQUIRE(k.live_until([&] { return condition(c.get(node_key("n1")), "Ready") == "Unknown"; }, 5min));
    CHECK(k.live_until(
        [&] {
          return condition(c.get(pod_key("later")), "Ready") == "False" &&
                 condition(c.get(pod_key("never")), "Ready") == "False";
        },
        1min));
    CHECK(k.live_until([&] { return has_taint(c.get(node_key("n1")), "node.kubernetes.io/unreachable"); }, 2min));
    CHECK(has_taint(c.get(node_key("n1")), "node.kubernetes.io/unreachable", "NoSchedule"));
    CHECK(k.live_until([&] { return c.get(pod_key("goes"))["metadata"]["deletionTimestamp"].is_string(); }, 2min));
    CHECK(k.live_until([&] { return c.get(pod_key("later"))["metadata"]["deletionTimestamp"].is_string(); }, 5min));
    CHECK(!c.get(pod_key("never"))["metadata"]["deletionTimestamp"].is_string());
    CHECK(!c.get(pod_key("stays"))["metadata"]["deletionTimestamp"].is_string());
    CHECK(condition(c.get(pod_key("stays")), "Ready") == "True");
    for (auto name : {"n0", "n2", "n3"}) CHECK(c.get(node_key(name))["spec"]["taints"].empty());
    // It comes back: the taints go.
    k.alive.insert("n1");
    c.set_status(nodes, "", "n1", [](json::value& n) {
      n.member("status").set("conditions",
                             yaml("[{type: Ready, status: 'True', lastHeartbeatTime: '2026-01-01T01:00:00Z'}]"));
    });
    CHECK(k.live_until([&] { return c.get(node_key("n1"))["spec"]["taints"].empty(); }, 2min));
  }
}

TEST_CASE("node-lifecycle-controller: when all nodes fall silent, nobody is evicted") {
  for (auto seed : seeds(6)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2});
    kubelets k{c};
    for (int i = 0; i < 4; ++i) {
      k.add(fmt::format("n{}", i), i < 2 ? "east" : "west");
      make_pod(c, fmt::format("p{}", i), fmt::format("n{}", i),
               "[{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 3}]");
    }
    c.crash_between_writes(0.02);
    k.live(90s);
    auto all = std::exchange(k.alive, {});
    CHECK(k.live_until(
        [&] {
          for (auto& n : all)
            if (condition(c.get(node_key(n)), "Ready") != "Unknown") return false;
          return true;
        },
        5min));
    k.live(10min);
    for (int i = 0; i < 4; ++i) {
      CHECK(!has_taint(c.get(node_key(fmt::format("n{}", i))), "node.kubernetes.io/unreachable"));
      CHECK(has_taint(c.get(node_key(fmt::format("n{}", i))), "node.kubernetes.io/unreachable", "NoSchedule"));
      CHECK(!c.get(pod_key(fmt::format("p{}", i)))["metadata"]["deletionTimestamp"].is_string());
    }
    // One comes back: now the others' silence is theirs.
    k.alive = {"n0"};
    c.set_status(nodes, "", "n0", [](json::value& n) {
      n.member("status").set("conditions",
                             yaml("[{type: Ready, status: 'True', lastHeartbeatTime: '2026-01-01T01:00:00Z'}]"));
    });
    CHECK(k.live_until([&] { return has_taint(c.get(node_key("n2")), "node.kubernetes.io/unreachable"); }, 10min));
    CHECK(k.live_until([&] { return c.get(pod_key("p2"))["metadata"]["deletionTimestamp"].is_string(); }, 10min));
    CHECK(!c.get(pod_key("p0"))["metadata"]["deletionTimestamp"].is_string());
  }
}

TEST_CASE("node-lifecycle-controller: while the database is away nobody falls silent") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed);
    kubelets k{c};
    for (int i = 0; i < 3; ++i) k.add(fmt::format("n{}", i));
    k.live(60s);
    bool away = true;
    c.db.faults.fail_before_commit = c.db.faults.fail_read = [&]() -> std::optional<error> {
      if (away) return error{errc::unavailable, "the database is away"};
      return std::nullopt;
    };
    c.run_for(3min);
    away = false;
    k.live(3min);
    for (auto& [key, n] : c.all("/registry/minions/")) {
      CHECK(condition(n, "Ready") == "True");
      CHECK(n["spec"]["taints"].empty());
    }
    CHECK(c.events("n0").size() == 1);  // RegisteredNode
  }
}

TEST_CASE(
    "node-ipam-controller, cloud-node-controller: each node gets a block of its own, and what its agent says of it") {
  for (auto seed : seeds(6)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2});
    c.crash_between_writes(0.05);
    for (int i = 0; i < 12; ++i)
      c.create(nodes, yaml(fmt::format("{{kind: Node, apiVersion: v1, metadata: {{name: n{0}, annotations: "
                                       "{{k3s.io/internal-ip: 10.0.0.{0}, k3s.io/hostname: n{0}}}}}, "
                                       "spec: {{taints: [{{key: node.cloudprovider.kubernetes.io/uninitialized, value: "
                                       "'true', effect: NoSchedule}}]}}}}",
                                       i + 1)));
    CHECK(c.until([&] {
      std::set<std::string> blocks;
      for (auto& [key, n] : c.all("/registry/minions/")) {
        blocks.insert(std::string(n["spec"]["podCIDR"].as_string()));
        if (n["spec"]["providerID"].as_string().empty() || n["status"]["addresses"].size() != 2 ||
            has_taint(n, "node.cloudprovider.kubernetes.io/uninitialized", "NoSchedule"))
          return false;
      }
      return blocks.size() == 12 && !blocks.contains("");
    }));
  }
}

TEST_CASE("service-lb-controller: two leaders give a LoadBalancer the addresses of the nodes that are there") {
  for (auto seed : seeds(6)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2});
    c.crash_between_writes(0.05);
    for (int i = 0; i < 5; ++i)
      c.create(
          nodes,
          yaml(fmt::format(
              "{{kind: Node, apiVersion: v1, metadata: {{name: n{0}}}, "
              "status: {{addresses: [{{type: InternalIP, address: 10.0.0.{0}}}], conditions: [{{type: Ready, status: "
              "'True', lastHeartbeatTime: '2026-01-01T00:00:00Z', lastTransitionTime: '2026-01-01T00:00:00Z'}}]}}}}",
              i + 1)));
    c.create({"", "v1", "services"}, yaml("{kind: Service, apiVersion: v1, metadata: {name: web, namespace: default}, "
                                          "spec: {type: LoadBalancer, ports: [{port: 80}]}}"));
    CHECK(c.until([&] {
      for (auto& [key, s] : c.all("/registry/services/specs/default/"))
        if (s["metadata"]["name"] == "web") return s["status"]["loadBalancer"]["ingress"].size() == 5;
      return false;
    }));
  }
}

TEST_CASE("ttl-controller: nodes are told how long they may keep what they read") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"ttl"}});
    c.crash_between_writes(0.05);
    auto told = [&](std::string_view node) {
      return c.get(fmt::format("/registry/minions/{}", node))["metadata"]["annotations"]["node.alpha.kubernetes.io/ttl"]
                 .as_string() == "0";
    };
    for (auto name : {"a", "b"})
      c.create(nodes, yaml(fmt::format("{{kind: Node, apiVersion: v1, metadata: {{name: {}}}}}", name)));
    CHECK(c.until([&] { return told("a") && told("b"); }));
    c.change(nodes, "", "a", [](json::value& v) { v.member("metadata").erase("annotations"); });
    CHECK(c.until([&] { return told("a"); }));
  }
}
