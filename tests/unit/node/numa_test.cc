// Devices, CPUs and memory near to each other: the kubelet's choices over many machines of several NUMA nodes, the
// memory manager's file, and what a machine tells of its nodes.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "base/strings.h"
#include "json/parse.h"
#include "loop.h"
#include "node/cpus/cpu_ledger.h"
#include "node/devices/ledger.h"
#include "node/numa/memory_ledger.h"
#include "node/pods/exclusive.h"
#include "node/pods/topology_manager.h"
#include "support/temporary_folder.h"

using namespace kedge;
using namespace kedge::node;
using json::value;

namespace {

constexpr std::uint64_t mebi = 1024 * 1024;

std::string_view uid_of(const value& pod) { return pod["metadata"]["uid"].as_string(); }

class cpus_of_machine final : public hint_provider {
 public:
  explicit cpus_of_machine(cpu_ledger& l) : ledger_(l) {}
  hints_by_resource hints(const value& pod, const value& c) const override {
    return ledger_.hints(uid_of(pod), cpu_needs_of(pod), c["name"].as_string());
  }
  hints_by_resource pod_hints(const value& pod) const override {
    return ledger_.pod_hints(uid_of(pod), cpu_needs_of(pod));
  }
  task<result<void>> give(value pod, value c, numa_hint near) override {
    co_return ledger_.give(uid_of(pod), cpu_needs_of(pod), c["name"].as_string(), near.nodes);
  }

 private:
  cpu_ledger& ledger_;
};

class memory_of_machine final : public hint_provider {
 public:
  explicit memory_of_machine(memory_ledger& l) : ledger_(l) {}
  hints_by_resource hints(const value& pod, const value& c) const override {
    for (auto& need : memory_needs_of(pod))
      if (need.container == c["name"].as_string()) return ledger_.hints(uid_of(pod), need);
    return {};
  }
  hints_by_resource pod_hints(const value& pod) const override {
    return ledger_.pod_hints(uid_of(pod), memory_needs_of(pod));
  }
  task<result<void>> give(value pod, value c, numa_hint near) override {
    co_return ledger_.give(uid_of(pod), memory_needs_of(pod), c["name"].as_string(), near);
  }

 private:
  memory_ledger& ledger_;
};

// Devices whose plugins agree to everything and prefer nothing.
class devices_of_machine final : public hint_provider {
 public:
  devices_of_machine(device_ledger& l, numa_mask nodes) : ledger_(l), nodes_(nodes) {}
  hints_by_resource hints(const value& pod, const value& c) const override {
    hints_by_resource out;
    for (auto& [resource, count] : needs(c["resources"]["limits"]))
      out[resource] = ledger_.hints(resource, count, {}, reusable(pod, c, resource), nodes_);
    return out;
  }
  hints_by_resource pod_hints(const value& pod) const override {
    hints_by_resource out;
    for (auto& [resource, amount] : pod::amounts_of_pod(pod, "limits"))
      if (ledger_.knows(resource))
        out[resource] = ledger_.hints(resource, static_cast<std::size_t>(amount.value()), {}, {}, nodes_);
    return out;
  }
  result<void> can_give(const value& pod, const value& c) const override {
    for (auto& [resource, count] : needs(c["resources"]["limits"]))
      KEDGE_CHECK(ledger_.begin(uid_of(pod), c["name"].as_string(), resource, count, reusable(pod, c, resource), {}));
    return {};
  }
  task<result<void>> give(value pod, value c, numa_hint near) override {
    auto name = c["name"].as_string();
    for (auto& [resource, count] : needs(c["resources"]["limits"])) {
      KEDGE_CO_TRY(auto choice,
                   ledger_.begin(uid_of(pod), name, resource, count, reusable(pod, c, resource), near.nodes));
      if (!choice) continue;
      for (auto* from : {&choice->aligned, &choice->unaligned, &choice->unplaced}) (void)choice->take(*from);
      ledger_.give(uid_of(pod), name, resource, choice->taken, "");
    }
    co_return result<void>();
  }

 private:
  std::map<std::string, std::size_t> needs(const value& limits) const {
    std::map<std::string, std::size_t> out;
    for (auto& [resource, amount] : pod::amounts_of(limits))
      if (ledger_.knows(resource)) out[resource] = static_cast<std::size_t>(amount.value());
    return out;
  }
  device_ids reusable(const value& pod, const value& before, std::string_view resource) const {
    device_ids out;
    for (auto* list : {"initContainers", "containers"})
      if (auto* all = pod["spec"][list].array())
        for (auto& c : *all) {
          if (c["name"].as_string() == before["name"].as_string()) return out;
          auto* has = ledger_.find(uid_of(pod), c["name"].as_string(), resource);
          if (!has) continue;
          for (auto& id : ids_of(has->devices)) {
            if (std::string_view(list) == "initContainers" && c["restartPolicy"].is_null())
              out.insert(id);
            else
              out.erase(id);
          }
        }
    return out;
  }

