// CPUs of a container's own: the kubelet's choice over many machines, its state file, and when nothing is given.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <vector>

#include "base/strings.h"
#include "node/cpus/cpu_ledger.h"
#include "support/temporary_folder.h"

using namespace kedge;
using namespace kedge::node;

namespace {

// Sockets of cores with two threads each, whose numbers are a core apart.
cpu_topology machine(int sockets, int cores, int threads = 2) {
  cpu_topology out;
  auto all = sockets * cores;
  for (int cpu = 0; cpu < all * threads; ++cpu) {
    auto core = cpu % all;
    out.places[cpu] = {core / cores, core / cores, core, core / cores};
  }
  return out;
}

cpu_ledger ledger(cpu_manager_settings s = {}, int reserved = 1, cpu_topology topology = machine(1, 4)) {
  auto made = cpu_ledger::make(std::move(topology), s, reserved);
  REQUIRE_MESSAGE(made, made.error().message);
  return *std::move(made);
}

result<void> give(cpu_ledger& l, std::string_view uid, const std::vector<cpu_need>& needs) {
  for (auto& n : needs) KEDGE_CHECK(l.give(uid, needs, n.container, std::nullopt));
  return {};
}

std::string own(const cpu_ledger& l, std::string_view uid, std::string_view container) {
  auto* cpus = l.own(uid, container);
  return cpus ? text_of(*cpus) : "none";
}

}  // namespace

// tests/answers/node/cpus.table: "T" and each CPU's socket.numa.core.cache, then what was free, how many were asked
// for, how, and what the kubelet 1.37.2 chose.
TEST_CASE("CPUs are chosen as the kubelet chooses them") {
  std::ifstream in(KEDGE_CPU_ANSWERS);
  REQUIRE(in);
  cpu_topology topology;
  int asked = 0, wrong = 0;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("T ")) {
      topology.places.clear();
      int cpu = 0;
      for (auto place : split(std::string_view(line).substr(2), ' ')) {
        auto p = split(place, '.');
        REQUIRE(p.size() == 4);
        auto n = [&](std::size_t i) { return static_cast<int>(parse_int(p[i]).value()); };
        topology.places[cpu++] = {n(0), n(1), n(2), n(3)};
      }
      continue;
    }
    auto parts = split(line, ';');
    REQUIRE(parts.size() == 4);
    cpu_preferences how;
    for (auto word : split(parts[2], '+')) {
      how.spread |= word == "spread";
      how.by_cache |= word == "uncore";
      how.by_socket |= word == "socket";
      if (word.starts_with("numa")) {
        how.over_numa = true;
        how.group = static_cast<int>(parse_int(word.substr(4)).value());
      }
    }
    auto chosen =
        choose_cpus(topology, parse_cpus(parts[0]).value(), static_cast<int>(parse_int(parts[1]).value()), how);
    auto answer = chosen ? text_of(*chosen) : "!" + chosen.error().message;
    ++asked;
    if (answer == parts[3]) continue;
    ++wrong;
    CHECK_MESSAGE(wrong > 5, line, " here: ", answer);
  }
  CHECK(asked > 2000);
  CHECK(wrong == 0);
}

TEST_CASE("lists of CPUs") {
  CHECK(text_of({0, 1, 2, 5, 7, 8}) == "0-2,5,7-8");
  CHECK(parse_cpus("0-2,5") == cpu_set{0, 1, 2, 5});
  CHECK(parse_cpus("") == cpu_set{});
  for (auto* wrong : {"a", "3-1", "-1", "1,", "0-100000", "1--2"}) CHECK_FALSE(parse_cpus(wrong));
}

TEST_CASE("whole CPUs are a container's own until its pod has gone, and init containers' are used again") {
  auto l = ledger();
  CHECK(text_of(l.allocatable()) == "1-7");  // the lowest is kept
  REQUIRE(give(l, "u1", {{"init", 2, true}, {"side", 1, true, true}, {"main", 2}}));
  auto init = *l.own("u1", "init"), main = *l.own("u1", "main"), side = *l.own("u1", "side");
  CHECK(init.size() == 2);
  CHECK(intersection(main, side).empty());
  CHECK(difference(together(main, side), together(init, l.allocatable())).empty());
  auto shared = l.shared();
  CHECK(intersection(shared, together(main, side)).empty());
  REQUIRE(give(l, "u1", {{"main", 2}}));  // again: as it was
  CHECK(*l.own("u1", "main") == main);
  auto more = give(l, "u2", {{"main", 7}});
  REQUIRE(!more);
  CHECK(more.error().message.starts_with("not enough cpus available to satisfy request: requested=7, available="));
  CHECK(l.keep_only({}));
  CHECK(text_of(l.shared()) == "0-7");
}

