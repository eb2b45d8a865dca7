#include "node/status/node_status.h"

#include <doctest/doctest.h>

#include "base/strings.h"
#include "json/patch.h"
#include "json/write.h"

using namespace kedge;
using namespace kedge::node;
using namespace std::chrono_literals;

namespace {

// The machine, the options and the moment of a real K3s node; the wanted values below are what that node's kubelet
// wrote.
struct fixture {
  agent_config config;
  system_info machine;
  runtime_state runtime;
  node_pressure pressure;
  wall_time now = parse_rfc3339("2026-11-21T04:50:49Z").value();

  fixture() {
    config.node_name = "k3sn";
    config.node_ips = {"10.0.0.1", "fd00::2"};
    config.version = "v1.36.3+k3s1";
    machine.cpus = 2;
    machine.memory_bytes = 24684092ULL * 1024;
    machine.storage_bytes = 264212084ULL * 1024;
    machine.storage_available_bytes = machine.storage_bytes / 2;
    machine.hugepages = {{2048 * 1024, 0}, {1024 * 1024 * 1024, 0}};
    machine.machine_id = machine.system_uuid = "3d1219c7c4c5404aaa1f6d2a48adfda4";
    machine.boot_id = "64ddb96d-0fbf-4a0c-bb9a-6c8165a31641";
    machine.kernel_version = "6.18.44";
    machine.os_image = "Debian GNU/Linux 12 (bookworm)";
    machine.architecture = "amd64";
    machine.hostname = "vm";
    runtime.error.clear();
    runtime.name = "containerd";
    runtime.version = "1.6.20";
    runtime.runtime.ready = runtime.network.ready = true;
    runtime.images = {{{"registry.k8s.io/pause:3.6"}, 1987227}, {{"docker.io/library/busybox:latest"}, 2007685}};
  }
  json::value describe(const json::value& previous = {}) {
    return describe_node({config, machine, runtime, pressure}, previous, now);
  }
};

std::string text(const json::value& v) { return json::write(v); }

// What the API server makes of a strategic merge patch of a status: conditions by type, the rest as a merge patch.
json::value apply_status(json::value node, const json::value& patch) {
  auto rest = patch;
  auto conditions = patch["status"]["conditions"];
  if (auto* s = rest.find("status")) {
    s->erase("conditions");
    if (auto* a = s->find("addresses")) a->array()->pop_back();  // its {"$patch":"replace"}
  }
  node = json::apply_merge_patch(std::move(node), rest);
  if (conditions.is_array())
    for (auto& c : *conditions.array()) {
      auto& list = node.member("status").member("conditions").make_array();
      std::erase_if(list, [&](auto& old) { return old["type"] == c["type"]; });
      list.push_back(c);
    }
  return node;
}

}  // namespace

