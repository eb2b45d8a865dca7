#include "node/resources/eviction.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "json/parse.h"
#include "node/resources/readings.h"
#include "support/temporary_folder.h"

using namespace kedge;
using namespace kedge::node;
using namespace std::chrono_literals;

namespace {

using enum eviction_signal;

json::value pod_named(const char* name, const char* memory_request, int priority = 0) {
  auto v =
      json::parse(std::string(R"({"metadata":{"name":")") + name + R"("},"spec":{"priority":)" +
                  std::to_string(priority) + R"(,"containers":[{"name":"main","resources":{"requests":{)" +
                  (*memory_request ? std::string(R"("memory":")") + memory_request + "\"" : std::string()) + "}}}]}}");
  REQUIRE(v);
  return *v;
}

std::vector<std::string> names(const std::vector<pod_load>& pods) {
  std::vector<std::string> out;
  for (auto& p : pods) out.emplace_back((*p.pod)["metadata"]["name"].as_string());
  return out;
}

readings memory(std::uint64_t available) { return {{memory_available, {available, 1000}}}; }

}  // namespace

TEST_CASE("thresholds are read as the kubelet reads them") {
  auto all = parse_thresholds("memory.available<100Mi,nodefs.available<5%,imagefs.inodesFree<0%", "pid.available<10%",
                              "pid.available=1m30s", "nodefs.available=1Gi");
  REQUIRE_MESSAGE(all, all.error().message);
  REQUIRE(all->size() == 3);
  CHECK(all->at(0).of == memory_available);
  CHECK(amount_of(all->at(0).below, 1) == 100 << 20);
  CHECK(amount_of(all->at(1).below, 1000) == 50);
  CHECK(amount_of(all->at(1).reclaim, 1000) == 1 << 30);
  CHECK(all->at(2).soft);
  CHECK(all->at(2).grace == 90s);
  struct {
    const char *hard, *soft, *message;
  } wrong[] = {
      {"memory.free<1Mi", "", "unsupported eviction signal memory.free"},
      {"memory.available<0", "", "\"0\" is not positive"},
      {"memory.available<-1Mi", "", "\"-1Mi\" is not positive"},
      {"memory.available<101%", "", "\"101%\" is not a percentage from 0% to 100%"},
      {"memory.available<x%", "", "\"x%\" is not a percentage from 0% to 100%"},
      {"memory.available", "", "\"memory.available\" has no value"},
      {"", "memory.available<1Mi", "grace period must be specified for the soft eviction threshold memory.available"},
  };
  for (auto& w : wrong) {
    auto refused = parse_thresholds(w.hard, w.soft, "", "");
    REQUIRE_MESSAGE(!refused, w.hard);
    CHECK(refused.error().message == w.message);
  }
}

TEST_CASE("a hard threshold is met at once, and stays until what has to be reclaimed is there") {
  pressure_watch w({{.of = memory_available, .below = {.amount = 100}, .reclaim = {.amount = 50}}}, 5min);
  time_point t{};
  CHECK(w.look(memory(100), t += 10s).empty());
  CHECK_FALSE(w.pressure().any());
  REQUIRE(w.look(memory(99), t += 10s).size() == 1);
  CHECK(w.pressure() == node_pressure{.memory = true});
  CHECK(w.look(memory(149), t += 10s).size() == 1);
  CHECK_FALSE(w.is_relieved(memory(149)));
  CHECK(w.is_relieved(memory(150)));
  CHECK(w.look(memory(150), t += 10s).empty());
  // The condition stays for its time.
  CHECK(w.pressure().memory);
  CHECK(w.look(memory(150), t += 4min).empty());
  CHECK(w.pressure().memory);
  CHECK(w.look(memory(150), t += 1min).empty());
  CHECK_FALSE(w.pressure().memory);
  // Not read is not met.
  CHECK(w.look({}, t += 10s).empty());
}

TEST_CASE("a soft threshold is met after its grace, and the condition is told before") {
  pressure_watch w({{.of = nodefs_available, .soft = true, .below = {.fraction = 0.5F}, .grace = 30s}}, 0s);
  time_point t{};
  readings low = {{nodefs_available, {499, 1000}}}, fine = {{nodefs_available, {500, 1000}}};
  CHECK(w.look(low, t += 10s).empty());
  CHECK(w.pressure() == node_pressure{.disk = true});
  CHECK(w.look(low, t += 20s).empty());
  CHECK(w.look(low, t += 10s).size() == 1);
  CHECK(w.look(fine, t += 10s).empty());
  CHECK_FALSE(w.pressure().any());
  CHECK(w.look(low, t += 10s).empty());  // its grace begins anew
}

TEST_CASE("memory comes first") {
  pressure_watch w({{.of = pid_available, .below = {.amount = 10}}, {.of = memory_available, .below = {.amount = 10}}},
                   5min);
  auto met = w.look({{pid_available, {1, 100}}, {memory_available, {1, 100}}}, time_point(1s));
  REQUIRE(met.size() == 2);
  CHECK(met[0].what.of == memory_available);
  CHECK(w.pressure() == node_pressure{.memory = true, .pid = true});
}

TEST_CASE("who uses more than he asked for goes first, then by priority, then by how much") {
  auto modest = pod_named("modest", "100"), greedy = pod_named("greedy", "10"), greedier = pod_named("greedier", "10"),
       none = pod_named("none", ""), important = pod_named("important", "10", 1000);
  std::vector<pod_load> pods = {{.pod = &modest, .memory = 90},
                                {.pod = &greedy, .memory = 50},
                                {.pod = &important, .memory = 500},
                                {.pod = &greedier, .memory = 90},
                                {.pod = &none, .memory = 60}};
  rank(pods, memory_available);
  CHECK(names(pods) == std::vector<std::string>{"greedier", "none", "greedy", "important", "modest"});
  for (auto& p : pods) p.processes = p.pod == &modest ? 100 : 1;
  rank(pods, pid_available);
  CHECK(names(pods).front() == "modest");
  CHECK(names(pods).back() == "important");
  for (auto& p : pods) p.disk = p.pod == &none ? 10 : 0;
  rank(pods, nodefs_available);
  CHECK(names(pods).front() == "none");
}

TEST_CASE("an evicted pod is told why in the kubelet's words") {
  auto p = pod_named("greedy", "10Mi");
  pod_load load{.pod = &p, .memory = 50 << 20, .containers = {{"main", 50 << 20, 0}, {"other", 1, 1}}};
  met_threshold why{{.of = memory_available, .below = {.amount = 100 << 20}}, {60 << 20, 1 << 30}};
  CHECK(eviction_message(load, why) ==
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 60Mi. Container main was using "
        "50Mi, request is "
        "10Mi, has larger consumption of memory. ");
  CHECK(eviction_message(load, {{.of = pid_available, .below = {.amount = 100}}, {7, 1000}}) ==
        "The node was low on resource: pids. Threshold quantity: 100, available: 7. ");
}

TEST_CASE("static pods and the system's stay") {
  CHECK_FALSE(is_critical(pod_named("a", "")));
  CHECK(is_critical(pod_named("a", "", 2'000'000'000)));
  auto of_file = pod_named("a", "");
  of_file.member("metadata").set("annotations", json::object{{"kubernetes.io/config.source", "file"}});
  CHECK(is_critical(of_file));
}

TEST_CASE("a folder is measured as it lies on the disk, without what its links name") {
  temporary_folder outside, f;
  namespace fs = std::filesystem;
  std::ofstream(outside.path() + "/large") << std::string(1 << 20, 'x');
  fs::create_directories(f.path() + "/a/b");
  std::ofstream(f.path() + "/a/b/file") << std::string(8192, 'x');
  fs::create_hard_link(f.path() + "/a/b/file", f.path() + "/a/again");
  fs::create_symlink(outside.path() + "/large", f.path() + "/a/link");
  fs::create_directory_symlink(outside.path(), f.path() + "/a/folder");
  auto use = measure_folder(f.path());
  CHECK(use.files == 6);
  CHECK(use.bytes >= 8192);
  CHECK(use.bytes < 1 << 20);
  CHECK(measure_folder(f.path() + "/none").files == 0);
  auto machine = read_readings(f.path(), f.path());
  CHECK(machine.contains(memory_available));
  CHECK(machine[nodefs_available].capacity > 0);
}

TEST_CASE("a pod goes for what it takes of the disk beyond its limits, in the kubelet's order and words") {
  auto p = json::parse(R"({"metadata":{"name":"greedy","uid":"u"},"spec":{
      "volumes":[{"name":"work","emptyDir":{"sizeLimit":"2048Ki"}},{"name":"free","emptyDir":{}},
                 {"name":"fast","emptyDir":{"medium":"Memory","sizeLimit":"1Ki"}},{"name":"other","configMap":{}}],
      "initContainers":[{"name":"beside","restartPolicy":"Always","resources":{"limits":{"ephemeral-storage":"1Mi"}}}],
      "containers":[{"name":"main","resources":{"limits":{"ephemeral-storage":"4Mi"}}}]}})")
               .value();
  CHECK(limits_disk(p));
  CHECK_FALSE(limits_disk(pod_named("modest", "10Mi")));
  constexpr std::uint64_t mi = 1 << 20;
  struct row {
    const char* what;
    pod_load load;
    const char* told;
  };
  const row rows[] = {
      {"all at its limit",
       {.pod = &p,
        .disk = 5 * mi,
        .containers = {{"main", 0, 4 * mi}, {"beside", 0, mi}},
        .empty_dirs = {{"work", 2 * mi}, {"free", 9 * mi}, {"fast", 9 * mi}}},
       ""},
      {"a volume, before all else",
       {.pod = &p, .disk = 9 * mi, .containers = {}, .empty_dirs = {{"work", 2 * mi + 1}}},
       "Usage of EmptyDir volume \"work\" exceeds the limit \"2Mi\". "},
      {"all together",
       {.pod = &p, .disk = 5 * mi + 1, .containers = {{"main", 0, 5 * mi}}, .empty_dirs = {}},
       "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. "},
      {"a container",
       {.pod = &p, .disk = 5 * mi, .containers = {{"main", 0, 4 * mi + 1}}, .empty_dirs = {}},
       "Container main exceeded its local ephemeral storage limit \"4Mi\". "},
      {"a sidecar",
       {.pod = &p, .disk = 5 * mi, .containers = {{"beside", 0, mi + 1}}, .empty_dirs = {}},
       "Container beside exceeded its local ephemeral storage limit \"1Mi\". "},
  };
  for (auto& r : rows) {
    CAPTURE(r.what);
    CHECK(beyond_disk_limits(r.load) == r.told);
  }
}
