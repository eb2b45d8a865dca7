// kubelet_arguments.cc: what the kubelet is told, as far as it means something on Kedge's node: by --kubelet-arg, by
// files of the kind KubeletConfiguration that these name (config, config-dir), and by those in
// agent/etc/kubelet.conf.d. A setting that works is set; one that the kubelet knows and that means nothing here is
// warned of; any other is an error, as it is with the kubelet.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <tuple>
#include <utility>

#include "base/strings.h"
#include "cli/options_load.h"
#include "crypto/files.h"
#include "json/parse.h"
#include "json/write.h"
#include "node/cpus/topology.h"
#include "node/limits.h"
#include "node/numa/memory_ledger.h"
#include "node/resources/eviction.h"

namespace kedge::cli {
namespace {

namespace fs = std::filesystem;
using node::kubelet_settings;

constexpr std::size_t configuration_bytes_max = 1024 * 1024;

// --- what a value may be

result<void> number(std::string_view text, std::int64_t least, std::int64_t most, auto& to) {
  auto n = parse_int(text);
  if (!n || *n < least || *n > most)
    return fail(errc::invalid, fmt::format("{} is not a number from {} to {}", quote(text), least, most));
  to = static_cast<std::remove_reference_t<decltype(to)>>(*n);
  return {};
}

result<void> span(std::string_view text, duration least, duration& to) {
  KEDGE_TRY(auto d, parse_duration(text));
  if (d < least) return fail(errc::invalid, fmt::format("{} is less than {}", quote(text), format_duration(least)));
  to = d;
  return {};
}

result<void> boolean(std::string_view text, bool& to) {
  for (std::string_view yes : {"1", "t", "T", "true", "TRUE", "True"})
    if (text == yes) return to = true, result<void>();
  for (std::string_view no : {"0", "f", "F", "false", "FALSE", "False"})
    if (text == no) return to = false, result<void>();
  return fail(errc::invalid, fmt::format("{} is neither true nor false", quote(text)));
}

std::vector<std::string> list(std::string_view text) {
  std::vector<std::string> out;
  for (auto one : split(text, ','))
    if (!trim(one).empty()) out.emplace_back(trim(one));
  return out;
}

result<void> reserve(std::string_view text, pod::amounts& to) {
  static constexpr std::string_view kinds[] = {"cpu", "memory", "ephemeral-storage", "pid"};
  for (auto& one : list(text)) {
    auto equals = one.find('=');
    auto name = one.substr(0, equals);
    if (equals == std::string::npos || std::find(std::begin(kinds), std::end(kinds), name) == std::end(kinds))
      return fail(errc::invalid,
                  fmt::format("{} is not cpu, memory, ephemeral-storage or pid with an amount", quote(one)));
    KEDGE_TRY(auto amount, schema::quantity::parse(one.substr(equals + 1)));
    if (amount.sign() < 0) return fail(errc::invalid, fmt::format("{} is less than nothing", quote(one)));
    to.insert_or_assign(name, amount);
  }
  return {};
}

using enforcement = node::enforcement;

result<void> enforce(std::string_view text, enforcement& to) {
  auto names = list(text);
  to.pods = false;
  to.system = to.kube = enforcement::kept::none;
  for (std::size_t i = 0; i < names.size(); ++i) {
    auto& name = names[i];
    if (std::find(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(i), name) !=
        names.begin() + static_cast<std::ptrdiff_t>(i))
      return fail(errc::invalid, fmt::format("{} is said twice", quote(name)));
    const bool compressible = name.ends_with("-compressible");
    auto how = compressible ? enforcement::kept::compressible : enforcement::kept::all;
    auto reserved = [&](enforcement::kept& of) -> result<void> {
      if (of != enforcement::kept::none)
        return fail(errc::invalid, fmt::format("{} can't be said with the other of its kind", quote(name)));
      of = how;
      return {};
    };
    if (name == "none") {
      if (names.size() > 1) return fail(errc::invalid, "\"none\" stands alone");
    } else if (name == "pods") {
      to.pods = true;
    } else if (name == "system-reserved" || name == "system-reserved-compressible") {
      KEDGE_CHECK(reserved(to.system));
    } else if (name == "kube-reserved" || name == "kube-reserved-compressible") {
      KEDGE_CHECK(reserved(to.kube));
    } else {
      return fail(errc::invalid,
                  fmt::format("{} is none of pods, system-reserved, kube-reserved (or either with -compressible) and "
                              "none",
                              quote(name)));
    }
  }
  return {};
}

result<void> swap_behavior(std::string_view text, bool& limited) {
  constexpr std::string_view name = "swapBehavior=";
  if (text.starts_with(name)) text.remove_prefix(name.size());
  if (text != "" && text != "NoSwap" && text != "LimitedSwap")
    return fail(errc::invalid, fmt::format("swapBehavior {} is neither LimitedSwap nor NoSwap", quote(text)));
  limited = text == "LimitedSwap";
  return {};
}

result<void> cpu_options(std::string_view text, node::cpu_manager_settings& to) {
  static constexpr std::pair<std::string_view, bool node::cpu_manager_settings::*> known[] = {
      {"full-pcpus-only", &node::cpu_manager_settings::full_cores},
      {"distribute-cpus-across-numa", &node::cpu_manager_settings::over_numa},
      {"align-by-socket", &node::cpu_manager_settings::by_socket},
      {"distribute-cpus-across-cores", &node::cpu_manager_settings::over_cores},
      {"strict-cpu-reservation", &node::cpu_manager_settings::strict},
      {"prefer-align-cpus-by-uncorecache", &node::cpu_manager_settings::by_cache},
  };
  for (auto& one : list(text)) {
    auto equals = one.find('=');
    auto name = one.substr(0, equals);
    auto found = std::find_if(std::begin(known), std::end(known), [&](auto& k) { return k.first == name; });
    if (found == std::end(known))
      return fail(errc::invalid, fmt::format("unknown CPU Manager Policy option: {}", quote(name)));
    KEDGE_CHECK(boolean(equals == std::string::npos ? std::string_view() : std::string_view(one).substr(equals + 1),
                        to.*found->second));
  }
  constexpr std::pair<int, int> exclusive[] = {{0, 3}, {1, 3}, {5, 3}, {5, 1}};
  for (auto [a, b] : exclusive)
    if (to.*known[a].second && to.*known[b].second)
      return fail(errc::invalid, fmt::format("static policy options {} and {} can not be used at the same time",
                                             known[a].first, known[b].first));
  return {};
}

// As a flag's value is written: a list with commas, a map as key=value.
std::string flag_text(const json::value& v) {
  if (v.is_string()) return std::string(v.as_string());
  std::vector<std::string> parts;
  if (auto* all = v.array())
    for (auto& one : *all) parts.push_back(flag_text(one));
  else if (auto* members = v.object())
    for (auto& [name, one] : *members) parts.push_back(name + "=" + flag_text(one));
  else
    return json::write(v);
  return join(parts, ",");
}

// "0:memory=1Gi,hugepages-2Mi=64Mi;1:memory=1Gi"
result<void> reserve_memory(std::string_view text, node::memory_manager_settings& to) {
  for (auto of_node : split(text, ';')) {
    auto parts = split(of_node, ':');
    auto id = parts.size() == 2 ? parse_int(trim(parts[0])) : std::nullopt;
    if (!id || *id < 0 || *id > node::numa_node_max)
      return fail(errc::invalid,
                  fmt::format("{} isn't a NUMA node and its memory, as 0:memory=1Gi is", quote(of_node)));
    auto& reserved = to.reserved.emplace_back();
    reserved.node = static_cast<int>(*id);
    for (auto& one : list(parts[1])) {
      auto equals = one.find('=');
      auto type = one.substr(0, equals);
      if (equals == std::string::npos || !node::is_memory_type(type))
        return fail(errc::invalid, fmt::format("{} is not memory or hugepages-… with an amount", quote(one)));
      KEDGE_TRY(auto amount, schema::quantity::parse(one.substr(equals + 1)));
      if (amount.sign() <= 0 || !amount.exact_integer())
        return fail(errc::invalid, fmt::format("{} is no whole number of bytes above nothing", quote(one)));
      for (auto& other : to.reserved)
        if (other.node == reserved.node && other.limits.contains(type))
          return fail(errc::invalid, fmt::format("{} of NUMA node {} is said twice", type, *id));
      reserved.limits.emplace(type, amount);
    }
  }
  return {};
}

result<void> reserve_memory_of(const json::value& v, node::memory_manager_settings& to) {
  to.reserved.clear();
  auto* all = v.array();
  if (!all) return fail(errc::invalid, "it is no list");
  for (auto& one : *all) {
    if (!one["numaNode"].is_integer() || !one["limits"].is_object())
      return fail(errc::invalid, "its members need numaNode and limits");
    KEDGE_CHECK(reserve_memory(fmt::format("{}:{}", one["numaNode"].as_integer(), flag_text(one["limits"])), to));
  }
  return {};
}

result<void> topology_policy(std::string_view text, node::topology_manager_settings& to) {
  using kind = node::topology_manager_settings::policy_kind;
  static constexpr std::pair<std::string_view, kind> known[] = {{"none", kind::none},
                                                                {"best-effort", kind::best_effort},
                                                                {"restricted", kind::restricted},
                                                                {"single-numa-node", kind::single_numa_node}};
  for (auto& [name, policy] : known)
    if (text == name) return to.policy = policy, result<void>();
  return fail(errc::invalid,
              fmt::format("{} is none of none, best-effort, restricted and single-numa-node", quote(text)));
}

result<void> topology_options(std::string_view text, node::topology_manager_settings& to) {
  for (auto& one : list(text)) {
    auto equals = one.find('=');
    auto name = one.substr(0, equals);
    auto given = equals == std::string::npos ? std::string() : one.substr(equals + 1);
    if (name == "prefer-closest-numa-nodes")
      KEDGE_CHECK(boolean(given, to.prefer_closest));
    else if (name == "max-allowable-numa-nodes")
      KEDGE_CHECK(number(given, node::numa_nodes_usual, node::numa_nodes_most, to.nodes_max));
    else
      return fail(errc::invalid, fmt::format("unknown Topology Manager Policy option: {}", quote(name)));
  }
  return {};
}

result<void> users_of_pods(const json::value& v, std::uint32_t& ids_per_pod) {
  constexpr std::int64_t unit = 65536;
  if (!v.is_object()) return fail(errc::invalid, "it is no object");
  auto& ids = v["idsPerPod"];
  if (ids.is_null()) return {};
  KEDGE_CHECK(number(flag_text(ids), unit, std::numeric_limits<std::uint32_t>::max(), ids_per_pod));
  if (ids_per_pod % unit != 0) return fail(errc::invalid, fmt::format("idsPerPod is no multiple of {}", unit));
  return {};
}

result<void> shutdown_by_priority(const json::value& v, std::vector<node::shutdown_grace>& to) {
  auto* all = v.array();
  if (!all) return fail(errc::invalid, "it is no list");
  to.clear();
  for (auto& one : *all) {
    for (auto* name : {"priority", "shutdownGracePeriodSeconds"})
      if (!one[name].is_null() && !one[name].is_integer())
        return fail(errc::invalid, fmt::format("{} is no number", name));
    to.push_back({one["priority"].as_integer(), one["shutdownGracePeriodSeconds"].as_integer()});
    if (to.back().seconds < 0) return fail(errc::invalid, "shutdownGracePeriodSeconds is less than 0");
  }
  return {};
}

// --- what there is

// The settings, and what of them means something only together. K3s's evictionHard and evictionMinimumReclaim.
struct reading {
  kubelet_settings of;
  std::string eviction_hard = "imagefs.available<5%,nodefs.available<5%", eviction_soft, eviction_soft_grace,
              eviction_reclaim = "imagefs.available=10%,nodefs.available=10%";
  duration shutdown{0}, shutdown_of_critical{0};
  bool memory_by_flag = false;    // reservedMemory is a flag's, which may be repeated
  int pulls_counted = 0;          // maxParallelImagePulls; 0: it isn't said
  bool pulls_one_by_one = false;  // serializeImagePulls
  std::vector<std::string> gates_without_effect;
};

// A setting by the name of its flag and of its field in KubeletConfiguration (empty: there is none).
struct setting {
  std::string_view flag, field;
  result<void> (*read)(reading& to, std::string_view text);
  // Of a field that has no text as a flag has.
  result<void> (*read_value)(reading& to, const json::value& v) = nullptr;
};

constexpr std::int64_t any = std::numeric_limits<std::int32_t>::max();

// "ContainerCheckpoint=false,OtherGate=true": what Kedge's node has a gate for.
result<void> gates(reading& to, std::string_view text) {
  for (auto& one : list(text)) {
    const auto equals = one.find('=');
    if (equals == std::string::npos)
      return fail(errc::invalid, fmt::format("missing bool value for feature gate {}", quote(one)));
    const auto name = one.substr(0, equals);
    bool on = false;
    KEDGE_CHECK(boolean(std::string_view(one).substr(equals + 1), on));
    name == "ContainerCheckpoint" ? void(to.of.checkpoints = on) : to.gates_without_effect.push_back(name);
  }
  return {};
}

// Names of parameters of the kernel, or their beginning and "*" (the kubelet's SysctlContainSlashPatternFmt).
result<void> unsafe_sysctls(reading& to, std::string_view text) {
  auto& all = to.of.unsafe_sysctls = list(text);
  static constexpr std::string_view roots[] = {"kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.", "net."};
  for (auto& name : all) {
    std::replace(name.begin(), name.end(), '/', '.');
    if (std::none_of(std::begin(roots), std::end(roots), [&](auto root) { return name.starts_with(root); }))
      return fail(errc::invalid, fmt::format("the sysctls {} are not known to be namespaced", quote(name)));
  }
  return {};
}

// Both say how many images are pulled at once, in whatever order they come.
result<void> settle_pulls(reading& to) {
  if (to.pulls_one_by_one && to.pulls_counted > 1)
    return fail(errc::invalid, "maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls is false");
  to.of.pulls_at_once = to.pulls_one_by_one ? 1 : to.pulls_counted;
  if (to.of.pulls_burst == 0) to.of.pulls_burst = node::kubelet_settings().pulls_burst;
  return {};
}

// registerWithTaints, as --register-with-taints has them: key=value:effect.
result<void> taints_of(reading& to, const json::value& v) {
  auto* all = v.array();
  if (!all) return fail(errc::invalid, "it is no list");
  to.of.taints.clear();
  for (auto& one : *all) {
    auto key = one["key"].as_string(), effect = one["effect"].as_string();
    if (key.empty() || effect.empty()) return fail(errc::invalid, "its members need key and effect");
    to.of.taints.push_back(fmt::format("{}={}:{}", key, one["value"].as_string(), effect));
  }
  return {};
}

const setting table[] = {
    {"allowed-unsafe-sysctls", "allowedUnsafeSysctls", unsafe_sysctls},
    {"cluster-dns", "clusterDNS",
     [](reading& to, std::string_view text) { return to.of.cluster_dns = list(text), result<void>(); }},
    {"cluster-domain", "clusterDomain",
     [](reading& to, std::string_view text) { return to.of.cluster_domain = text, result<void>(); }},
    {"container-log-max-files", "containerLogMaxFiles",
     [](reading& to, std::string_view text) { return number(text, 2, any, to.of.log_files_max); }},
    {"container-log-max-size", "containerLogMaxSize",
     [](reading& to, std::string_view text) -> result<void> {
       KEDGE_TRY(auto size, schema::quantity::parse(text));
       to.of.log_bytes_max = size.sign() < 0 ? 0 : static_cast<std::uint64_t>(std::max<std::int64_t>(size.value(), 1));
       return {};
     }},
    {"", "containerLogMonitorInterval",
     [](reading& to, std::string_view text) { return span(text, std::chrono::seconds(3), to.of.log_look_interval); }},
    {"cpu-cfs-quota", "cpuCFSQuota", [](reading& to, std::string_view text) { return boolean(text, to.of.cpu_quota); }},
    {"cpu-manager-policy", "cpuManagerPolicy",
     [](reading& to, std::string_view text) -> result<void> {
       if (text != "none" && text != "static")
         return fail(errc::invalid, fmt::format("{} is neither none nor static", quote(text)));
       to.of.cpus.is_static = text == "static";
       return {};
     }},
    {"cpu-manager-policy-options", "cpuManagerPolicyOptions",
     [](reading& to, std::string_view text) { return cpu_options(text, to.of.cpus); }},
    {"cpu-manager-reconcile-period", "cpuManagerReconcilePeriod",
     [](reading& to, std::string_view text) { return span(text, std::chrono::seconds(1), to.of.cpus.look_interval); }},
    {"enforce-node-allocatable", "enforceNodeAllocatable",
     [](reading& to, std::string_view text) { return enforce(text, to.of.enforced); }},
    {"eviction-hard", "evictionHard",
     [](reading& to, std::string_view text) { return to.eviction_hard = text, result<void>(); }},
    {"eviction-max-pod-grace-period", "evictionMaxPodGracePeriod",
     [](reading& to, std::string_view text) { return number(text, 0, any, to.of.eviction_grace_max_seconds); }},
    {"eviction-minimum-reclaim", "evictionMinimumReclaim",
     [](reading& to, std::string_view text) { return to.eviction_reclaim = text, result<void>(); }},
    {"eviction-pressure-transition-period", "evictionPressureTransitionPeriod",
     [](reading& to, std::string_view text) { return span(text, duration(0), to.of.pressure_transition); }},
    {"eviction-soft", "evictionSoft",
     [](reading& to, std::string_view text) { return to.eviction_soft = text, result<void>(); }},
    {"eviction-soft-grace-period", "evictionSoftGracePeriod",
     [](reading& to, std::string_view text) { return to.eviction_soft_grace = text, result<void>(); }},
    {"feature-gates", "featureGates", gates},
    {"image-gc-high-threshold", "imageGCHighThresholdPercent",
     [](reading& to, std::string_view text) { return number(text, 0, 100, to.of.image_gc_high_percent); }},
    {"image-gc-low-threshold", "imageGCLowThresholdPercent",
     [](reading& to, std::string_view text) { return number(text, 0, 100, to.of.image_gc_low_percent); }},
    {"", "imageMaximumGCAge",
     [](reading& to, std::string_view text) { return span(text, duration(0), to.of.image_age_max); }},
    {"minimum-image-ttl-duration", "imageMinimumGCAge",
     [](reading& to, std::string_view text) { return span(text, duration(0), to.of.image_age_min); }},
    {"kube-reserved", "kubeReserved",
     [](reading& to, std::string_view text) { return reserve(text, to.of.kube_reserved); }},
    {"kube-reserved-cgroup", "kubeReservedCgroup",
     [](reading& to, std::string_view text) { return to.of.enforced.kube_group = text, result<void>(); }},
    {"", "maxParallelImagePulls",
     [](reading& to, std::string_view text) { return number(text, 1, any, to.pulls_counted); }},
    {"max-pods", "maxPods", [](reading& to, std::string_view text) { return number(text, 0, any, to.of.pods_max); }},
    {"memory-manager-policy", "memoryManagerPolicy",
     [](reading& to, std::string_view text) -> result<void> {
       if (text != "None" && text != "Static")
         return fail(errc::invalid, fmt::format("{} is neither None nor Static", quote(text)));
       to.of.memory.is_static = text == "Static";
       return {};
     }},
    {"", "memoryReservationPolicy",
     [](reading& to, std::string_view text) -> result<void> {
       if (text != "None" && text != "TieredReservation")
         return fail(errc::invalid, fmt::format("{} is neither None nor TieredReservation", quote(text)));
       to.of.tiered_memory_reservation = text == "TieredReservation";
       return {};
     }},
    {"", "memorySwap", [](reading& to, std::string_view text) { return swap_behavior(text, to.of.limited_swap); }},
    {"", "memoryThrottlingFactor",
     [](reading& to, std::string_view text) -> result<void> {
       KEDGE_TRY(auto factor, schema::quantity::parse(text));
       auto v = static_cast<double>(factor.milli_value()) / 1000;
       if (v <= 0 || v > 1) return fail(errc::invalid, fmt::format("{} is not between 0 and 1", quote(text)));
       to.of.memory_throttling_factor = v;
       return {};
     }},
    {"node-labels", "", [](reading& to, std::string_view text) { return to.of.labels = list(text), result<void>(); }},
    {"node-status-max-images", "nodeStatusMaxImages",
     [](reading& to, std::string_view text) { return number(text, -1, any, to.of.images_told_max); }},
    {"node-status-update-frequency", "nodeStatusUpdateFrequency",
     [](reading& to, std::string_view text) {
       return span(text, std::chrono::milliseconds(100), to.of.status_interval);
     }},
    {"pod-max-pids", "podPidsLimit",
     [](reading& to, std::string_view text) {
       return number(text, -1, std::numeric_limits<std::int64_t>::max(), to.of.pod_processes_max);
     }},
    {"pods-per-core", "podsPerCore",
     [](reading& to, std::string_view text) { return number(text, 0, any, to.of.pods_per_cpu); }},
    {"port", "port", [](reading& to, std::string_view text) { return number(text, 1, 65535, to.of.port); }},
    {"register-with-taints", "registerWithTaints",
     [](reading& to, std::string_view text) { return to.of.taints = list(text), result<void>(); }, taints_of},
    {"registry-burst", "registryBurst",
     [](reading& to, std::string_view text) { return number(text, 0, any, to.of.pulls_burst); }},
    {"registry-qps", "registryPullQPS",
     [](reading& to, std::string_view text) { return number(text, 0, any, to.of.pulls_a_second); }},
    {"reserved-cpus", "reservedSystemCPUs",
     [](reading& to, std::string_view text) -> result<void> {
       if (!node::parse_cpus(text)) return fail(errc::invalid, fmt::format("{} is no list of CPUs", quote(text)));
       to.of.cpus.reserved = text;
       return {};
     }},
    {"reserved-memory", "reservedMemory",
     [](reading& to, std::string_view text) {
       if (!std::exchange(to.memory_by_flag, true)) to.of.memory.reserved.clear();  // what files say
       return reserve_memory(text, to.of.memory);
     },
     [](reading& to, const json::value& v) { return reserve_memory_of(v, to.of.memory); }},
    {"resolv-conf", "resolvConf",
     [](reading& to, std::string_view text) { return to.of.resolv_conf = text, result<void>(); }},
    {"seccomp-default", "seccompDefault",
     [](reading& to, std::string_view text) { return boolean(text, to.of.seccomp_default); }},
    {"serialize-image-pulls", "serializeImagePulls",
     [](reading& to, std::string_view text) { return boolean(text, to.pulls_one_by_one); }},
    {"", "shutdownGracePeriod",
     [](reading& to, std::string_view text) { return span(text, duration(0), to.shutdown); }},
    {"", "shutdownGracePeriodByPodPriority",
     [](reading&, std::string_view) { return result<void>(fail(errc::invalid, "it is no list")); },
     [](reading& to, const json::value& v) { return shutdown_by_priority(v, to.of.shutdown); }},
    {"", "shutdownGracePeriodCriticalPods",
     [](reading& to, std::string_view text) { return span(text, duration(0), to.shutdown_of_critical); }},
    {"", "singleProcessOOMKill",
     [](reading& to, std::string_view text) {
       bool single = false;
       auto read = boolean(text, single);
       if (read) to.of.single_process_oom_kill = single;
       return read;
     }},
    {"system-reserved", "systemReserved",
     [](reading& to, std::string_view text) { return reserve(text, to.of.system_reserved); }},
    {"system-reserved-cgroup", "systemReservedCgroup",
     [](reading& to, std::string_view text) { return to.of.enforced.system_group = text, result<void>(); }},
    {"topology-manager-policy", "topologyManagerPolicy",
     [](reading& to, std::string_view text) { return topology_policy(text, to.of.topology); }},
    {"topology-manager-policy-options", "topologyManagerPolicyOptions",
     [](reading& to, std::string_view text) { return topology_options(text, to.of.topology); }},
    {"", "userNamespaces",
     [](reading&, std::string_view) { return result<void>(fail(errc::invalid, "it has no members")); },
     [](reading& to, const json::value& v) { return users_of_pods(v, to.of.ids_per_pod); }},
    {"topology-manager-scope", "topologyManagerScope",
     [](reading& to, std::string_view text) -> result<void> {
       if (text != "container" && text != "pod")
         return fail(errc::invalid, fmt::format("{} is neither container nor pod", quote(text)));
       to.of.topology.of_pods = text == "pod";
       return {};
     }},
};

// What else the kubelet 1.37 knows, and why it means nothing here.
struct meaningless {
  std::string_view reason;
  std::vector<std::string_view> flags, fields;
};

const std::vector<meaningless>& no_meaning() {
  static const std::vector<meaningless> all = {
      {"a node of Kedge's sets this itself",
       {"address",
        "anonymous-auth",
        "authentication-token-webhook",
        "authentication-token-webhook-cache-ttl",
        "authorization-mode",
        "authorization-webhook-cache-authorized-ttl",
        "authorization-webhook-cache-unauthorized-ttl",
        "bootstrap-kubeconfig",
        "cert-dir",
        "client-ca-file",
        "cloud-provider",
        "container-runtime-endpoint",
        "enable-server",
        "healthz-bind-address",
        "healthz-port",
        "hostname-override",
        "image-service-endpoint",
        "kubeconfig",
        "node-ip",
        "pod-cidr",
        "pod-manifest-path",
        "provider-id",
        "read-only-port",
        "register-node",
        "root-dir",
        "rotate-certificates",
        "rotate-server-certificates",
        "runtime-cgroups",
        "tls-cert-file",
        "tls-private-key-file"},
       {"address", "authentication", "authorization", "containerRuntimeEndpoint", "enableServer", "healthzBindAddress",
        "healthzPort", "imageServiceEndpoint", "podCIDR", "podLogsDir", "providerID", "readOnlyPort", "registerNode",
        "rotateCertificates", "serverTLSBootstrap", "staticPodPath", "tlsCertFile", "tlsPrivateKeyFile"}},
      {"Kedge's node doesn't do this yet",
       {"cgroup-driver", "cgroup-root", "cgroups-per-qos", "cpu-cfs-quota-period", "event-burst", "event-qps",
        "experimental-allocatable-ignore-eviction", "fail-cgroupv1", "fail-swap-on",
        "image-credential-provider-bin-dir", "image-credential-provider-config", "kernel-memcg-notification",
        "manifest-url", "manifest-url-header", "protect-kernel-defaults", "qos-reserved", "volume-plugin-dir"},
       {"cgroupDriver",
        "cgroupRoot",
        "cgroupsPerQOS",
        "cpuCFSQuotaPeriod",
        "crashLoopBackOff",
        "defaultPodSysctls",
        "enableControllerAttachDetach",
        "eventBurst",
        "eventRecordQPS",
        "failCgroupV1",
        "failSwapOn",
        "imagePullCredentialsVerificationPolicy",
        "kernelMemcgNotification",
        "mergeDefaultEvictionSettings",
        "preloadedImagesVerificationAllowlist",
        "protectKernelDefaults",
        "qosReserved",
        "staticPodURL",
        "staticPodURLHeader",
        "volumePluginDir"}},
      {"it tunes the kubelet's own insides",
       {"contention-profiling",
        "enable-controller-attach-detach",
        "enable-debugging-handlers",
        "exit-on-lock-contention",
        "experimental-mounter-path",
        "file-check-frequency",
        "hairpin-mode",
        "housekeeping-interval",
        "http-check-frequency",
        "kube-api-burst",
        "kube-api-content-type",
        "kube-api-qps",
        "kubelet-cgroups",
        "local-storage-capacity-isolation",
        "lock-file",
        "log-cadvisor-usage",
        "log-flush-frequency",
        "log-json-info-buffer-size",
        "log-json-split-stream",
        "log-text-info-buffer-size",
        "log-text-split-stream",
        "logging-format",
        "make-iptables-util-chains",
        "max-open-files",
        "maximum-dead-containers",
        "maximum-dead-containers-per-container",
        "minimum-container-ttl-duration",
        "oom-score-adj",
        "runonce",
        "runtime-request-timeout",
        "streaming-connection-idle-timeout",
        "sync-frequency",
        "system-cgroups",
        "tls-cipher-suites",
        "tls-min-version",
        "v",
        "vmodule",
        "volume-stats-agg-period"},
       {"configMapAndSecretChangeDetectionStrategy",
        "containerLogMaxWorkers",
        "contentType",
        "enableContentionProfiling",
        "enableDebugFlagsHandler",
        "enableDebuggingHandlers",
        "enableProfilingHandler",
        "enableSystemLogHandler",
        "enableSystemLogQuery",
        "fileCheckFrequency",
        "hairpinMode",
        "httpCheckFrequency",
        "iptablesDropBit",
        "iptablesMasqueradeBit",
        "kubeAPIBurst",
        "kubeAPIQPS",
        "kubeletCgroups",
        "localStorageCapacityIsolation",
        "logging",
        "makeIPTablesUtilChains",
        "maxOpenFiles",
        "nodeLeaseDurationSeconds",
        "nodeStatusReportFrequency",
        "oomScoreAdj",
        "runOnce",
        "runtimeRequestTimeout",
        "showHiddenMetricsForVersion",
        "streamingConnectionIdleTimeout",
        "syncFrequency",
        "systemCgroups",
        "tlsCipherSuites",
        "tlsCurvePreferences",
        "tlsMinVersion",
        "tracing",
        "volumeStatsAggPeriod"}},
  };
  return all;
}

std::string_view why_no_effect(std::string_view name, std::vector<std::string_view> meaningless::* names) {
  for (auto& one : no_meaning())
    if (std::find((one.*names).begin(), (one.*names).end(), name) != (one.*names).end()) return one.reason;
  return {};
}

// --- files

// Where a member of the whole begins, for who has to find it; 0: nowhere that is told by a line.
std::size_t line_of(std::string_view text, std::string_view name) {
  std::size_t number = 0;
  for (auto line : split(text, '\n')) {
    ++number;
    if (line.starts_with('"')) line.remove_prefix(1);
    if (!line.starts_with(name)) continue;
    line.remove_prefix(name.size());
    if (line.starts_with('"')) line.remove_prefix(1);
    if (trim(line).starts_with(':')) return number;
  }
  return 0;
}

result<void> read_file(const std::string& path, reading& to, std::vector<std::string>& warnings) {
  auto bad = [&](const std::string& what) { return fail(errc::invalid, fmt::format("{}: {}", path, what)); };
  auto text = crypto::read_file(path, configuration_bytes_max);
  if (!text) return bad(text.error().message);
  auto parsed = json::parse_yaml(*text);
  if (!parsed) return bad(parsed.error().message);
  auto bad_at = [&](std::string_view name, const std::string& what) {
    const auto line = line_of(*text, name);
    return line == 0 ? bad(what) : fail(errc::invalid, fmt::format("{}:{}: {}", path, line, what));
  };
  auto& config = *parsed;
  if (config["kind"].as_string() != "KubeletConfiguration" ||
      config["apiVersion"].as_string() != "kubelet.config.k8s.io/v1beta1")
    return bad("it is no KubeletConfiguration of kubelet.config.k8s.io/v1beta1");
  for (auto& [name, v] : *config.object()) {
    if (name == "kind" || name == "apiVersion" || v.is_null()) continue;
    auto found = std::find_if(std::begin(table), std::end(table), [&](auto& s) { return s.field == name; });
    if (found != std::end(table)) {
      auto read = found->read_value ? found->read_value(to, v) : found->read(to, flag_text(v));
      if (!read) return bad_at(name, fmt::format("{}: {}", name, read.error().message));
    } else if (auto reason = why_no_effect(name, &meaningless::fields); !reason.empty()) {
      warnings.push_back(fmt::format("{} in {} has no effect: {}", name, path, reason));
    } else {
      return bad_at(name, fmt::format("the kubelet knows no {}", quote(name)));
    }
  }
  return {};
}

// The kubelet's rule: *.conf, by name. K3s's own two, which it writes at each start, are passed over.
result<void> read_folder(const std::string& folder, bool of_k3s, reading& to, std::vector<std::string>& warnings) {
  std::vector<std::string> files;
  std::error_code failed;
  for (auto i = fs::directory_iterator(folder, failed); !failed && i != fs::directory_iterator(); i.increment(failed))
    if (auto name = i->path().filename().string();
        name.ends_with(".conf") && !(of_k3s && (name == "00-k3s-defaults.conf" || name == "10-cli-config.conf")))
      files.push_back(i->path().string());
  if (failed && failed != std::errc::no_such_file_or_directory)
    return fail(errc::io, fmt::format("{}: {}", folder, failed.message()));
  std::sort(files.begin(), files.end());
  for (auto& file : files) KEDGE_CHECK(read_file(file, to, warnings));
  return {};
}

struct argument {
  std::string_view name, value;
};

// What limits of groups need beside.
result<void> check_enforcement(const enforcement& e) {
  for (auto& [how, group, name] : {std::tuple(e.system, &e.system_group, "system"), {e.kube, &e.kube_group, "kube"}})
    if (how != enforcement::kept::none && group->empty())
      return fail(errc::invalid,
                  fmt::format("the kubelet's {0}-reserved-cgroup must be said when enforce-node-allocatable "
                              "has {0}-reserved",
                              name));
  return {};
}

// CPUs that are named are as many as are reserved.
result<void> resolve_cpus(kubelet_settings& k) {
  if (!k.cpus.reserved.empty()) {
    if (!k.enforced.system_group.empty() || !k.enforced.kube_group.empty())
      return fail(errc::invalid,
                  "the kubelet's reserved-cpus can't be said with system-reserved-cgroup or "
                  "kube-reserved-cgroup");
    k.kube_reserved.erase("cpu");
    k.system_reserved.insert_or_assign(
        "cpu", schema::quantity::of(static_cast<std::int64_t>(node::parse_cpus(k.cpus.reserved)->size())));
  }
  if (k.cpus.is_static && !k.system_reserved.contains("cpu") && !k.kube_reserved.contains("cpu"))
    return fail(errc::invalid,
                "the kubelet's static cpu-manager-policy needs CPUs that are reserved: system-reserved, "
                "kube-reserved or reserved-cpus");
  return {};
}

// Two periods are two phases: of those that are critical to the system, and of the others before them.
result<void> resolve_shutdown(reading& read) {
  constexpr std::int64_t system_critical = 2'000'000'000;
  auto& phases = read.of.shutdown;
  for (auto d : {read.shutdown, read.shutdown_of_critical})
    if (d > duration(0) && d < std::chrono::seconds(1))
      return fail(errc::invalid,
                  "the kubelet's shutdownGracePeriod is either zero or at least a second, and so is that "
                  "of critical pods");
  if (read.shutdown_of_critical > read.shutdown)
    return fail(errc::invalid,
                fmt::format("the kubelet's shutdownGracePeriodCriticalPods {} is more than its shutdownGracePeriod {}",
                            format_duration(read.shutdown_of_critical), format_duration(read.shutdown)));
  if (!phases.empty() && read.shutdown > duration(0))
    return fail(errc::invalid,
                "the kubelet's shutdownGracePeriodByPodPriority and shutdownGracePeriod can't both be said");
  auto seconds = [](duration d) { return std::chrono::duration_cast<std::chrono::seconds>(d).count(); };
  if (read.shutdown > duration(0))
    phases = {{0, seconds(read.shutdown - read.shutdown_of_critical)},
              {system_critical, seconds(read.shutdown_of_critical)}};
  std::ranges::sort(phases, {}, &node::shutdown_grace::priority);
  return {};
}

}  // namespace

result<kubelet_settings> read_kubelet_arguments(std::span<const std::string> arguments, const std::string& data_dir,
                                                std::vector<std::string>& warnings) {
  reading read;
  std::vector<argument> flags;
  std::string config, folder;
  for (std::string_view text : arguments) {
    while (text.starts_with('-')) text.remove_prefix(1);
    const auto equals = text.find('=');
    const argument one{text.substr(0, equals), text.substr(equals + 1)};
    if (one.name == "config")
      config = one.value;
    else if (one.name == "config-dir")
      folder = one.value;
    else
      flags.push_back(one);
  }
  // Flags win over drop-ins, and these over the one file.
  if (!config.empty()) KEDGE_CHECK(read_file(config, read, warnings));
  KEDGE_CHECK(read_folder(data_dir + "/agent/etc/kubelet.conf.d", true, read, warnings));
  if (!folder.empty()) KEDGE_CHECK(read_folder(folder, false, read, warnings));
  for (auto& [name, value] : flags) {
    auto found =
        std::find_if(std::begin(table), std::end(table), [&](auto& s) { return s.flag == name && !name.empty(); });
    if (found != std::end(table)) {
      if (auto done = found->read(read, value); !done)
        return fail(errc::invalid, fmt::format("--kubelet-arg={}: {}", name, done.error().message));
    } else if (auto reason = why_no_effect(name, &meaningless::flags); !reason.empty()) {
      warnings.push_back(fmt::format("--kubelet-arg={} has no effect: {}", name, reason));
    } else {
      return fail(errc::invalid, fmt::format("--kubelet-arg: the kubelet knows no {}", quote(name)));
    }
  }
  for (auto& gate : read.gates_without_effect)
    warnings.push_back(fmt::format("the kubelet's feature gate {} has no effect: Kedge's node has none for it", gate));
  auto thresholds =
      node::parse_thresholds(read.eviction_hard, read.eviction_soft, read.eviction_soft_grace, read.eviction_reclaim);
  if (!thresholds) return fail(errc::invalid, "the kubelet's eviction thresholds: " + thresholds.error().message);
  read.of.thresholds = *std::move(thresholds);
  KEDGE_CHECK(check_enforcement(read.of.enforced));
  KEDGE_CHECK(resolve_cpus(read.of));
  KEDGE_CHECK(resolve_shutdown(read));
  KEDGE_CHECK(settle_pulls(read));
  if (read.of.image_gc_low_percent >= read.of.image_gc_high_percent && read.of.image_gc_high_percent < 100)
    return fail(errc::invalid,
                fmt::format("the kubelet's image-gc-low-threshold {} is not below its image-gc-high-threshold {}",
                            read.of.image_gc_low_percent, read.of.image_gc_high_percent));
  return std::move(read.of);
}

}  // namespace kedge::cli