  device_ledger& ledger_;
  numa_mask nodes_;
};

// "kind:name:CPUs:MiB:MiB of huge pages:resource=devices" each.
value pod_of(std::string_view uid, const value& containers) {
  value spec{json::object{}};
  json::array init, main;
  for (auto& text : *containers.array()) {
    auto p = split(text.as_string(), ':');
    REQUIRE(p.size() == 6);
    value all(json::object{{"cpu", std::string(p[2])}, {"memory", std::string(p[3]) + "Mi"}});
    if (p[4] != "0") all.set("hugepages-2Mi", std::string(p[4]) + "Mi");
    if (auto equals = p[5].find('='); equals != std::string_view::npos)
      all.set(std::string(p[5].substr(0, equals)), std::string(p[5].substr(equals + 1)));
    value c(json::object{{"name", std::string(p[1])}, {"resources", json::object{{"limits", all}, {"requests", all}}}});
    if (p[0] == "s") c.set("restartPolicy", "Always");
    (p[0] == "c" ? main : init).push_back(std::move(c));
  }
  spec.set("initContainers", std::move(init));
  spec.set("containers", std::move(main));
  return json::object{{"metadata", json::object{{"uid", std::string(uid)}}}, {"spec", std::move(spec)}};
}

// A recorded machine (tests/answers/node/record_numa.go).
struct machine {
  numa_nodes nodes;
  cpu_topology topology;
  kubelet_settings settings;
  pod::amounts kept;
  device_ledger devices;
  numa_mask all = 0;

  explicit machine(const value& m) {
    using kind = topology_manager_settings::policy_kind;
    settings.topology.policy = m["policy"].as_string() == "none"          ? kind::none
                               : m["policy"].as_string() == "best-effort" ? kind::best_effort
                               : m["policy"].as_string() == "restricted"  ? kind::restricted
                                                                          : kind::single_numa_node;
    settings.topology.of_pods = m["scope"].as_string() == "pod";
    settings.topology.prefer_closest = m["closest"].as_bool();
    if (auto* options = m["options"].array())
      for (auto& o : *options) {
        settings.cpus.full_cores |= o.as_string() == "full-pcpus-only";
        settings.cpus.over_numa |= o.as_string() == "distribute-cpus-across-numa";
        settings.cpus.by_socket |= o.as_string() == "align-by-socket";
      }
    for (auto& n : *m["nodes"].array()) {
      auto id = static_cast<int>(n["id"].as_integer());
      auto mib = [&](const char* name) { return static_cast<std::uint64_t>(n[name].as_integer()) * mebi; };
      auto& node = nodes[id];
      node.memory = mib("memory");
      node.hugepages[2 * mebi] = mib("huge");
      if (auto* distances = n["distances"].array())
        for (auto& d : *distances) node.distances.push_back(static_cast<std::uint64_t>(d.as_integer()));
      all |= mask_of(id);
      if (mib("reserved") == 0) continue;
      pod::amounts reserved{{"memory", schema::quantity::of(static_cast<std::int64_t>(mib("reserved")))}};
      pod::add(kept, reserved);
      settings.memory.reserved.push_back({id, reserved});
    }
    int cpu = 0;
    for (auto place : split(m["cpus"].as_string(), ' ')) {
      auto p = split(place, '.');
      auto n = [&](std::size_t i) { return static_cast<int>(parse_int(p[i]).value()); };
      topology.places[cpu++] = {n(0), n(1), n(2), n(3)};
    }
    for (auto& [resource, told] : *m["devices"].object()) {
      std::vector<plugin_device> of;
      for (auto where : split(told.as_string(), ' ')) {
        auto& d = of.emplace_back(plugin_device{"d" + std::to_string(of.size()), true, {}});
        if (where != "-")
          for (auto node : split(where, ',')) d.numa_nodes.push_back(parse_int(node).value());
      }
      devices.connect(resource);
      (void)devices.update(resource, std::move(of));
    }
  }
};

std::string text_of(const std::vector<int>& nodes) {
  std::string out;
  for (auto n : nodes) out += (out.empty() ? "" : " ") + std::to_string(n);
  return "[" + out + "]";
}

std::string given_to(const value& pod, const cpu_ledger& cpus, const memory_ledger& memory,
                     const device_ledger& devices) {
  std::string out;
  for (auto* list : {"containers", "initContainers"})
    for (auto& c : *pod["spec"][list].array()) {
      auto name = c["name"].as_string();
      auto* own = cpus.own(uid_of(pod), name);
      out += std::string(name) + "=" + (own ? node::text_of(*own) : "");
      std::set<std::string> blocks;
      if (auto* has = memory.find(uid_of(pod), name))
        for (auto& b : *has) blocks.insert(b.type + ":" + std::to_string(b.size / mebi) + ":" + text_of(b.nodes));
      for (auto& b : blocks) out += " " + b;
      for (auto* resource : {"example.com/a", "example.com/b"})
        if (auto* has = devices.find(uid_of(pod), name, resource))
          for (auto& id : ids_of(has->devices)) out += " " + id;
      out += ";";
    }
  return out;
}

std::string recorded(const value& pod, const value& given) {
  std::string out;
  for (auto* list : {"containers", "initContainers"})
    for (auto& c : *pod["spec"][list].array()) {
      auto name = c["name"].as_string();
      auto& one = given[name];
      out += std::string(name) + "=" + std::string(one["cpus"].as_string());
      for (auto* what : {"memory", "devices"})
        if (auto* all = one[what].array())
          for (auto& text : *all) out += " " + std::string(text.as_string());
      out += ";";
    }
  return out;
}

// "assignments;cells;free memory;free huge pages" of a node, of the ledger's file.
std::string state_of(const value& file, std::size_t id) {
  auto& n = file["machineState"][std::to_string(id)];
  std::vector<int> cells;
  for (auto& c : *n["cells"].array()) cells.push_back(static_cast<int>(c.as_integer()));
  auto free = [&](const char* type) {
    return std::to_string(static_cast<std::uint64_t>(n["memoryMap"][type]["free"].as_integer()) / mebi);
  };
  return std::to_string(n["numberOfAssignments"].as_integer()) + ";" + text_of(cells) + ";" + free("memory") + ";" +
         free("hugepages-2Mi");
}

}  // namespace