TEST_CASE("whole cores alone, where that is said") {
  auto l = ledger({.full_cores = true});
  auto odd = give(l, "u1", {{"main", 3}});
  REQUIRE(!odd);
  CHECK(odd.error().code == errc::conflict);
  CHECK(odd.error().message == "SMT Alignment Error: requested 3 cpus not multiple cpus per core = 2");
  auto many = give(l, "u1", {{"main", 8}});
  REQUIRE(!many);
  CHECK(many.error().message ==
        "SMT Alignment Error: not enough free physical CPUs: available physical CPUs = 6, "
        "requested CPUs = 8, CPUs per core = 2");
  REQUIRE(give(l, "u1", {{"main", 2}}));
  CHECK(own(l, "u1", "main") == "1,5");
}

TEST_CASE("what is reserved by name, strictly or not") {
  auto l = ledger({.strict = true, .reserved = "3,7"}, 2);
  CHECK(text_of(l.shared()) == "0-2,4-6");
  CHECK_FALSE(cpu_ledger::make(machine(1, 2), {.reserved = "0-1"}, 1));
  CHECK_FALSE(cpu_ledger::make(machine(1, 2), {.reserved = "9"}, 1));
  CHECK_FALSE(cpu_ledger::make(machine(1, 2), {}, 0));
}

TEST_CASE("the kubelet's state is read, and its checksums are ours") {
  auto l = ledger({}, 1, machine(1, 4, 1));
  // As the kubelet 1.37.2 writes it.
  constexpr std::string_view kept =
      R"({"policyName":"static","defaultCpuSet":"0-3","entries":{"u1":{"b":"2","main":"1,3"}},"checksum":2228696659,"data":"{\"policyName\":\"static\",\"defaultCpuSet\":\"0-3\",\"entries\":{\"u1\":{\"b\":\"2\",\"main\":\"1,3\"}},\"baselines\":{\"u1\":{\"main\":{\"baseline\":\"1,3\"}}}}","dataChecksum":2734961366})";
  auto overlap = l.restore(kept);
  REQUIRE(!overlap);
  CHECK(overlap.error().message.contains("overlaps with default cpuset \"0-3\""));
  auto changed = std::string(kept);
  changed.replace(changed.find("0-3"), 3, "0-2");
  CHECK(l.restore(changed).error().code == errc::corrupt);
  REQUIRE(give(l, "u1", {{"main", 2}}));
  auto again = ledger({}, 1, machine(1, 4, 1));
  auto read = again.restore(l.checkpoint());
  REQUIRE_MESSAGE(read, read.error().message);
  CHECK(*again.own("u1", "main") == *l.own("u1", "main"));
  CHECK(again.shared() == l.shared());
  auto other = ledger({}, 1, machine(1, 5, 1));
  CHECK(other.restore(l.checkpoint()).error().message ==
        "current set of available CPUs \"0-4\" doesn't match with CPUs in state \"0-3\"");
  CHECK(other.restore(R"({"policyName":"none","defaultCpuSet":"","checksum":0})"));
  auto damaged = other.restore(R"({"policyName":"static","defaultCpuSet":"?","entries":{"u":{"a":"1","b":"1"}}})");
  REQUIRE(!damaged);
  CHECK(damaged.error().code == errc::corrupt);
}

TEST_CASE("a machine's CPUs are read from /sys") {
  temporary_folder folder;
  auto write = [&](const std::string& path, std::string_view text) {
    auto file = folder.path() + "/sys/devices/system/" + path;
    std::filesystem::create_directories(std::filesystem::path(file).parent_path());
    std::ofstream(file) << text << '\n';
  };
  write("cpu/online", "0-3");
  for (int cpu = 0; cpu < 4; ++cpu) {
    auto at = "cpu/cpu" + std::to_string(cpu);
    write(at + "/topology/physical_package_id", cpu % 2 == 0 ? "0" : "1");
    write(at + "/topology/thread_siblings_list", cpu % 2 == 0 ? "0,2" : "1,3");
    write(at + "/cache/index3/level", "3");
    write(at + "/cache/index3/id", std::to_string(cpu % 2 + 4));
  }
  write("node/node0/cpulist", "0,2");
  write("node/node1/cpulist", "1,3");
  auto read = read_topology(folder.path());
  REQUIRE_MESSAGE(read, read.error().message);
  auto& p = read->places.at(3);
  CHECK(p.socket == 1);
  CHECK(p.numa == 1);
  CHECK(p.core == 1);
  CHECK(p.cache == 5);
  CHECK(read->per(cpu_level::core) == 2);
  CHECK_FALSE(read_topology(folder.path() + "/none"));
}
