// Control groups: what is written to which file, with a tree of the test's own and with the machine's.
#include "node/cgroups/groups.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "json/parse.h"
#include "node/pods/files.h"
#include "node/pods/pod_groups.h"
#include "node/resources/eviction.h"
#include "support/skipped.h"
#include "support/temporary_folder.h"

using namespace kedge;
using namespace kedge::node;

namespace {

void write(const std::string& path, std::string_view text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text;
}
std::string read(const std::string& path) {
  std::ifstream in(path);
  std::string out((std::istreambuf_iterator<char>(in)), {});
  while (out.ends_with('\n')) out.pop_back();
  return out;
}

json::value make_pod(std::string_view spec, std::string_view uid = "u1") {
  auto parsed = json::parse(spec);
  REQUIRE(parsed);
  return json::object{{"metadata", json::object{{"uid", uid}, {"name", "web"}, {"namespace", "team"}}},
                      {"spec", *std::move(parsed)}};
}
std::shared_ptr<const json::value> shared(json::value pod) { return std::make_shared<const json::value>(pod); }

constexpr std::string_view burstable =
    R"({"containers": [{"name": "a", "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}}}]})";
constexpr std::string_view guaranteed =
    R"({"containers": [{"name": "a", "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "500m", "memory": "64Mi"}}}]})";

}  // namespace

