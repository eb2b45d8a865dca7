#include "unit/control/scheduler/kit.h"

using namespace kedge;
using namespace kedge::control::scheduler;
using namespace kedge::control::scheduler::kit;

TEST_CASE("without nodes, and with one that is free") {
  world w;
  auto p = w.cluster.read_pod(a_pod("a"), {});
  auto found = w.place(p);
  CHECK(!found.node);
  CHECK(found.why.nodes == 0);
  w.cluster.set_node(a_node("n1"));
  CHECK(w.where(a_pod("a")) == "n1");
}

TEST_CASE("a pod gets only what is left") {
  world w;
  w.cluster.set_node(a_node("n1"));
  w.add(a_pod("b", asks("3", "1Gi"), "{}", "n1"));
  CHECK(w.where(a_pod("a", asks("1", "7Gi"))) == "n1");
  CHECK(w.where(a_pod("a", asks("1001m"))) == "0/1 nodes are available: 1 Insufficient cpu.");
  CHECK(w.where(a_pod("a", asks("2", "8Gi"))) == "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.");
  CHECK(w.where(a_pod("a", "containers: [{name: c, resources: {requests: {example.com/gpu: 1}}}]")) ==
        "0/1 nodes are available: 1 Insufficient example.com/gpu.");
  // A name that is no resource of nodes is nobody's.
  CHECK(w.where(a_pod("a", "containers: [{name: c, resources: {requests: {gpu: 1}}}]")) == "n1");
  w.cluster.set_node(a_node("n1", yaml("allocatable: {pods: \"1\"}")));
  CHECK(w.where(a_pod("a")) == "0/1 nodes are available: 1 Too many pods.");
}

TEST_CASE("who claims devices gets a node that has them, and the devices") {
  world w;
  w.cluster.set_node(a_node("n1"));
  w.cluster.set_node(a_node("n2"));
  auto& devices = w.cluster.devices();
  auto pod = a_pod("a", "resourceClaims: [{name: gpu, resourceClaimName: one}]");
  CHECK(w.where(pod) == "0/2 nodes are available: could not find ResourceClaim \"default/one\".");
  devices.set_claim(
      yaml("metadata: {name: one, namespace: default, uid: u1}\n"
           "spec: {devices: {requests: [{name: r, exactly: {deviceClassName: gpu, allocationMode: ExactCount, count: "
           "1}}]}}"));
  CHECK(w.where(pod) == "0/2 nodes are available: request r: device class gpu does not exist.");
  devices.set_class(yaml("{metadata: {name: gpu}, spec: {}}"));
  CHECK(w.where(pod) == "0/2 nodes are available: 2 cannot allocate all claims.");
  devices.set_slice(
      yaml("metadata: {name: s}\n"
           "spec: {driver: gpu.example.com, nodeName: n2, pool: {name: n2, generation: 1, resourceSliceCount: 1}, "
           "devices: [{name: d0}]}"));
  CHECK(w.where(pod) == "n2");
  // What is on its way to a claim is nobody else's.
  devices.assume(with_allocation(*devices.find_claim("default", "one"),
                                 yaml("devices: {results: [{request: r, driver: gpu.example.com, pool: n2, device: "
                                      "d0}]}")));
  CHECK(w.where(pod) == "0/2 nodes are available: resource claim default/one is in the process of being allocated.");
  devices.set_claim(
      yaml("metadata: {name: two, namespace: default, uid: u2}\n"
           "spec: {devices: {requests: [{name: r, exactly: {deviceClassName: gpu, allocationMode: ExactCount, count: "
           "1}}]}}"));
  auto other = a_pod("b", "resourceClaims: [{name: gpu, resourceClaimName: two}]");
  CHECK(w.where(other) == "0/2 nodes are available: 2 cannot allocate all claims.");
  devices.forget("u1");
  CHECK(w.where(other) == "n2");
}