TEST_CASE("pods are admitted on machines of several NUMA nodes as the kubelet admits them") {
  std::ifstream in(KEDGE_NUMA_ANSWERS);
  REQUIRE(in);
  int asked = 0, wrong = 0;
  auto differ = [&](const std::string& what, const std::string& here, const std::string& there) {
    if (here == there) return;
    ++wrong;
    CHECK_MESSAGE(wrong > 5, what, "\n here:  ", here, "\n there: ", there);
  };
  for (std::string line; std::getline(in, line);) {
    auto told = json::parse(line);
    REQUIRE(told);
    auto& record = *told;
    machine m(record);
    auto cpus = cpu_ledger::make(m.topology, m.settings.cpus, static_cast<int>(record["kept"].as_integer()));
    REQUIRE_MESSAGE(cpus, cpus.error().message);
    auto memory = memory_ledger::make(m.nodes, m.settings.memory, m.kept);
    REQUIRE_MESSAGE(memory, memory.error().message);
    cpus_of_machine of_cpus(*cpus);
    memory_of_machine of_memory(*memory);
    devices_of_machine of_devices(m.devices, m.all);
    topology_manager manager(m.settings.topology, {&of_cpus, &of_memory, &of_devices});
    manager.use(m.nodes);
    std::set<std::string, std::less<>> active;
    auto keep = [&] {
      (void)cpus->keep_only(active);
      (void)memory->keep_only(active);
      m.devices.keep_only(active);
    };
    for (auto& step : *record["steps"].array()) {
      if (auto gone = step["remove"].as_string(); !gone.empty()) {
        active.erase(std::string(gone));
        keep();
        continue;
      }
      auto uid = std::string(step["pod"].as_string());
      auto pod = pod_of(uid, step["of"]);
      active.insert(uid);
      std::optional<waiting_reason> refused;
      test_loop t;
      t.run([](topology_manager& by, const value& p, std::optional<waiting_reason>& to) -> task<void> {
        to = co_await by.admit(p);
      }(manager, pod, refused));
      memory->given_all(uid);
      ++asked;
      auto what = line.substr(0, 400) + " … " + uid;
      differ(what, refused ? refused->reason + ": " + refused->message : "",
             step["reason"].is_null()
                 ? ""
                 : std::string(step["reason"].as_string()) + ": " + std::string(step["message"].as_string()));
      if (refused) {
        active.erase(uid);
        keep();
      } else {
        differ(what, given_to(pod, *cpus, *memory, m.devices), recorded(pod, step["given"]));
      }
    }
    auto file = json::parse(memory->checkpoint());
    REQUIRE(file);
    for (std::size_t i = 0; i < record["state"].size(); ++i)
      differ(line.substr(0, 400) + " … in the end", state_of(*file, i), std::string(record["state"][i].as_string()));
    // What is written is taken up again, and what is free comes to the same.
    auto again = memory_ledger::make(m.nodes, m.settings.memory, m.kept);
    auto restored = again->restore(memory->checkpoint());
    CHECK_MESSAGE(restored, (restored ? std::string() : restored.error().message));
    auto file_again = json::parse(again->checkpoint());
    REQUIRE(file_again);
    CHECK((*file_again)["entries"] == (*file)["entries"]);
    std::int64_t free_again = 0, free = 0;
    for (auto& [id, n] : *(*file)["machineState"].object()) {
      free += n["memoryMap"]["memory"]["free"].as_integer();
      free_again += (*file_again)["machineState"][id]["memoryMap"]["memory"]["free"].as_integer();
    }
    CHECK(free_again == free);
  }
  CHECK(asked > 4000);
  CHECK(wrong == 0);
}

