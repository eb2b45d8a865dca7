#include "node/pods/status.h"

#include <doctest/doctest.h>

#include "json/write.h"
#include "make.h"

namespace kedge::node {

namespace {

constexpr auto running = container_state::running, exited = container_state::exited;

struct described {
  json::value pod;
  pod_seen seen;
  json::value before = {};
  probes_seen probes = {};
  waiting_reasons waiting = {};
  bool terminal = false;
  std::optional<waiting_reason> failure = {};
  std::vector<resize_condition> resizes = {};
  json::value status() const {
    static const std::vector<std::string> host = {"192.0.2.1"};
    return pod_status({.pod = pod,
                       .before = before,
                       .seen = seen,
                       .probes = probes,
                       .waiting = waiting,
                       .host_ips = host,
                       .runtime = "containerd",
                       .now = wall_time(std::chrono::seconds(1'000'000)),
                       .terminal = terminal,
                       .failure = failure,
                       .resizes = resizes});
  }
  std::string phase() const { return std::string(status()["phase"].as_string()); }
};

const json::value& condition(const json::value& status, std::string_view type) {
  static const json::value none;
  for (auto& c : *status["conditions"].array())
    if (c["type"].as_string() == type) return c;
  return none;
}

constexpr auto two = R"({"containers": [{"name": "b", "image": "x"}, {"name": "a", "image": "x"}]})";

}  // namespace

TEST_CASE("containers that are removed so that all begin anew wait for that, and it is told until they are gone") {
  described d{make_pod(R"({"restartPolicy": "Never", "initContainers": [{"name": "i", "image": "x"}], "containers":
      [{"name": "a", "image": "x"}, {"name": "b", "image": "x", "restartPolicy": "Never", "restartPolicyRules":
        [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]}]})"),
              seen_builder().sandbox("s").container("i", exited).container("a", running).container("b", running).seen};
  constexpr std::string_view all = "AllContainersRestarting";
  d.before = d.status();
  CHECK(condition(d.before, all)["status"].as_string() == "False");
  d.seen.containers.front().state = exited;
  d.seen.containers.front().exit_code = 42;
  d.before = d.status();
  CHECK(d.before["phase"].as_string() == "Running");
  CHECK(condition(d.before, all)["reason"].as_string() == "RestartAllContainersStarted");
  CHECK(d.before["containerStatuses"][1]["state"]["terminated"]["exitCode"].as_integer() == 42);
  d.seen.containers.clear();
  d.before = d.status();
  CHECK(condition(d.before, all)["status"].as_string() == "False");
  CHECK(d.before["phase"].as_string() == "Running");
  for (auto* list : {"initContainerStatuses", "containerStatuses"})
    for (auto& c : *d.before[list].array()) {
      CAPTURE(c["name"].as_string());
      CHECK(c["state"]["waiting"]["reason"].as_string() == "RestartingAllContainers");
      CHECK(c["lastState"]["terminated"]["reason"].as_string() == "RestartingAllContainers");
      CHECK(c["restartCount"].as_integer() == 1);
    }
  // That is counted once.
  d.before = d.status();
  CHECK(d.before["phase"].as_string() == "Running");
  CHECK(d.before["containerStatuses"][0]["restartCount"].as_integer() == 1);
  d.seen = seen_builder().sandbox("s").container("i", running).seen;
  auto next = d.status();
  CHECK(next["initContainerStatuses"][0]["restartCount"].as_integer() == 1);
  CHECK(next["initContainerStatuses"][0]["lastState"]["terminated"]["exitCode"].as_integer() == 137);
  CHECK(next["containerStatuses"][0]["restartCount"].as_integer() == 1);
}

TEST_CASE("a pod of which nothing is there yet is being created") {
  auto status = described{make_pod(two), {}}.status();
  CHECK(status["phase"].as_string() == "Pending");
  CHECK(status["containerStatuses"][0]["name"].as_string() == "a");
  CHECK(status["containerStatuses"][0]["state"]["waiting"]["reason"].as_string() == "ContainerCreating");
  CHECK(condition(status, "PodReadyToStartContainers")["message"].as_string() == "no pod sandbox exists");
  CHECK(condition(status, "Ready")["message"].as_string() == "containers with unready status: [b a]");
  CHECK(condition(status, "Initialized")["status"].as_string() == "True");
  CHECK(condition(status, "Ready")["observedGeneration"].as_integer() == 3);
  CHECK(status["startTime"].as_string() == "1970-01-12T13:46:40Z");
  CHECK(status["hostIP"].as_string() == "192.0.2.1");
  CHECK(status["podIP"].is_null());
}

TEST_CASE("a pod runs when all of its containers do, and is ready then") {
  auto seen = seen_builder().sandbox("s").container("a", running).container("b", running).seen;
  auto status = described{make_pod(two), seen}.status();
  CHECK(status["phase"].as_string() == "Running");
  CHECK(condition(status, "Ready")["status"].as_string() == "True");
  CHECK(status["podIPs"][0]["ip"].as_string() == "10.42.0.9");
  CHECK(status["containerStatuses"][0]["containerID"].as_string().starts_with("containerd://a-"));
  auto half = seen_builder().sandbox("s").container("a", running).seen;
  CHECK(described{make_pod(two), half}.phase() == "Pending");
}