TEST_CASE_FIXTURE(fixture, "a node describes itself as the kubelet does") {
  auto n = describe();
  CHECK(n["metadata"]["name"] == "k3sn");
  CHECK(
      text(n["status"]["capacity"]) ==
      R"({"cpu":"2","ephemeral-storage":"264212084Ki","hugepages-2Mi":"0","hugepages-1Gi":"0","memory":"24684092Ki","pods":"110"})");
  CHECK(
      text(n["status"]["allocatable"]) ==
      R"({"cpu":"2","ephemeral-storage":"257025515114","hugepages-2Mi":"0","hugepages-1Gi":"0","memory":"24684092Ki","pods":"110"})");
  CHECK(
      text(n["status"]["addresses"]) ==
      R"([{"address":"10.0.0.1","type":"InternalIP"},{"address":"fd00::2","type":"InternalIP"},{"address":"k3sn","type":"Hostname"}])");
  CHECK(text(n["status"]["daemonEndpoints"]) == R"({"kubeletEndpoint":{"Port":10250}})");
  CHECK(
      text(n["status"]["images"]) ==
      R"([{"names":["docker.io/library/busybox:latest"],"sizeBytes":2007685},{"names":["registry.k8s.io/pause:3.6"],"sizeBytes":1987227}])");
  CHECK(
      text(n["status"]["nodeInfo"]) ==
      R"({"architecture":"amd64","bootID":"64ddb96d-0fbf-4a0c-bb9a-6c8165a31641","containerRuntimeVersion":"containerd://1.6.20",)"
      R"("kernelVersion":"6.18.44","kubeProxyVersion":"","kubeletVersion":"v1.36.3+k3s1","machineID":"3d1219c7c4c5404aaa1f6d2a48adfda4",)"
      R"~("operatingSystem":"linux","osImage":"Debian GNU/Linux 12 (bookworm)","systemUUID":"3d1219c7c4c5404aaa1f6d2a48adfda4"})~");
  auto& labels = n["metadata"]["labels"];
  CHECK(labels["kubernetes.io/hostname"] == "k3sn");
  CHECK(labels["kubernetes.io/arch"] == "amd64");
  CHECK(labels["beta.kubernetes.io/os"] == "linux");
  CHECK(labels["node.kubernetes.io/instance-type"] == "k3s");
  // A node may not give itself a role (NodeRestriction).
  CHECK_FALSE(labels.find("node-role.kubernetes.io/control-plane"));
  auto& annotations = n["metadata"]["annotations"];
  CHECK(annotations["k3s.io/internal-ip"] == "10.0.0.1,fd00::2");
  CHECK(annotations["k3s.io/hostname"] == "vm");
  CHECK(annotations["alpha.kubernetes.io/provided-node-ip"] == "10.0.0.1,fd00::2");
  CHECK(annotations["volumes.kubernetes.io/controller-managed-attach-detach"] == "true");
  CHECK(n["spec"]["providerID"] == "k3s://k3sn");
}

TEST_CASE_FIXTURE(fixture, "ready only when the runtime and its network are, else the kubelet's words say why") {
  struct row {
    const char* error;
    bool runtime_ready, network_ready;
    const char* status;
    const char* message;
  };
  for (auto& r : {
           row{"", true, true, "True", "kubelet is posting ready status"},
           row{"container runtime is down: x", true, true, "False", "container runtime is down: x"},
           row{"", true, false, "False", "container runtime network not ready: NetworkReady=false reason:R message:M"},
           row{"", false, false, "False",
               "[container runtime not ready: RuntimeReady=false reason:R message:M, container runtime network not "
               "ready: "
               "NetworkReady=false reason:R message:M]"},
       }) {
    runtime.error = r.error;
    runtime.runtime = {r.runtime_ready, "R", "M"};
    runtime.network = {r.network_ready, "R", "M"};
    auto n = describe();
    CAPTURE(r.message);
    CHECK(condition_status(n, "Ready") == r.status);
    CHECK(n["status"]["conditions"][std::size_t{3}]["message"] == r.message);
    CHECK(n["status"]["conditions"][std::size_t{3}]["reason"] ==
          (std::string_view(r.status) == "True" ? "KubeletReady" : "KubeletNotReady"));
  }
}

TEST_CASE_FIXTURE(fixture, "a condition keeps its transition time until its status changes") {
  auto first = describe();
  now += 10s;
  auto second = describe(first);
  auto ready = [](const json::value& n) { return n["status"]["conditions"][std::size_t{3}]; };
  CHECK(ready(second)["lastHeartbeatTime"] == "2026-11-21T04:50:59Z");
  CHECK(ready(second)["lastTransitionTime"] == "2026-11-21T04:50:49Z");
  runtime.error = "container runtime is down";
  auto third = describe(second);
  CHECK(ready(third)["lastTransitionTime"] == "2026-11-21T04:50:59Z");
  pressure.disk = true;
  CHECK(condition_status(describe(third), "DiskPressure") == "True");
}