TEST_CASE("init containers, sidecars, overhead and resources of the pod count as KEP-753 and KEP-2837 say") {
  world w;
  w.cluster.set_node(a_node("n1"));
  auto read = [&](std::string_view spec) { return w.cluster.read_pod(a_pod("a", spec), {})->is->requests.milli_cpu; };
  CHECK(read("containers: [{name: c, resources: {requests: {cpu: 1}}}]\ninitContainers: [{name: i, resources: "
             "{requests: {cpu: 3}}}]") == 3000);
  CHECK(read("containers: [{name: c, resources: {requests: {cpu: 1}}}]\n"
             "initContainers: [{name: s, restartPolicy: Always, resources: {requests: {cpu: 2}}}, {name: i, resources: "
             "{requests: {cpu: 500m}}}]") == 3000);
  CHECK(read("containers: [{name: c, resources: {requests: {cpu: 1}}}]\n"
             "initContainers: [{name: s, restartPolicy: Always, resources: {requests: {cpu: 2}}}, {name: i, resources: "
             "{requests: {cpu: 2}}}]") == 4000);
  CHECK(read("overhead: {cpu: 250m}\ncontainers: [{name: c, resources: {requests: {cpu: 1}}}]") == 1250);
  CHECK(read("resources: {requests: {cpu: 5}}\noverhead: {cpu: 250m}\ncontainers: [{name: c, resources: {requests: "
             "{cpu: 1}}}]") == 5250);
}

TEST_CASE("taints, cordons and names of nodes") {
  world w;
  w.cluster.set_node(a_node("n1", yaml("taints: [{key: k, value: v, effect: NoSchedule}]")));
  CHECK(w.where(a_pod("a")) == "0/1 nodes are available: 1 node(s) had untolerated taint(s).");
  CHECK(w.where(a_pod("a", "tolerations: [{key: k, value: v, effect: NoSchedule}]")) == "n1");
  CHECK(w.where(a_pod("a", "tolerations: [{key: k, operator: Exists}]")) == "n1");
  CHECK(w.where(a_pod("a", "tolerations: [{operator: Exists}]")) == "n1");
  CHECK(w.where(a_pod("a", "tolerations: [{key: k, value: w}]")) ==
        "0/1 nodes are available: 1 node(s) had untolerated taint(s).");
  CHECK(w.where(a_pod("a", "tolerations: [{key: k, value: v, effect: NoExecute}]")) ==
        "0/1 nodes are available: 1 node(s) had untolerated taint(s).");
  w.cluster.set_node(a_node("n2", yaml("unschedulable: true")));
  CHECK(w.where(a_pod("a")) ==
        "0/2 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable.");
  CHECK(w.where(a_pod("a", "tolerations: [{key: node.kubernetes.io/unschedulable, operator: Exists}]")) == "n2");
}

TEST_CASE("node selectors and node affinity") {
  world w;
  w.cluster.set_node(a_node("n1", yaml("labels: {zone: a, num: \"5\"}")));
  w.cluster.set_node(a_node("n2", yaml("labels: {zone: b}")));
  constexpr auto none = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.";
  CHECK(w.where(a_pod("p", "nodeSelector: {zone: a}")) == "n1");
  CHECK(w.where(a_pod("p", "nodeSelector: {zone: c}")) == none);
  auto required = [](std::string term) {
    return "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [" + term +
           "]}}}";
  };
  CHECK(w.where(a_pod("p", required("{matchExpressions: [{key: zone, operator: In, values: [b, c]}]}"))) == "n2");
  CHECK(w.where(a_pod("p", required("{matchExpressions: [{key: zone, operator: NotIn, values: [b]}]}"))) == "n1");
  CHECK(w.where(a_pod("p", required("{matchExpressions: [{key: num, operator: Gt, values: [\"4\"]}]}"))) == "n1");
  CHECK(w.where(a_pod("p", required("{matchExpressions: [{key: num, operator: Lt, values: [\"5\"]}]}"))) == none);
  CHECK(w.where(a_pod("p", required("{}"))) == none);
  CHECK(w.where(a_pod("p", required("{matchExpressions: [{key: none, operator: Exists}]}, {matchFields: [{key: "
                                    "metadata.name, operator: In, values: [n2]}]}"))) == "n2");
  CHECK(w.where(a_pod("p", required("{matchFields: [{key: metadata.name, operator: In, values: [n9]}]}"))) ==
        "0/2 nodes are available: 2 node(s) didn't satisfy plugin(s) [NodeAffinity].");
  CHECK(w.where(a_pod("p", required("{matchFields: [{key: metadata.name, operator: In, values: [n1]}, {key: "
                                    "metadata.name, operator: In, values: [n2]}]}"))) ==
        "0/2 nodes are available: pod affinity terms conflict.");
  CHECK(w.where(a_pod("p",
                      "affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, "
                      "preference: {matchExpressions: [{key: zone, operator: In, values: [b]}]}}]}}")) == "n2");
}