TEST_CASE("what a group has is read in the terms of either version") {
  temporary_folder folder;
  const auto v1 = folder.path() + "/v1", v2 = folder.path() + "/v2";
  write(v1 + "/memory/p/memory.limit_in_bytes", "1048576\n");
  write(v1 + "/memory/p/memory.usage_in_bytes", "4096\n");
  write(v1 + "/cpu/p/cpu.cfs_quota_us", "-1\n");
  write(v1 + "/cpu/p/cpu.cfs_period_us", "50000\n");
  write(v1 + "/cpu/p/cpu.shares", "512\n");
  auto one = group_tree(v1).read("/p");
  REQUIRE(one);
  CHECK(one->memory_limit == 1'048'576);
  CHECK(one->memory_bytes == 4096);
  CHECK(one->cpu_quota_us == std::numeric_limits<std::int64_t>::max());
  CHECK(one->cpu_period_us == 50'000);
  CHECK(one->cpu_shares == 512);
  write(v2 + "/cgroup.controllers", "cpu memory\n");
  write(v2 + "/p/memory.max", "max\n");
  write(v2 + "/p/memory.current", "8192\n");
  write(v2 + "/p/cpu.max", "50000 200000\n");
  write(v2 + "/p/cpu.weight", "20\n");
  auto two = group_tree(v2).read("/p");
  REQUIRE(two);
  CHECK(two->memory_limit == std::numeric_limits<std::int64_t>::max());
  CHECK(two->memory_bytes == 8192);
  CHECK(two->cpu_quota_us == 50'000);
  CHECK(two->cpu_period_us == 200'000);
  CHECK(two->cpu_shares == 500);  // the kubelet's way back from weights
  CHECK(group_tree(v2).read("/q").error().code == errc::not_found);
}

TEST_CASE("a group's limits are written in the terms of either version") {
  temporary_folder folder;
  group_limits all{.cpu_shares = 1024,
                   .cpu_quota_us = 50'000,
                   .cpu_period_us = 100'000,
                   .memory_bytes = 1 << 20,
                   .processes = 40,
                   .hugepages = {{2 << 20, 4 << 20}},
                   .other_hugepages = 0,
                   .unified = {{"memory.low", "7"}}};
  const auto v1 = folder.path() + "/v1", v2 = folder.path() + "/v2";
  for (auto* name : {"cpu/p/cpu.shares", "cpu/p/cpu.cfs_quota_us", "cpu/p/cpu.cfs_period_us",
                     "memory/p/memory.limit_in_bytes", "memory/p/memory.usage_in_bytes", "pids/p/pids.max",
                     "hugetlb/p/hugetlb.2MB.limit_in_bytes", "hugetlb/p/hugetlb.1GB.limit_in_bytes"})
    write(v1 + "/" + name, "1");
  group_tree one(v1);
  CHECK_FALSE(one.is_unified());
  auto done = one.limit("/p", all);
  REQUIRE_MESSAGE(done, done.error().message);
  CHECK(read(v1 + "/cpu/p/cpu.shares") == "1024");
  CHECK(read(v1 + "/cpu/p/cpu.cfs_quota_us") == "50000");
  CHECK(read(v1 + "/memory/p/memory.limit_in_bytes") == "1048576");
  CHECK(read(v1 + "/pids/p/pids.max") == "40");
  CHECK(read(v1 + "/hugetlb/p/hugetlb.2MB.limit_in_bytes") == "4194304");
  CHECK(read(v1 + "/hugetlb/p/hugetlb.1GB.limit_in_bytes") == "0");
  write(v2 + "/cgroup.controllers", "cpu memory pids");
  for (auto* name : {"cpu.weight", "cpu.max", "memory.max", "memory.current", "memory.low", "pids.max",
                     "hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"})
    write(v2 + "/p/" + name, "1");
  group_tree two(v2);
  CHECK(two.is_unified());
  REQUIRE(two.limit("/p", all));
  CHECK(read(v2 + "/p/cpu.weight") == "39");
  CHECK(read(v2 + "/p/cpu.max") == "50000 100000");
  CHECK(read(v2 + "/p/memory.max") == "1048576");
  CHECK(read(v2 + "/p/memory.low") == "7");
  CHECK(read(v2 + "/p/hugetlb.2MB.max") == "4194304");
  CHECK(read(v2 + "/p/hugetlb.2MB.rsvd.max") == "1");
  REQUIRE(two.limit("/p", {.cpu_quota_us = -1, .memory_bytes = 0, .hugepages = {}, .unified = {}}));
  CHECK(read(v2 + "/p/cpu.max") == "max 100000");
  CHECK(read(v2 + "/p/memory.max") == "max");
  CHECK(one.limit("/none", all).error().code == errc::not_found);
  // In v2, a group has the controllers that those above it pass on.
  write(v2 + "/cgroup.subtree_control", "");
  REQUIRE(two.make("/kubepods/burstable"));
  CHECK(std::filesystem::is_directory(v2 + "/kubepods/burstable"));
  CHECK(read(v2 + "/cgroup.subtree_control") == "+pids");
}

TEST_CASE("the machine's own groups take what is written") {
  if (::geteuid() != 0 || !std::filesystem::exists("/sys/fs/cgroup/memory/cgroup.procs")) {
    tests::skip("this machine has no cgroup v1, or not for us");
    return;
  }
  group_tree tree;
  const auto path = "/kedge-groups-test-" + std::to_string(::getpid());
  auto made = tree.make(path + "/inner");
  REQUIRE_MESSAGE(made, made.error().message);
  auto limited = tree.limit(path + "/inner", {.cpu_shares = 300,
                                              .memory_bytes = 32 << 20,
                                              .processes = 11,
                                              .hugepages = {},
                                              .other_hugepages = 0,
                                              .unified = {}});
  CHECK_MESSAGE(limited, limited.error().message);
  const std::string root = "/sys/fs/cgroup/";
  CHECK(read(root + "cpu" + path + "/inner/cpu.shares") == "300");
  CHECK(read(root + "memory" + path + "/inner/memory.limit_in_bytes") == "33554432");
  CHECK(read(root + "pids" + path + "/inner/pids.max") == "11");
  CHECK(!read(root + "cpuset" + path + "/inner/cpuset.cpus").empty());
  remove_cgroups(path);
  CHECK_FALSE(tree.exists(path));
}

TEST_CASE("a pod's group has what its containers have together") {
  pod_settings s;
  s.pod_processes_max = 100;
  auto of_burstable = limits_of_pod(make_pod(burstable), s);
  CHECK(of_burstable.cpu_shares == 256);
  CHECK_FALSE(of_burstable.cpu_quota_us);  // a container has no limit
  CHECK_FALSE(of_burstable.memory_bytes);
  CHECK(of_burstable.processes == 100);
  auto of_guaranteed = limits_of_pod(make_pod(guaranteed), s);
  CHECK(of_guaranteed.cpu_quota_us == 50'000);
  CHECK(of_guaranteed.memory_bytes == 64 << 20);
  s.cpu_quota = false;
  CHECK(limits_of_pod(make_pod(guaranteed), s).cpu_quota_us == -1);
  CHECK(limits_of_pod(make_pod(R"({"containers": [{"name": "a"}]})"), s).cpu_shares == 2);
  // Of pods of one class, all that they ask for.
  shared_pods pods = {shared(make_pod(burstable)), shared(make_pod(burstable, "u2")),
                      shared(make_pod(guaranteed, "u3"))};
  CHECK(limits_of_burstable(pods, s).cpu_shares == 512);
  CHECK(limits_of_best_effort().cpu_shares == 2);
  CHECK(protection_of_pods(pods, s).unified.empty());
  s.is_cgroup2 = true;
  CHECK(protection_of_pods(pods, s).unified.at("memory.min") == "0");
  s.tiered_memory_reservation = true;
  CHECK(protection_of_pods(pods, s).unified.at("memory.min") == std::to_string(3 * (64 << 20)));
  CHECK(limits_of_burstable(pods, s).unified.at("memory.low") == std::to_string(2 * (64 << 20)));
  CHECK(limits_of_pod(*pods[2], s).unified.at("memory.min") == std::to_string(64 << 20));
}

TEST_CASE("all pods together have what isn't reserved, where that is enforced") {
  system_info machine{.cpus = 4, .memory_bytes = 8ULL << 30};
  kubelet_settings k;
  k.system_reserved = {{"cpu", schema::quantity::of(1)}, {"memory", schema::quantity::of(1 << 30)}};
  k.kube_reserved = {{"pid", schema::quantity::of(1000)}};
  auto all = limits_of_all_pods(machine, 32'768, k);
  CHECK(all.cpu_shares == 3072);
  CHECK(all.memory_bytes == 7LL << 30);
  CHECK(all.processes == 31'768);
  k.enforced.pods = false;
  CHECK(limits_of_all_pods(machine, 32'768, k).memory_bytes == 8LL << 30);
  auto kept = limits_of_reserved(k.system_reserved, enforcement::kept::compressible);
  CHECK(kept.cpu_shares == 1024);
  CHECK_FALSE(kept.memory_bytes);
  CHECK(kept.unified.empty());
  kept = limits_of_reserved(k.system_reserved, enforcement::kept::all);
  CHECK(kept.memory_bytes == 1 << 30);
  CHECK(kept.unified.at("memory.min") == "1073741824");
}

TEST_CASE("what is kept from pods is no more than the machine has, or that is said") {
  system_info machine;
  machine.cpus = 2;
  machine.memory_bytes = 1 << 30;
  machine.storage_bytes = 10'000'000;
  kubelet_settings k;
  k.system_reserved = {{"memory", schema::quantity::of(600 << 20)}, {"cpu", schema::quantity::of(2)}};
  k.kube_reserved = {{"memory", schema::quantity::of(300 << 20)}};
  k.thresholds = parse_thresholds("memory.available<100Mi,nodefs.available<5%", "", "", "").value();
  CHECK(reserved_beyond(machine, k).empty());
  k.thresholds =
      parse_thresholds("memory.available<200Mi", "memory.available<900Mi", "memory.available=1m", "").value();
  CHECK(reserved_beyond(machine, k) ==
        "Resource \"memory\" has a reservation of 1153433600 but capacity of 1073741824. Expected capacity >= "
        "reservation.");
  k = {};
  k.kube_reserved = {{"cpu", schema::quantity::of_milli(2001)}};
  CHECK(reserved_beyond(machine, k).starts_with("Resource \"cpu\" has a reservation of 2001m but capacity of 2."));
}

TEST_CASE("what is between a request and a limit of memory is slowed down") {
  CHECK(memory_high(100 << 20, 200 << 20, 0.5) == 150 << 20);
  CHECK(memory_high(0, 4096 * 10, 0.9) == 4096 * 9);
  CHECK_FALSE(memory_high(100, 100, 0.9));
  CHECK_FALSE(memory_high(100, 0, 0.9));
  CHECK(memory_high(0, 10'000, 0.9) == 8192);  // whole pages
}