TEST_CASE_FIXTURE(fixture, "status is written when it changed or a heartbeat is due, and then only what changed") {
  auto existing = describe();
  now += 10s;
  auto wanted = describe(existing);
  CHECK(status_patch(existing, wanted, false).is_null());
  auto beat = status_patch(existing, wanted, true);
  CHECK(beat["status"].size() == 1);
  CHECK(beat["status"]["conditions"].size() == 4);

  SUBCASE("what belongs to the addresses is the cloud controller's word, as long as they are this machine's") {
    auto& all = existing.member("status").member("addresses").make_array();
    all.pop_back();
    all.push_back(json::object{{"address", "vm"}, {"type", "Hostname"}});
    CHECK(status_patch(existing, describe(existing), false).is_null());
    config.node_ips = {"10.0.0.9"};
    CHECK(status_patch(existing, describe(existing), false)["status"]["addresses"].size() == 3);
  }
  SUBCASE("addresses are replaced as a whole") {
    config.node_ips = {"10.0.0.9"};
    auto p = status_patch(existing, describe(existing), false);
    CHECK(text(p["status"]["addresses"]) ==
          R"([{"address":"10.0.0.9","type":"InternalIP"},{"address":"k3sn","type":"Hostname"},{"$patch":"replace"}])");
  }
  SUBCASE("a resource that went away is removed") {
    machine.hugepages.erase(1024 * 1024 * 1024);
    auto p = status_patch(existing, describe(existing), false);
    CHECK(text(p["status"]["capacity"]) == R"({"hugepages-1Gi":null})");
  }
  SUBCASE("after the patch nothing is left to write") {
    machine.cpus = 8;
    config.node_ips = {"10.0.0.9"};
    runtime.error = "container runtime is down";
    runtime.images.clear();
    auto next = describe(existing);
    auto patched = apply_status(existing, status_patch(existing, next, false));
    CHECK(status_patch(patched, next, false).is_null());
    CHECK(patched["status"]["capacity"]["cpu"] == "8");
  }
  SUBCASE("a condition of somebody else's is left alone") {
    existing.member("status")
        .member("conditions")
        .push_back(json::object{{"type", "NetworkUnavailable"}, {"status", "False"}});
    CHECK(status_patch(existing, wanted, false).is_null());
    CHECK(condition_status(apply_status(existing, beat), "NetworkUnavailable") == "False");
  }
  SUBCASE("a server that leaves out an empty image list made no change") {
    runtime.images.clear();
    auto bare = describe();
    auto stored = bare;
    stored.member("status").erase("images");
    CHECK(status_patch(stored, bare, false).is_null());
  }
}

