// Pods that get other resources while they run: what differs, what is done in which order, and what is said.
#include "node/pods/resize.h"

#include <doctest/doctest.h>

#include "json/write.h"
#include "make.h"
#include "node/pods/admit.h"
#include "node/pods/allocation_ledger.h"
#include "node/pods/steps.h"

namespace kedge::node {

namespace {

constexpr auto running = container_state::running, exited = container_state::exited;

std::string sized(int cpu, int memory) {
  return R"({"limits": {"cpu": ")" + std::to_string(cpu) + R"(m", "memory": ")" + std::to_string(memory) +
         R"(Mi"}, "requests": {"cpu": ")" + std::to_string(cpu) + R"(m"}})";
}
std::string container(std::string name, int cpu, int memory, std::string more = {}) {
  return R"({"name": ")" + name + R"(", "resources": )" + sized(cpu, memory) + more + "}";
}
json::value resources(int cpu, int memory) { return *json::parse(sized(cpu, memory)); }
constexpr auto restarts = R"(, "resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}])";

// Containers a, b, … that run and have these.
pod_seen seen_with(std::vector<json::value> given) {
  seen_builder b;
  b.sandbox("s");
  for (std::size_t i = 0; i < given.size(); ++i) {
    b.container(std::string(1, static_cast<char>('a' + i)), running);
    b.seen.containers.front().given = std::move(given[i]);
  }
  return std::move(b.seen);
}
json::value pod_of(std::vector<std::string> containers) {
  std::string all;
  for (auto& c : containers) all += (all.empty() ? "" : ", ") + c;
  return make_pod(R"({"containers": [)" + all + "]}");
}
std::vector<std::string> names_of(const std::vector<container_update>& all) {
  std::vector<std::string> out;
  for (auto& u : all) out.push_back(u.name);
  return out;
}
using names = std::vector<std::string>;

}  // namespace

TEST_CASE("who gets less comes before who gets more, memory before CPU, and each keeps the rest") {
  auto pod = pod_of({container("a", 200, 64), container("b", 100, 32), container("c", 50, 64)});
  auto seen = seen_with({resources(100, 64), resources(100, 64), resources(100, 32)});
  CHECK(resize_in_progress(pod, seen));
  auto plan = plan_resize(pod, seen, {});
  CHECK(names_of(plan.memory) == names{"b", "c"});
  CHECK(names_of(plan.cpu) == names{"c", "a"});
  CHECK(plan.memory[1].resources == resources(100, 64));
  CHECK(plan.cpu[0].resources == resources(50, 64));
  // The same amounts in other words are the same.
  auto same = pod_of(
      {R"({"name": "a", "resources": {"limits": {"cpu": "0.1", "memory": "65536Ki"}, "requests": {"cpu": "0.10"}}})"});
  CHECK_FALSE(resize_in_progress(same, seen_with({resources(100, 64)})));
  CHECK(plan_resize(same, seen_with({resources(100, 64)}), {}).nothing());
}

TEST_CASE("what nobody says, what doesn't run and what isn't resized is left alone") {
  auto pod = pod_of({container("a", 200, 64)});
  auto seen = seen_with({resources(100, 64)});
  auto silent = seen;
  silent.containers.front().given.reset();
  CHECK(plan_resize(pod, silent, {}).nothing());
  auto dead = seen;
  dead.containers.front().state = exited;
  CHECK_FALSE(resize_in_progress(pod, dead));
  CHECK(plan_resize(pod, dead, {}).nothing());
  // It is made with what it is to have: the pod gets that first.
  auto plan = plan_resize(pod, dead, {"a"});
  CHECK(plan.of_cpu);
  CHECK_FALSE(plan.of_memory);
  CHECK(plan.cpu.empty());
  auto init = make_pod(R"({"containers": [], "initContainers": [)" + container("a", 200, 64) + "]}");
  CHECK_FALSE(resize_in_progress(init, seen));
}

TEST_CASE("a container starts anew for the resources whose policy says so") {
  auto seen = seen_with({resources(100, 64)});
  auto steps_for = [&](std::string spec) { return next_steps(pod_of({std::move(spec)}), seen, {}); };
  CHECK(steps_for(container("a", 200, 64, restarts)).nothing());
  auto steps = steps_for(container("a", 100, 128, restarts));
  REQUIRE(steps.kill.size() == 1);
  CHECK(steps.kill[0].message == "Container a resize requires restart");
  CHECK(steps.regular == names{"a"});
  auto sidecar = make_pod(R"({"containers": [{"name": "x"}], "initContainers": [)" +
                          container("a", 100, 128, restarts + std::string(R"(, "restartPolicy": "Always")")) + "]}");
  auto beside = next_steps(sidecar, seen, {});
  REQUIRE(beside.kill.size() == 1);
  CHECK(beside.kill[0].message == "Container a resize requires restart");
  CHECK(beside.init == names{"a"});
}

