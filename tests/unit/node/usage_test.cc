// What a node measures of its pods: control groups of both versions, and what is told of them.
#include "node/usage/usage.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "json/write.h"
#include "node/usage/metrics.h"
#include "node/usage/summary.h"
#include "support/temporary_folder.h"

namespace kedge::node {

namespace {

void put(const std::string& path, std::string_view text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text;
}

const std::string pod_group = "/kubepods/burstable/podu1";

// The same group, as each version of the kernel tells it.
void make_v1(const std::string& root, const std::string& group) {
  auto file = [&](const char* name, std::string_view text) {
    put(root + "/" + std::string(name).substr(0, std::string(name).find('|')) + group + "/" +
            std::string(name).substr(std::string(name).find('|') + 1),
        text);
  };
  file("cpuacct|cpuacct.usage", "7000000000\n");
  file("cpuacct|cpuacct.stat", "user 500\nsystem 200\n");
  file("cpuacct|cgroup.procs", "41\n42\n");
  file("cpu|cpu.stat", "nr_periods 10\nnr_throttled 3\nthrottled_time 5000000\n");
  file("cpu|cpu.cfs_period_us", "100000\n");
  file("cpu|cpu.cfs_quota_us", "50000\n");
  file("cpu|cpu.shares", "102\n");
  file("memory|memory.usage_in_bytes", "9000000\n");
  file("memory|memory.max_usage_in_bytes", "9500000\n");
  file("memory|memory.failcnt", "4\n");
  file("memory|memory.limit_in_bytes", "67108864\n");
  file("memory|memory.memsw.limit_in_bytes", "9223372036854771712\n");
  file("memory|memory.stat",
       "cache 1\nrss 2\ntotal_cache 3000000\ntotal_rss 5000000\ntotal_mapped_file 700\ntotal_swap 11\n"
       "total_active_file 200\ntotal_inactive_file 1000000\ntotal_pgfault 33\ntotal_pgmajfault 2\n");
  file("memory|memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
  file("pids|pids.current", "5\n");
  file("pids|pids.max", "max\n");
  file("blkio|blkio.throttle.io_service_bytes_recursive",
       "259:7 Read 4096\n259:7 Write 8192\n259:7 Total 12288\nTotal 12288\n");
  file("blkio|blkio.throttle.io_serviced_recursive", "259:7 Read 1\n259:7 Write 2\nTotal 3\n");
}

void make_v2(const std::string& root, const std::string& group) {
  put(root + "/cgroup.controllers", "cpu memory io pids\n");
  auto file = [&](std::string_view name, std::string_view text) { put(root + group + "/" + std::string(name), text); };
  file("cpu.stat",
       "usage_usec 7000000\nuser_usec 5000000\nsystem_usec 2000000\nnr_periods 10\nnr_throttled 3\nthrottled_usec "
       "5000\n");
  file("cpu.max", "50000 100000\n");
  file("cpu.weight", "4\n");
  file("cgroup.procs", "41\n42\n");
  file("memory.current", "9000000\n");
  file("memory.peak", "9500000\n");
  file("memory.max", "67108864\n");
  file("memory.swap.max", "max\n");
  file("memory.swap.current", "11\n");
  file("memory.stat",
       "anon 5000000\nfile 3000000\nkernel 1234\nfile_mapped 700\ninactive_file 1000000\nactive_file 200\npgfault "
       "33\npgmajfault 2\n");
  file("memory.events", "low 0\nhigh 0\nmax 4\noom 1\noom_kill 1\n");
  file("pids.current", "5\n");
  file("pids.max", "max\n");
  file("io.stat", "259:7 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n");
  for (auto* name : {"cpu.pressure", "memory.pressure", "io.pressure"})
    file(name,
         "some avg10=1.50 avg60=0.25 avg300=0.00 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n");
}

void check_group(const cgroup_usage& u) {
  CHECK(u.cpu_nanoseconds == 7'000'000'000);
  CHECK(u.cpu_user_nanoseconds == 5'000'000'000);
  CHECK(u.cpu_system_nanoseconds == 2'000'000'000);
  CHECK(u.periods == 10);
  CHECK(u.throttled_periods == 3);
  CHECK(u.throttled_nanoseconds == 5'000'000);
  CHECK(u.cpu_quota_us == 50000);
  CHECK(u.cpu_period_us == 100000);
  CHECK(u.memory_bytes == 9'000'000);
  CHECK(u.working_set_bytes() == 8'000'000);
  CHECK(u.memory_most_bytes == 9'500'000);
  CHECK(u.memory_limit == 67108864);
  CHECK_FALSE(u.swap_limit.has_value());
  CHECK(u.memory_limit_hits == 4);
  CHECK(u.cache_bytes == 3'000'000);
  CHECK(u.rss_bytes == 5'000'000);
  CHECK(u.mapped_bytes == 700);
  CHECK(u.swap_bytes == 11);
  CHECK(u.page_faults == 33);
  CHECK(u.major_page_faults == 2);
  CHECK(u.oom_kills == 1);
  CHECK(u.processes == 2);
  CHECK(u.threads == 5);
  CHECK_FALSE(u.threads_limit.has_value());
  REQUIRE(u.io.size() == 1);
  CHECK(u.io[0].read_bytes == 4096);
  CHECK(u.io[0].written_bytes == 8192);
  CHECK(u.io[0].reads == 1);
  CHECK(u.io[0].writes == 2);
}

node_usage measured_with(const std::string& cgroups) {
  pod_to_measure pod{.ns = "default",
                     .name = "web",
                     .uid = "u1",
                     .start_time = "2026-01-01T00:00:00Z",
                     .cgroup = pod_group,
                     .sandbox_id = "sandbox",
                     .logs_folder = {},
                     .own_network = true,
                     .containers = {{.id = "c1", .name = "main", .image = "docker.io/a:1", .started_at = 1'000'000'000},
                                    {.id = "gone", .name = "other", .image = {}, .started_at = 0}}};
  auto u = measure({.root = {}, .cgroups = cgroups, .storage = "/"}, {pod});
  REQUIRE(u.has_value());
  return *std::move(u);
}

bool has(const std::string& text, std::string_view line) {
  const bool there = text.contains("\n" + std::string(line));
  if (!there) MESSAGE(line, " isn't in ", text);
  return there;
}

}  // namespace

TEST_CASE("a control group tells the same in both versions") {
  temporary_folder v1, v2;
  make_v1(v1.path(), "/a");
  make_v2(v2.path(), "/a");
  auto first = cgroup_files(v1.path()).read("/a"), second = cgroup_files(v2.path()).read("/a");
  REQUIRE(first);
  REQUIRE(second);
  check_group(*first);
  check_group(*second);
  CHECK(first->cpu_shares == 102);
  CHECK(second->cpu_shares == 80);  // of weight 4, as runc turns them
  CHECK(second->kernel_bytes == 1234);
  REQUIRE(second->cpu_pressure);
  CHECK(second->cpu_pressure->some.last_10s == 1.5);
  CHECK(second->cpu_pressure->some.total_microseconds == 2'500'000);
  CHECK(second->cpu_pressure->full.total_microseconds == 7);
  CHECK(cgroup_files(v1.path()).first_process("/a") == 41);
  CHECK_FALSE(cgroup_files(v1.path()).read("/b"));
  CHECK_FALSE(cgroup_files(v2.path()).read("/b"));
  CHECK_FALSE(parse_pressure("").has_value());
}

TEST_CASE("a group without limits and without what newer kernels tell") {
  temporary_folder f;
  put(f.path() + "/cgroup.controllers", "cpu\n");
  put(f.path() + "/a/cpu.max", "max 100000\n");
  put(f.path() + "/a/memory.max", "max\n");
  auto u = cgroup_files(f.path()).read("/a");
  REQUIRE(u);
  CHECK(u->cpu_quota_us == 0);
  CHECK_FALSE(u->memory_limit.has_value());
  CHECK_FALSE(u->cpu_pressure.has_value());
  CHECK(u->working_set_bytes() == 0);
}

TEST_CASE("the interfaces of a network namespace") {
  auto all = parse_net_dev(
      "Inter-|   Receive                                                |  Transmit\n"
      " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier "
      "compressed\n"
      "    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n"
      "  eth0: 1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0\n"
      "veth12: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n"
      "  eth1: 1 2\n");
  REQUIRE(all.size() == 1);
  CHECK(all[0].name == "eth0");
  CHECK(all[0].received_bytes == 1000);
  CHECK(all[0].received_packets == 10);
  CHECK(all[0].receive_errors == 1);
  CHECK(all[0].receive_drops == 2);
  CHECK(all[0].sent_bytes == 2000);
  CHECK(all[0].sent_packets == 20);
  CHECK(all[0].send_errors == 3);
  CHECK(all[0].send_drops == 4);
}

TEST_CASE("what is told of a pod, by the names of the kubelet and of cAdvisor") {
  temporary_folder f;
  for (auto* below : {"", "/sandbox", "/c1"}) make_v1(f.path(), pod_group + below);
  make_v1(f.path(), "/kubepods");
  auto u = measured_with(f.path());
  add_nanocores(u, {});
  REQUIRE(u.pods.size() == 1);
  REQUIRE(u.pods[0].measured.size() == 1);  // whose group is gone isn't told of

  auto resource = resource_metrics(&u);
  CHECK(has(resource, R"(container_cpu_usage_seconds_total{container="main",namespace="default",pod="web"} 7 1)"));
  CHECK(
      has(resource, R"(container_memory_working_set_bytes{container="main",namespace="default",pod="web"} 8000000 1)"));
  CHECK(has(resource, R"(container_start_time_seconds{container="main",namespace="default",pod="web"} 1)"));
  CHECK(has(resource, R"(pod_cpu_usage_seconds_total{namespace="default",pod="web"} 7 1)"));
  CHECK(has(resource, "node_cpu_usage_seconds_total "));
  CHECK(has(resource, "node_memory_working_set_bytes "));
  CHECK(has(resource, "resource_scrape_error 0\n"));
  CHECK(resource_metrics(nullptr).contains("\nresource_scrape_error 1\n"));

  system_info machine;
  machine.cpus = 2;
  u.cpu_pressure = u.memory_pressure = u.io_pressure = pressure{.some = {.total_microseconds = 1'500'000}, .full = {}};
  auto all = cadvisor_metrics(u, machine);
  const std::string of_main = R"(container="main",id="/kubepods/burstable/podu1/c1",image="docker.io/a:1",name="c1",)"
                              R"(namespace="default",pod="web"})";
  CHECK(has(all, "container_cpu_usage_seconds_total{cpu=\"total\"," + of_main + " 7 1"));
  CHECK(has(all, "container_memory_working_set_bytes{" + of_main + " 8000000 1"));
  CHECK(has(all, "container_spec_memory_limit_bytes{" + of_main + " 67108864\n"));
  CHECK(has(all, "container_spec_cpu_quota{" + of_main + " 50000\n"));
  CHECK(has(all, "container_cpu_cfs_throttled_periods_total{" + of_main + " 3 1"));
  CHECK(has(all, "container_memory_failures_total{failure_type=\"pgfault\",scope=\"container\"," + of_main + " 33 1"));
  CHECK(has(all, "container_fs_writes_bytes_total{device=\"259:7\"," + of_main + " 8192 1"));
  CHECK(
      has(all, "container_memory_rss{container=\"\",id=\"/kubepods\",image=\"\",name=\"\",namespace=\"\",pod=\"\"} "));
  CHECK(has(all,
            "container_memory_rss{container=\"\",id=\"/kubepods/burstable/podu1\",image=\"\",name=\"\","
            "namespace=\"default\",pod=\"web\"} 5000000 1"));
  CHECK(has(all, "container_cpu_usage_seconds_total{cpu=\"total\",container=\"\",id=\"/\","));
  CHECK(has(all,
            "container_pressure_cpu_waiting_seconds_total{container=\"\",id=\"/"
            "\",image=\"\",name=\"\",namespace=\"\",pod=\"\"} 1.5 "));
  CHECK(has(all, "machine_cpu_cores{boot_id=\"\",machine_id=\"\",system_uuid=\"\"} 2\n"));

  auto summary = usage_summary(u, "n1", {{"c1", {.bytes = 4096, .inodes = 3}}}, false);
  CHECK(summary["node"]["nodeName"].as_string() == "n1");
  for (auto* what : {"cpu", "memory", "io"})
    CHECK(summary["node"][what]["psi"]["some"]["total"].as_integer() == 1'500'000);
  CHECK(summary["pods"][0]["cpu"]["psi"].is_null());  // version 1 doesn't count it
  CHECK(summary["node"]["systemContainers"][0]["name"].as_string() == "pods");
  auto& pod = summary["pods"][0];
  CHECK(json::write(pod["podRef"]) == R"({"name":"web","namespace":"default","uid":"u1"})");
  CHECK(pod["memory"]["workingSetBytes"].as_integer() == 8'000'000);
  CHECK(pod["memory"]["availableBytes"].as_integer() == 67108864 - 8'000'000);
  CHECK(pod["containers"][0]["name"].as_string() == "main");
  CHECK(pod["containers"][0]["cpu"]["usageCoreNanoSeconds"].as_integer() == 7'000'000'000);
  CHECK(pod["containers"][0]["cpu"]["usageNanoCores"].is_integer());
  CHECK(pod["containers"][0]["rootfs"]["usedBytes"].as_integer() == 4096);
  CHECK(pod["ephemeral-storage"]["usedBytes"].as_integer() == 4096);
  CHECK(pod["process_stats"]["process_count"].as_integer() == 4);
  auto brief = usage_summary(u, "n1", {}, true)["pods"][0];
  CHECK(brief["cpu"].is_object());
  CHECK(brief["ephemeral-storage"].is_null());
  CHECK(brief["containers"][0]["rootfs"].is_null());
}

TEST_CASE("a rate is that since the measurement before, or since the container began") {
  temporary_folder f;
  make_v2(f.path(), pod_group + "/c1");
  auto u = measured_with(f.path());
  auto& used = u.pods[0].measured[0].used;
  const wall_time start{std::chrono::seconds(1'000)};
  used.at = start + std::chrono::seconds(10);
  auto counts = cpu_counts_of(u);
  used.at += std::chrono::seconds(4);
  used.cpu_nanoseconds += 2'000'000'000;
  add_nanocores(u, counts);
  CHECK(u.pods[0].measured[0].nanocores == 500'000'000);
  // The count went down: another container has the name.
  used.cpu_nanoseconds = 1'000'000'000;
  u.pods[0].measured[0].started_at = (used.at - std::chrono::seconds(2)).time_since_epoch().count();
  add_nanocores(u, counts);
  CHECK(u.pods[0].measured[0].nanocores == 500'000'000);
  u.pods[0].measured[0].started_at = 0;
  add_nanocores(u, {});
  CHECK_FALSE(u.pods[0].measured[0].nanocores.has_value());
}

}  // namespace kedge::node