TEST_CASE("what ends the phase: exit codes and the restart policy") {
  auto at = [](std::string_view policy, int code, bool terminal = false) {
    auto pod =
        make_pod(std::string(R"({"restartPolicy": ")") + std::string(policy) + R"(", "containers": [{"name": "a"}]})");
    return described{
        .pod = pod, .seen = seen_builder().sandbox("s").container("a", exited, code).seen, .terminal = terminal}
        .phase();
  };
  CHECK(at("Never", 0) == "Succeeded");
  CHECK(at("Never", 1) == "Failed");
  CHECK(at("OnFailure", 0) == "Succeeded");
  CHECK(at("OnFailure", 1) == "Running");
  CHECK(at("Always", 0) == "Running");
  CHECK(at("Always", 0, true) == "Succeeded");
  CHECK(at("Always", 1, true) == "Failed");
}

TEST_CASE("why a container waits is told, and how it ended before") {
  auto seen = seen_builder().sandbox("s").container("a", exited, 2, 1).seen;
  described d{make_pod(R"({"containers": [{"name": "a"}]})"), seen};
  d.waiting["a"] = {"CrashLoopBackOff", "back-off 10s"};
  auto s = d.status()["containerStatuses"][0];
  CHECK(s["state"]["waiting"]["reason"].as_string() == "CrashLoopBackOff");
  CHECK(s["lastState"]["terminated"]["exitCode"].as_integer() == 2);
  CHECK(s["restartCount"].as_integer() == 1);
  CHECK(d.phase() == "Running");
}

TEST_CASE("probes say what has started and what is ready") {
  auto b = seen_builder().sandbox("s").container("a", running);
  auto id = b.seen.containers.front().id;
  described d{make_pod(R"({"containers": [{"name": "a", "readinessProbe": {}, "startupProbe": {}}]})"), b.seen};
  auto of = [&](probe_findings f) {
    d.probes[id] = f;
    auto s = d.status()["containerStatuses"][0];
    return std::pair(s["started"].as_bool(), s["ready"].as_bool());
  };
  CHECK(of({.startup = probe_result::unknown, .readiness = probe_result::success}) == std::pair(false, false));
  CHECK(of({.startup = probe_result::success, .readiness = probe_result::failure}) == std::pair(true, false));
  CHECK(of({.startup = probe_result::success, .readiness = probe_result::success}) == std::pair(true, true));
}

TEST_CASE("a container that was ready stays so when only the agent began anew") {
  auto b = seen_builder().sandbox("s").container("a", running);
  described d{make_pod(R"({"containers": [{"name": "a", "readinessProbe": {}}]})"), b.seen};
  d.probes[b.seen.containers.front().id] = {.readiness = probe_result::success};
  d.before = d.status();
  d.probes.clear();
  CHECK(d.status()["containerStatuses"][0]["ready"].as_bool());
  CHECK(condition(d.status(), "Ready") == condition(d.before, "Ready"));
}

TEST_CASE("a phase that is final stays, and none is told while something may run") {
  auto seen = seen_builder().sandbox("s").container("a", running).seen;
  described d{make_pod(R"({"containers": [{"name": "a"}]})"), seen};
  d.failure = waiting_reason{"DeadlineExceeded", "too long"};
  CHECK(d.phase() == "Pending");
  CHECK(d.status()["reason"].is_null());
  d.seen = seen_builder().sandbox("s").container("a", exited, 137).seen;
  CHECK(d.phase() == "Failed");
  CHECK(d.status()["reason"].as_string() == "DeadlineExceeded");
  d.pod.member("status").set("phase", "Succeeded");
  CHECK(d.phase() == "Succeeded");
}

TEST_CASE("a container that the runtime lost has ended, nobody knows how") {
  auto b = seen_builder().sandbox("s").container("a", running);
  described d{make_pod(R"({"containers": [{"name": "a"}]})"), b.seen};
  d.before = d.status();
  d.seen = seen_builder().sandbox("s").seen;
  auto s = d.status()["containerStatuses"][0];
  CHECK(s["lastState"]["terminated"]["reason"].as_string() == "ContainerStatusUnknown");
  CHECK(s["restartCount"].as_integer() == 1);
  auto ended = ended_status(d.pod, d.before);
  CHECK(ended["phase"].as_string() == "Failed");
  CHECK(ended["containerStatuses"][0]["state"]["terminated"]["exitCode"].as_integer() == 137);
}

TEST_CASE("a condition keeps its time while its status is the same, and others' conditions stay") {
  auto pod = make_pod(R"({"containers": [{"name": "a"}], "readinessGates": [{"conditionType": "x/y"}]})");
  pod.member("status").set("conditions", json::array{json::object{{"type", "x/y"}, {"status", "False"}}});
  described d{pod, seen_builder().sandbox("s").container("a", running).seen};
  auto status = d.status();
  CHECK(condition(status, "x/y")["status"].as_string() == "False");
  CHECK(condition(status, "Ready")["reason"].as_string() == "ReadinessGatesNotReady");
  d.before = status;
  for (auto& c : *d.before.member("conditions").array()) c.set("lastTransitionTime", "2000-01-01T00:00:00Z");
  CHECK(condition(d.status(), "ContainersReady")["lastTransitionTime"].as_string() == "2000-01-01T00:00:00Z");
}

TEST_CASE("what the containers ask for together is the pod's, and a pod that isn't admitted says little") {
  described d{
      make_pod(
          R"({"containers": [{"name": "a", "resources": {"requests": {"cpu": "10m"}, "limits": {"memory": "64Mi"}}}, {"name": "b", "resources": {"requests": {"cpu": "5m"}}}]})"),
      {}};
  auto status = d.status();
  CHECK(status["allocatedResources"]["cpu"].as_string() == "15m");
  CHECK(status["resources"]["requests"]["cpu"].as_string() == "15m");
  CHECK(described{make_pod(two), {}}.status()["resources"].is_object());
  d.failure = waiting_reason{"OutOfcpu", "too much"};
  auto rejected = rejected_status(d.status());
  CHECK(rejected["phase"].as_string() == "Failed");
  CHECK(rejected["reason"].as_string() == "OutOfcpu");
  CHECK(rejected["containerStatuses"].is_null());
  CHECK(rejected["conditions"].is_null());
}

TEST_CASE("a patch says what the API doesn't know, and nothing when it knows all") {
  described d{make_pod(R"({"containers": [{"name": "a"}]})"), seen_builder().sandbox("s").container("a", running).seen};
  auto wanted = d.status();
  auto patch = status_patch(d.pod, wanted);
  CHECK(patch["metadata"]["uid"].as_string() == "u1");
  CHECK(patch["status"]["phase"].as_string() == "Running");
  CHECK(patch["status"]["podIPs"][1]["$patch"].as_string() == "replace");
  d.pod.set("status", wanted);
  CHECK(status_patch(d.pod, wanted).is_null());
  // Whatever differs is said, numbers too.
  wanted.set("observedGeneration", 1);
  for (auto* part : {"observedGeneration", "phase", "hostIP", "podIP", "startTime", "containerStatuses"}) {
    CAPTURE(part);
    auto next = wanted;
    next.set(part, next[part].is_integer() ? json::value(next[part].as_integer() + 1)
                                           : json::value(json::object{{"a", "b"}}));
    CHECK(status_patch(d.pod, next)["status"][part] == next[part]);
  }
  d.pod.member("status").set("reason", "Gone");
  auto second = status_patch(d.pod, wanted);
  CHECK(second["status"].find("reason") != nullptr);
  CHECK(second["status"]["reason"].is_null());
}

TEST_CASE("a pod that is resized says what it was given, what its containers have, and how far that is") {
  const auto small = R"({"requests":{"cpu":"20m","memory":"20Mi"}})",
             large = R"({"requests":{"cpu":"30m","memory":"20Mi"}})";
  auto pod = make_pod(R"({"containers": [{"name": "a", "resources": )" + std::string(large) + R"(}, {"name": "b"}]})");
  described d{pod, seen_builder().sandbox("s").container("b", running).container("a", running).seen};
  d.seen.containers.front().given = *json::parse(small);
  d.resizes = {{.type = "PodResizeInProgress", .reason = "Error", .message = "no", .generation = 2}};
  auto told = d.status();
  auto& a = told["containerStatuses"][0];
  CHECK(json::write(a["resources"]) == small);
  CHECK(a["allocatedResources"]["cpu"].as_string() == "30m");
  CHECK(told["allocatedResources"]["cpu"].as_string() == "30m");
  CHECK(told["resources"]["requests"]["cpu"].as_string() == "20m");
  auto& c = condition(told, "PodResizeInProgress");
  CHECK(c["observedGeneration"].as_integer() == 2);
  CHECK(c["reason"].as_string() == "Error");
  // Its time is that of its reason.
  d.before = told;
  d.before.member("conditions").array()->back().set("lastTransitionTime", "1970-01-01T00:00:00Z");
  CHECK(condition(d.status(), "PodResizeInProgress")["lastTransitionTime"].as_string() == "1970-01-01T00:00:00Z");
  d.resizes[0].reason.clear();
  CHECK(condition(d.status(), "PodResizeInProgress")["lastTransitionTime"].as_string() != "1970-01-01T00:00:00Z");
  // Its end is said.
  d.pod.set("status", told);
  d.seen.containers.front().given = *json::parse(large);
  d.resizes.clear();
  auto has = d.status();
  CHECK(json::write(has["containerStatuses"][0]["resources"]) == large);
  auto conditions = status_patch(d.pod, has)["status"]["conditions"];
  REQUIRE(conditions.size() == 1);
  CHECK(conditions[0]["$patch"].as_string() == "delete");
  CHECK(conditions[0]["type"].as_string() == "PodResizeInProgress");
}

}  // namespace kedge::node