TEST_CASE("a pod has what was allocated to it until it is given more") {
  auto pod = std::make_shared<const json::value>(pod_of({container("a", 100, 64), container("b", 100, 64)}));
  auto kept = resources_of_pod(*pod);
  CHECK(as_allocated(pod, nullptr) == pod);
  CHECK(as_allocated(pod, &kept) == pod);
  auto asked = std::make_shared<const json::value>(pod_of({container("a", 200, 64), container("b", 100, 64)}));
  auto has = as_allocated(asked, &kept);
  CHECK((*has)["spec"] == (*pod)["spec"]);
  CHECK(as_given(*asked, seen_with({resources(100, 64), resources(100, 64)})) == *pod);
}

TEST_CASE("a pod's limits as a whole are those of its containers that have none") {
  auto pod = pod_of(
      {container("a", 100, 64), R"({"name": "b"})", R"({"name": "c", "resources": {"limits": {"cpu": "50m"}}})"});
  pod.member("spec").set("resources", resources(200, 128));
  auto in_pod = [&](std::string_view name) { return resources_in_pod(pod, container_named(pod, name)); };
  auto limits = [](const char* cpu, const char* memory) { return json::object{{"cpu", cpu}, {"memory", memory}}; };
  CHECK(in_pod("a") == resources(100, 64));
  CHECK(in_pod("b") == json::object{{"limits", limits("200m", "128Mi")}});
  CHECK(in_pod("c") == json::object{{"limits", limits("50m", "128Mi")}});
  // They are changed with the pod's; what has its own is left alone, and so is what the pod doesn't change.
  auto seen = seen_with({in_pod("a"), in_pod("b"), in_pod("c")});
  CHECK_FALSE(resize_in_progress(pod, seen));
  seen.given = resources(200, 128);
  CHECK(plan_resize(pod, seen, {}).nothing());
  pod.member("spec").set("resources", resources(300, 128));
  CHECK(resize_in_progress(pod, seen));
  auto plan = plan_resize(pod, seen, {});
  CHECK((plan.of_whole && plan.of_cpu && !plan.of_memory));
  CHECK(plan.memory.empty());
  CHECK(names_of(plan.cpu) == names{"b"});
  CHECK(plan.cpu[0].resources == in_pod("b"));
  // Until then its status tells what it has.
  auto has = as_given(pod, seen);
  CHECK(has["spec"]["resources"] == resources(200, 128));
  CHECK(container_named(has, "a")["resources"] == resources(100, 64));
  CHECK(container_named(has, "c")["resources"] == container_named(pod, "c")["resources"]);
  // All of it where nobody says what it has, and that is no resize to be told of.
  seen = seen_with({in_pod("a"), in_pod("b"), in_pod("c")});
  CHECK_FALSE(resize_in_progress(pod, seen));
  plan = plan_resize(pod, seen, {});
  CHECK((plan.of_whole && plan.of_cpu && plan.of_memory));
  CHECK((plan.cpu.empty() && plan.memory.empty()));
}

TEST_CASE("the first containers are allocated what they are made with, and keep it") {
  auto pod_with = [](int cpu) {
    return std::make_shared<const json::value>(
        make_pod(R"({"containers": [], "initContainers": [)" + container("a", cpu, 64) + "]}"));
  };
  auto kept = resources_of_pod(*pod_with(100));
  auto has = as_allocated(pod_with(200), &kept);
  CHECK((*has)["spec"] == (*pod_with(100))["spec"]);
}