namespace {

numa_nodes two_nodes() {
  return {{0, {.memory = 1024 * mebi, .hugepages = {{2 * mebi, 64 * mebi}}, .distances = {10, 20}}},
          {1, {.memory = 1024 * mebi, .hugepages = {}, .distances = {20, 10}}}};
}

pod::amounts memory_of(std::int64_t mib) { return {{"memory", schema::quantity::of(mib * std::int64_t(mebi))}}; }

std::string refusal(const memory_manager_settings& s, const pod::amounts& kept) {
  auto made = memory_ledger::make(two_nodes(), s, kept);
  return made ? "" : made.error().message;
}

}  // namespace

TEST_CASE("what nodes keep of memory is what the node keeps, in the kubelet's words") {
  CHECK(refusal({}, {}) == "[memorymanager] you should specify the system reserved memory");
  CHECK(refusal({.is_static = true, .reserved = {{5, memory_of(1)}}}, memory_of(1)) ==
        "the reserved memory configuration references a NUMA node 5 that does not exist on this machine");
  CHECK(refusal({.is_static = true, .reserved = {{0, memory_of(1)}, {1, memory_of(2)}}}, memory_of(2)) ==
        "the total amount \"3145728\" of type \"memory\" is not equal to the value \"2097152\" determined by Node "
        "Allocatable feature");
  auto made = memory_ledger::make(two_nodes(), {.is_static = true, .reserved = {{0, memory_of(24)}}}, memory_of(24));
  REQUIRE(made);
  CHECK(made->allocatable() == std::vector<memory_block>{{{0}, "hugepages-2Mi", 64 * mebi},
                                                         {{0}, "memory", 936 * mebi},
                                                         {{1}, "memory", 1024 * mebi}});
}

TEST_CASE("a machine has only so many nodes that all sets of them are looked at") {
  auto sets = [](int nodes) {
    std::size_t out = 0;
    each_subset(mask_of(nodes) - 1, [&](numa_mask) { ++out; });
    return out;
  };
  CHECK(sets(numa_nodes_most) == 4095);
  CHECK(sets(32) == 0);
  numa_nodes many;
  for (int i = 0; i < 32; ++i) many[i] = {.memory = 1024 * mebi, .hugepages = {}, .distances = {}};
  auto made = memory_ledger::make(many, {.is_static = true, .reserved = {{0, memory_of(24)}}}, memory_of(24));
  REQUIRE(!made);
  CHECK(made.error().message == "machines with more than 12 NUMA nodes are unsupported");
  // Who minds isn't admitted, and that at once.
  topology_manager_settings settings{.policy = topology_manager_settings::policy_kind::best_effort};
  CHECK(numa_policy::make(settings, many).error().message == "unsupported on machines with more than 8 NUMA Nodes");
}