TEST_CASE("a host port is one pod's of a node") {
  world w;
  w.cluster.set_node(a_node("n1"));
  w.add(a_pod("a", "containers: [{name: c, ports: [{containerPort: 80, hostPort: 80}]}]", "{}", "n1"));
  constexpr auto none = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.";
  CHECK(w.where(a_pod("p", "containers: [{name: c, ports: [{containerPort: 80, hostPort: 80}]}]")) == none);
  CHECK(w.where(a_pod("p", "containers: [{name: c, ports: [{containerPort: 80, hostPort: 80, hostIP: 127.0.0.1}]}]")) ==
        none);
  CHECK(w.where(a_pod("p", "containers: [{name: c, ports: [{containerPort: 80, hostPort: 80, protocol: UDP}]}]")) ==
        "n1");
  CHECK(w.where(a_pod("p", "containers: [{name: c, ports: [{containerPort: 80, hostPort: 81}]}]")) == "n1");
  w.cluster.remove_pod("default", "a");
  CHECK(w.where(a_pod("p", "containers: [{name: c, ports: [{containerPort: 80, hostPort: 80}]}]")) == "n1");
}

TEST_CASE("pods near others, and far from them") {
  world w;
  for (auto n : {"n1", "n2", "n3"})
    w.cluster.set_node(a_node(n, yaml(n == std::string("n3") ? "labels: {zone: b}" : "labels: {zone: a}")));
  auto term = [](std::string key) { return "[{topologyKey: " + key + ", labelSelector: {matchLabels: {app: web}}}]"; };
  auto near = [&](std::string key) {
    return "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: " + term(key) + "}}";
  };
  auto far = [&](std::string key) {
    return "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: " + term(key) + "}}";
  };
  SUBCASE("nobody there yet") {
    CHECK(w.where(a_pod("p", near("zone"))) == "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.");
    CHECK(w.where(a_pod("p", near("zone"), "{app: web}")).starts_with("n"));  // it is its own company
  }
  SUBCASE("near one") {
    w.add(a_pod("web", "{}", "{app: web}", "n3"));
    CHECK(w.where(a_pod("p", near("zone"))) == "n3");
    CHECK(w.where(a_pod("p", near("kubernetes.io/hostname"))) == "n3");
    CHECK(w.where(a_pod("p", far("zone"))) != "n3");
  }
  SUBCASE("far from all, by either's wish") {
    for (auto n : {"n1", "n2", "n3"}) w.add(a_pod(std::string("web-") + n, "{}", "{app: web}", n));
    CHECK(w.where(a_pod("p", far("kubernetes.io/hostname"))) ==
          "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.");
    for (auto n : {"n1", "n2", "n3"}) w.add(a_pod(std::string("alone-") + n, far("kubernetes.io/hostname"), "{}", n));
    CHECK(w.where(a_pod("p", "{}", "{app: web}")) ==
          "0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules.");
    CHECK(w.where(a_pod("p", "{}", "{app: other}")).starts_with("n"));
  }
  SUBCASE("namespaces") {
    auto other = a_pod("web", "{}", "{app: web}", "n2");
    other.member("metadata").set("namespace", "red");
    w.add(other);
    w.cluster.set_namespace("red", yaml("{team: r}"));
    CHECK(w.where(a_pod("p", near("zone"))) == "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.");
    CHECK(w.where(a_pod("p",
                        "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: "
                        "kubernetes.io/hostname, namespaces: [red], labelSelector: {matchLabels: {app: web}}}]}}")) ==
          "n2");
    CHECK(w.where(a_pod("p",
                        "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: "
                        "kubernetes.io/hostname, namespaceSelector: {matchLabels: {team: r}}, labelSelector: "
                        "{matchLabels: {app: web}}}]}}")) == "n2");
  }
  SUBCASE("preferred") {
    w.add(a_pod("web", "{}", "{app: web}", "n2"));
    CHECK(
        w.where(a_pod(
            "p",
            "affinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, podAffinityTerm: "
            "{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}}]}}")) == "n2");
  }
}