TEST_CASE_FIXTURE(fixture, "an existing node gets what is missing and keeps what others gave it") {
  config.node_labels = {"zone=a"};
  config.node_taints = {"k3s-controlplane=true:NoExecute"};
  REQUIRE(check_config(config));
  auto wanted = describe();
  CHECK(text(wanted["spec"]["taints"]) == R"([{"effect":"NoExecute","key":"k3s-controlplane","value":"true"}])");
  auto existing = wanted;
  CHECK(registration_patch(existing, wanted).is_null());
  existing.member("metadata").member("labels").set("zone", "b");
  existing.member("metadata").member("labels").set("theirs", "x");
  existing.member("spec").erase("taints");
  existing.member("spec").erase("providerID");
  auto p = registration_patch(existing, wanted);
  CHECK(text(p) == R"({"metadata":{"labels":{"zone":"a"}},"spec":{"providerID":"k3s://k3sn"}})");
}

TEST_CASE_FIXTURE(fixture, "without the cloud controller the node says nothing in its place") {
  config.disable_cloud_controller = true;
  auto n = describe();
  CHECK_FALSE(n["metadata"]["annotations"].find("k3s.io/internal-ip"));
  CHECK_FALSE(n["spec"].find("providerID"));
  CHECK_FALSE(n["metadata"]["labels"].find("node.kubernetes.io/instance-type"));
}

TEST_CASE_FIXTURE(fixture, "the image list is bounded: 50 images, the largest first, five names each") {
  runtime.images.clear();
  for (unsigned i = 0; i < 80; ++i) runtime.images.push_back({{"a", "b", "c", "d", "e", "f"}, i});
  auto images = describe()["status"]["images"];
  REQUIRE(images.size() == 50);
  CHECK(images[std::size_t{0}]["sizeBytes"].as_integer() == 79);
  CHECK(images[std::size_t{0}]["names"].size() == 5);
}

TEST_CASE("a malformed label or taint of the configuration is named") {
  agent_config c;
  c.node_labels = {"fine=1", "not fine"};
  CHECK(check_config(c).error().message.contains("not fine"));
  c.node_labels.clear();
  c.node_taints = {"x:Sometimes"};
  CHECK(check_config(c).error().message.contains("x:Sometimes"));
}

TEST_CASE("a server's node gets its role once") {
  json::value n(json::object{{"metadata", json::object{{"name", "a"}}}});
  CHECK(text(server_role_patch(n)) == R"({"metadata":{"labels":{"node-role.kubernetes.io/control-plane":"true"}}})");
  n = json::apply_merge_patch(n, server_role_patch(n));
  CHECK(server_role_patch(n).is_null());
}

TEST_CASE("what is kept from pods, and thresholds at which they go, are no part of what they may have") {
  fixture f;
  auto before = f.describe()["status"];
  f.config.kubelet.system_reserved = {{"cpu", schema::quantity::of_milli(250)},
                                      {"memory", schema::quantity::of(1 << 20)}};
  f.config.kubelet.kube_reserved = {{"memory", schema::quantity::of(1 << 20)}};
  f.config.kubelet.pods_max = 7;
  f.config.kubelet.thresholds.push_back({.of = eviction_signal::memory_available, .below = {.amount = 2 << 20}});
  auto after = f.describe()["status"];
  auto amount = [](const json::value& v, const char* name) {
    return schema::quantity::parse(v[name].as_string()).value();
  };
  CHECK(after["capacity"]["cpu"] == before["capacity"]["cpu"]);
  CHECK(amount(before["allocatable"], "cpu").milli_value() - amount(after["allocatable"], "cpu").milli_value() == 250);
  CHECK(amount(before["allocatable"], "memory").value() - amount(after["allocatable"], "memory").value() == 4 << 20);
  CHECK(after["capacity"]["pods"] == "7");
  CHECK(after["allocatable"]["pods"] == "7");
}

TEST_CASE("the lease belongs to the node of now") {
  auto t = parse_rfc3339("2026-11-21T04:50:49.5Z").value();
  json::value node(json::object{{"metadata", json::object{{"name", "a"}, {"uid", "u1"}}}});
  auto lease = node_lease(node, {}, t);
  CHECK(text(lease) ==
        R"({"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"a","namespace":"kube-node-lease",)"
        R"("ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"a","uid":"u1"}]},)"
        R"("spec":{"holderIdentity":"a","leaseDurationSeconds":40,"renewTime":"2026-11-21T04:50:49.500000Z"}})");
  lease.member("metadata").set("resourceVersion", "7");
  node.member("metadata").set("uid", "u2");
  auto next = node_lease(node, lease, t + 10s);
  CHECK(next["metadata"]["resourceVersion"] == "7");
  CHECK(next["metadata"]["ownerReferences"].size() == 1);
  CHECK(next["metadata"]["ownerReferences"][std::size_t{0}]["uid"] == "u2");
  CHECK(next["spec"]["renewTime"] == "2026-11-21T04:50:59.500000Z");
}

TEST_CASE("events are about the node, in namespace default, with names of their own") {
  auto t = parse_rfc3339("2026-11-21T04:50:49Z").value();
  auto e = node_event("a", "Normal", "Starting", "Starting kubelet.", t);
  CHECK(e["metadata"]["namespace"] == "default");
  CHECK(e["involvedObject"]["kind"] == "Node");
  CHECK(e["source"]["component"] == "kubelet");
  CHECK(e["metadata"]["name"] !=
        node_event("a", "Normal", "Starting", "Starting kubelet.", t + 1ns)["metadata"]["name"]);
}