TEST_CASE("a memory manager's file of another machine, policy or hand is refused") {
  memory_manager_settings settings{.is_static = true, .reserved = {{0, memory_of(24)}}};
  auto l = *memory_ledger::make(two_nodes(), settings, memory_of(24));
  std::vector<memory_need> needs = {{.container = "main", .asked = {{"memory", 100 * mebi}}}};
  REQUIRE(l.give("u1", needs, "main", {}));
  const auto kept = l.checkpoint();
  auto refused = [&](const std::string& text) {
    auto other = *memory_ledger::make(two_nodes(), settings, memory_of(24));
    auto restored = other.restore(text);
    return restored ? std::string() : restored.error().message;
  };
  CHECK(refused(kept).empty());
  CHECK(refused(R"({"policyName":"None","machineState":{},"checksum":0})") ==
        "[memorymanager] configured policy \"Static\" differs from state checkpoint policy \"None\"");
  auto bent = kept;
  bent.replace(bent.rfind("104857600"), 9, "104857601");
  CHECK(refused(bent) == "checkpoint is corrupted");
  auto smaller = two_nodes();
  smaller[1].memory /= 2;
  auto other = *memory_ledger::make(smaller, settings, memory_of(24));
  CHECK(other.restore(kept).error().message ==
        "[memorymanager] the expected machine state is different from the real one");
  // As the kubelet 1.34 writes it, which knows no "data".
  CHECK(refused(R"({"policyName":"Static","machineState":{"0":{"numberOfAssignments":1,"memoryMap":{"hugepages-2Mi":)"
                R"({"total":67108864,"systemReserved":0,"allocatable":67108864,"reserved":0,"free":67108864},"memory":)"
                R"({"total":1073741824,"systemReserved":25165824,"allocatable":981467136,"reserved":104857600,)"
                R"("free":876609536}},"cells":[0]},"1":{"numberOfAssignments":0,"memoryMap":{"memory":{"total":)"
                R"(1073741824,"systemReserved":0,"allocatable":1073741824,"reserved":0,"free":1073741824}},"cells":)"
                R"([1]}},"entries":{"u1":{"main":[{"numaAffinity":[0],"type":"memory","size":104857600}]}},)"
                R"("checksum":1})")
            .empty());
  for (auto* wrong : {"", "{", R"({"policyName":"Static","machineState":{"0":{}},"entries":{}})"})
    CHECK_FALSE(refused(wrong).empty());
}

TEST_CASE("memory that an init container had is free when the next begins, but for what that took over") {
  memory_manager_settings settings{.is_static = true, .reserved = {{0, memory_of(24)}}};
  auto l = *memory_ledger::make(two_nodes(), settings, memory_of(24));
  std::vector<memory_need> needs = {{.container = "init", .asked = {{"memory", 300 * mebi}}, .is_init = true},
                                    {.container = "main", .asked = {{"memory", 100 * mebi}}}};
  for (auto& n : needs) REQUIRE(l.give("u1", needs, n.container, {}));
  l.given_all("u1");
  auto free = [&] { return (*json::parse(l.checkpoint()))["machineState"]["0"]["memoryMap"]["memory"]["free"]; };
  CHECK(free().as_integer() == std::int64_t(636 * mebi));
  CHECK_FALSE(l.begins("u1", needs, "init"));
  CHECK(l.begins("u1", needs, "main"));
  CHECK(free().as_integer() == std::int64_t(836 * mebi));
  CHECK(l.find("u1", "init") == nullptr);
  CHECK(l.keep_only({}));
  CHECK(free().as_integer() == std::int64_t(936 * mebi));
}

TEST_CASE("a machine's NUMA nodes are read from /sys") {
  temporary_folder folder;
  auto put = [&](const std::string& name, std::string_view text) {
    auto path = folder.path() + "/sys/devices/system/node/" + name;
    std::filesystem::create_directories(path.substr(0, path.find_last_of('/')));
    std::ofstream(path) << text;
  };
  CHECK_FALSE(read_numa_nodes(folder.path()));
  put("node0/meminfo", "Node 0 MemTotal:       1048576 kB\nNode 0 MemFree:        1094720 kB\n");
  put("node0/distance", "10 20\n");
  put("node0/hugepages/hugepages-2048kB/nr_hugepages", "3\n");
  put("node1/meminfo", "Node 1 MemTotal:       2048 kB\n");
  put("node1/distance", "20 10\n");
  put("online", "0-1\n");
  auto nodes = read_numa_nodes(folder.path());
  REQUIRE(nodes);
  REQUIRE(nodes->size() == 2);
  CHECK(nodes->at(0).memory == 1024 * mebi);
  CHECK(nodes->at(0).hugepages == std::map<std::uint64_t, std::uint64_t>{{2 * mebi, 6 * mebi}});
  CHECK(nodes->at(1).memory == 2 * mebi);
  CHECK(nodes->at(1).distances == std::vector<std::uint64_t>{20, 10});
  CHECK_FALSE(numa_policy::make({.nodes_max = 1}, *nodes));
}