TEST_CASE("topology spread") {
  world w;
  for (auto n : {"n1", "n2"}) w.cluster.set_node(a_node(n, yaml("labels: {zone: a}")));
  w.cluster.set_node(a_node("n3", yaml("labels: {zone: b}")));
  auto spread = [](std::string more = {}) {
    return "topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, "
           "labelSelector: {matchLabels: {app: web}}" +
           more + "}]";
  };
  w.add(a_pod("w1", spread(), "{app: web}", "n1"));
  CHECK(w.where(a_pod("p", spread(), "{app: web}")) == "n3");
  w.add(a_pod("w2", spread(), "{app: web}", "n3"));
  w.add(a_pod("w3", spread(), "{app: web}", "n2"));
  CHECK(w.where(a_pod("p", spread(), "{app: web}")) == "n3");
  w.cluster.set_node(a_node("n3", yaml("labels: {zone: b}\nunschedulable: true")));
  CHECK(
      w.where(a_pod("p", spread(), "{app: web}")) ==
      "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't match pod topology spread constraints.");
  // Tainted nodes don't count when the constraint says so.
  w.cluster.set_node(a_node("n3", yaml("labels: {zone: b}\ntaints: [{key: k, effect: NoSchedule}]")));
  CHECK(w.where(a_pod("p", spread(", nodeTaintsPolicy: Honor"), "{app: web}")).starts_with("n"));
  w.cluster.remove_node("n3");
  CHECK(w.where(a_pod("p", spread(", minDomains: 2"), "{app: web}")) ==
        "0/2 nodes are available: 2 node(s) didn't match pod topology spread constraints.");
  w.cluster.set_node(a_node("n4"));
  CHECK(w.where(a_pod("p", spread(", minDomains: 3"), "{app: web}")) ==
        "0/3 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label), 2 "
        "node(s) didn't match pod topology spread constraints.");
}

TEST_CASE("pods of one service spread over hosts without being told") {
  world w;
  for (auto n : {"n1", "n2", "n3"}) w.cluster.set_node(a_node(n));
  w.cluster.set_selector("Service", "default", "web", yaml("{app: web}"));
  std::set<std::string> used;
  for (int i = 0; i < 3; ++i) {
    auto name = "w" + std::to_string(i);
    auto where = w.where(a_pod(name, asks("100m", "100Mi"), "{app: web}"));
    used.insert(where);
    w.add(a_pod(name, asks("100m", "100Mi"), "{app: web}", where));
  }
  CHECK(used.size() == 3);
}

TEST_CASE("a node that has the image is preferred") {
  world w;
  w.cluster.set_node(a_node("n1"));
  w.cluster.set_node(a_node("n2", yaml("images: [{names: [\"docker.io/big:latest\"], sizeBytes: 800000000}]")));
  CHECK(w.where(a_pod("p", "containers: [{name: c, image: docker.io/big}]")) == "n2");
}