TEST_CASE("a runtime is told what a sandbox has without its overhead") {
  container_resources of_group;
  of_group.cpu_shares = 512;
  of_group.cpu_quota = 50'000;
  of_group.cpu_period = 100'000;
  of_group.memory_limit = 100 << 20;
  auto pod = make_pod(R"({"containers": []})");
  CHECK(without_overhead(of_group, pod) == of_group);
  pod.member("spec").set("overhead", json::object{{"cpu", "100m"}, {"memory", "20Mi"}});
  auto told = without_overhead(of_group, pod);
  CHECK(told.cpu_shares == 409);
  CHECK(told.cpu_quota == 40'000);
  CHECK(told.memory_limit == 80 << 20);
  of_group.cpu_quota = of_group.memory_limit = -1;  // none
  told = without_overhead(of_group, pod);
  CHECK(told.cpu_quota == -1);
  CHECK(told.memory_limit == -1);
}

TEST_CASE("what isn't done is refused, and what doesn't fit waits, in the kubelet's words") {
  pod_settings s;
  s.node.allocatable = json::object{{"cpu", "1"}, {"memory", "1Gi"}};
  auto has = pod_of({container("a", 100, 64)}), wants = pod_of({container("a", 1100, 64)});
  auto why = why_not_resized(wants, has, {}, s);
  REQUIRE(why);
  CHECK(why->reason == "OutOfcpu");
  CHECK(why->message == "Node didn't have enough resource: cpu, requested: 1100, used: 0, capacity: 1000");
  CHECK_FALSE(why_not_resized(pod_of({container("a", 900, 64)}), has, {}, s));
  auto infeasible = [&](const json::value& asked) {
    auto told = why_not_resized(asked, has, {}, s);
    return told && told->reason == "Infeasible" ? told->message : std::string();
  };
  auto as_a_whole = has;
  as_a_whole.member("spec").set("resources", resources(200, 64));
  CHECK_FALSE(why_not_resized(as_a_whole, has, {}, s));
  as_a_whole.member("spec").set("resources", resources(1100, 64));
  CHECK(why_not_resized(as_a_whole, has, {}, s)->reason == "OutOfcpu");
  has.member("status").set("qosClass", "Guaranteed");
  wants = has;
  wants.member("spec").set("containers", pod_of({container("a", 200, 64)})["spec"]["containers"]);
  CHECK_FALSE(why_not_resized(wants, has, {}, s));
  s.exclusive_cpus = true;
  CHECK(infeasible(wants) == "Resize is infeasible for Guaranteed Pods alongside CPU Manager policy \"static\"");
  CHECK(why_not_less_memory({.pod_limit = 10, .pod_uses = 9, .containers = {{"a", 5, 4}}}).empty());
  CHECK(why_not_less_memory({.pod_limit = 0, .pod_uses = 9, .containers = {{"a", 5, 5}}}) ==
        "cannot decrease memory limits: attempting to set container \"a\" memory limit (5) below current usage (5)");
}

TEST_CASE("a resize is told with what it is about, as Go writes that") {
  auto pod = make_pod(
      R"({"containers": [{"name": "main", "resources": {"requests": {"memory": "1Mi", "cpu": "30m"}, "limits": {"cpu": "60m"}}}], "initContainers": [{"name": "i"}]})");
  CHECK(
      resize_message("Pod resize OutOfcpu", pod, 2, "no \"room\"") ==
      R"(Pod resize OutOfcpu: {"initContainers":[{"name":"i","resources":{}}],"containers":[{"name":"main","resources":{"limits":{"cpu":"60m"},"requests":{"cpu":"30m","memory":"1Mi"}}}],"generation":2,"error":"no \"room\""})");
}

TEST_CASE("allocations are kept in the kubelet's file") {
  allocation_ledger ledger;
  ledger.set("u1", resources_of_pod(
                       make_pod(R"({"containers": [{"name": "a", "resources": {"requests": {"cpu": "20m"}}}]})")));
  auto text = ledger.checkpoint();
  // As k8s.io/kubernetes/pkg/kubelet/checkpointmanager/checksum has it of this text.
  CHECK((*json::parse(text))["checksum"].as_integer() == 4013984654);
  allocation_ledger again;
  REQUIRE(again.restore(text));
  CHECK(*again.find("u1") == *ledger.find("u1"));
  again.set("u2", "b", resources(1, 1));
  REQUIRE(again.find("u2", "b"));
  CHECK(again.keep_only({"u2"}));
  CHECK_FALSE(again.find("u1"));
  CHECK(again.erase("u2", "b"));
  CHECK_FALSE(again.find("u2"));
  again.set("u2", "b", resources(1, 1));
  CHECK_FALSE(again.find_whole("u2"));
  again.set_whole("u2", resources(2, 2));
  CHECK(again.erase("u2", "b"));
  REQUIRE(again.find_whole("u2"));
  CHECK(*again.find_whole("u2") == resources(2, 2));
  CHECK(again.erase("u2"));
  auto torn = text;
  torn.replace(torn.find("20m"), 3, "21m");
  CHECK(again.restore(torn).error().code == errc::corrupt);
  CHECK(again.restore("{").error().code == errc::corrupt);
}

}  // namespace kedge::node
