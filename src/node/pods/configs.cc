#include "node/pods/configs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/strings.h"
#include "json/write.h"
#include "node/pods/resize.h"
#include "pod/amounts.h"

namespace kedge::node {

namespace {

using json::value;

constexpr std::size_t hostname_max = 63;
// The resolver's limits, as the kubelet keeps them.
constexpr std::size_t nameservers_max = 3, searches_max = 32, search_line_max = 2048;
constexpr int oom_guaranteed = -997, oom_best_effort = 1000;

const json::array& list_of(const value& v) {
  static const json::array none;
  auto* all = v.array();
  return all ? *all : none;
}

text_map map_of(const value& v) {
  text_map out;
  if (auto* all = v.object())
    for (auto& [key, one] : *all) out.emplace_back(key, one.as_string());
  return out;
}

std::vector<std::string> texts_of(const value& v) {
  std::vector<std::string> out;
  for (auto& one : list_of(v)) out.emplace_back(one.as_string());
  return out;
}

std::optional<std::int64_t> number_of(const value& v) {
  return v.is_integer() ? std::optional(v.as_integer()) : std::nullopt;
}
// The container's word, else the pod's.
const value& security(const value& pod, const value& container, const char* name) {
  auto& own = container["securityContext"][name];
  return own.is_null() ? pod["spec"]["securityContext"][name] : own;
}

bool has_privileged(const value& pod) {
  for (auto* list : {"containers", "initContainers", "ephemeralContainers"})
    for (auto& c : list_of(pod["spec"][list]))
      if (c["securityContext"]["privileged"].as_bool()) return true;
  return false;
}

namespace_modes namespaces_of(const value& pod) {
  auto& spec = pod["spec"];
  namespace_modes n;
  if (spec["hostNetwork"].as_bool()) n.network = namespace_mode::node;
  if (spec["hostPID"].as_bool())
    n.pid = namespace_mode::node;
  else if (spec["shareProcessNamespace"].as_bool())
    n.pid = namespace_mode::pod;
  if (spec["hostIPC"].as_bool()) n.ipc = namespace_mode::node;
  return n;
}

std::vector<std::int64_t> groups_of(const value& pod) {
  std::vector<std::int64_t> out;
  auto& sc = pod["spec"]["securityContext"];
  if (auto g = number_of(sc["fsGroup"])) out.push_back(*g);
  for (auto& g : list_of(sc["supplementalGroups"])) out.push_back(g.as_integer());
  return out;
}

void add_unique(std::vector<std::string>& to, std::string text) {
  if (std::find(to.begin(), to.end(), text) == to.end()) to.push_back(std::move(text));
}

// Options of dnsConfig replace those of the same name.
void merge_options(std::vector<std::string>& options, const value& more) {
  for (auto& o : list_of(more)) {
    auto name = std::string(o["name"].as_string());
    auto text = o["value"].is_string() && !o["value"].as_string().empty()
                    ? name + ":" + std::string(o["value"].as_string())
                    : name;
    std::erase_if(options, [&](auto& old) { return old == name || old.starts_with(name + ":"); });
    options.push_back(std::move(text));
  }
}

void fit_limits(dns_settings& d) {
  if (d.servers.size() > nameservers_max) d.servers.resize(nameservers_max);
  if (d.searches.size() > searches_max) d.searches.resize(searches_max);
  std::size_t length = 0, fit = 0;
  while (fit < d.searches.size() && (length += d.searches[fit].size() + 1) <= search_line_max + 1) ++fit;
  d.searches.resize(fit);
}

schema::quantity amount(const value& container, const char* which, std::string_view name) {
  return pod::amount_of(container["resources"][which][name]);
}

// What the pod asks for as a whole and no container does, a part for each of them.
std::int64_t memory_shared_out(const value& pod) {
  auto& whole = pod["spec"]["resources"]["requests"]["memory"];
  auto& containers = list_of(pod["spec"]["containers"]);
  if (whole.is_null() || containers.empty()) return 0;
  std::int64_t asked = 0, count = static_cast<std::int64_t>(containers.size());
  for (auto& c : containers) asked += amount(c, "requests", "memory").value();
  for (auto& c : list_of(pod["spec"]["initContainers"])) {
    if (!is_sidecar(c)) continue;
    asked += amount(c, "requests", "memory").value();
    ++count;
  }
  return std::max<std::int64_t>(pod::amount_of(whole).value() - asked, 0) / count;
}

int oom_score(const value& pod, const value& container, const pod_settings& s) {
  auto qos = qos_class(pod);
  bool critical = pod["spec"]["priority"].as_integer() >= 2'000'000'000 &&
                  pod["spec"]["priorityClassName"].as_string() == "system-node-critical";
  if (critical || qos == "Guaranteed") return oom_guaranteed;
  if (qos == "BestEffort" || s.memory_bytes == 0) return oom_best_effort;
  auto capacity = static_cast<std::int64_t>(s.memory_bytes);
  auto shared = memory_shared_out(pod);
  auto score = [&](const value& c) {
    return 1000 - 1000 * std::min(amount(c, "requests", "memory").value() + shared, capacity) / capacity;
  };
  auto own = score(container);
  if (is_sidecar(container)) {
    // A sidecar lives as long as its pod: not the first to go. The most that any container scores is its most.
    std::int64_t most = 0;
    for (auto& c : list_of(pod["spec"]["containers"])) most = std::max(most, score(c));
    own = std::min(own, most);
  }
  return static_cast<int>(std::clamp<std::int64_t>(own, 1000 + oom_guaranteed, oom_best_effort - 1));
}

// A request of none is that of the limit.
container_resources linux_resources(std::optional<std::int64_t> cpu_request_milli, std::int64_t cpu_limit_milli,
                                    std::int64_t memory_limit, const pod_settings& s) {
  constexpr std::int64_t period = 100'000, quota_min = 1000, shares_min = 2, shares_max = 262'144;
  container_resources r;
  auto request = cpu_request_milli.value_or(cpu_limit_milli);
  r.cpu_shares = request == 0 ? shares_min : std::clamp(request * 1024 / 1000, shares_min, shares_max);
  r.cpu_period = period;
  if (cpu_limit_milli > 0 && s.cpu_quota) r.cpu_quota = std::max(cpu_limit_milli * period / 1000, quota_min);
  r.memory_limit = memory_limit;
  return r;
}

// Of swap, a container that may have some gets as much of the machine's as it asks of its memory.
std::uint64_t swap_of(const value& pod, const value& container, const pod_settings& s) {
  auto asked = amount(container, "requests", "memory").value();
  if (!may_swap(pod, container, s) || s.memory_bytes == 0 || asked < 0 ||
      static_cast<std::uint64_t>(asked) > s.memory_bytes)
    return 0;
  return static_cast<std::uint64_t>(static_cast<double>(asked) / static_cast<double>(s.memory_bytes) *
                                    static_cast<double>(s.swap_bytes));
}

void add_swap(const value& pod, const value& container, const pod_settings& s, container_resources& r) {
  if (!s.can_limit_swap) return;
  if (s.is_cgroup2)
    r.unified.emplace_back("memory.swap.max", std::to_string(swap_of(pod, container, s)));
  else
    r.memory_swap_limit = r.memory_limit;  // of both together: no swap beside it
}

// memory.min, memory.low and memory.high of cgroup v2: KEP-2570.
void add_memory_protection(const value& pod, const value& container, const pod_settings& s, container_resources& r) {
  auto request = amount(container, "requests", "memory").value(), limit = amount(container, "limits", "memory").value();
  if (request != 0 && s.tiered_memory_reservation) {
    r.unified.emplace_back(qos_class(pod) == "Guaranteed" ? "memory.min" : "memory.low", std::to_string(request));
  } else {
    r.unified.emplace_back("memory.min", "0");
    r.unified.emplace_back("memory.low", "0");
  }
  const bool throttled_as_pod = limit == 0 && !pod::amount_of(pod["spec"]["resources"]["limits"]["memory"]).is_zero();
  if (!s.memory_throttling_factor || throttled_as_pod) return;
  if (limit == 0) limit = pod::amount_of(s.node.allocatable["memory"]).value();
  if (auto high = memory_high(request, limit, *s.memory_throttling_factor))
    r.unified.emplace_back("memory.high", std::to_string(*high));
}

void add_pod_resources(const value& pod, const pod_settings& s, sandbox_config& out) {
  auto of = [](const pod::amounts& all, std::string_view name) {
    auto found = all.find(name);
    return found == all.end() ? schema::quantity() : found->second;
  };
  auto overhead = pod::amounts_of(pod["spec"]["overhead"]);
  auto requests = pod::amounts_of_pod(pod, "requests"), limits = pod::amounts_of_pod(pod, "limits");
  // Without the overhead, which is told beside.
  auto without = [&](const pod::amounts& all, std::string_view name) {
    auto q = of(all, name);
    if (!q.is_zero()) q -= of(overhead, name);
    return q;
  };
  out.resources =
      linux_resources(requests.contains("cpu") ? std::optional(without(requests, "cpu").milli_value()) : std::nullopt,
                      without(limits, "cpu").milli_value(), without(limits, "memory").value(), s);
  if (overhead.empty()) return;
  auto cpu = of(overhead, "cpu").milli_value();
  out.overhead = linux_resources(cpu, cpu, of(overhead, "memory").value(), s);
}

result<void> check_user(const value& pod, const value& container, const image_info& image) {
  if (!security(pod, container, "runAsNonRoot").as_bool()) return {};
  auto where = fmt::format("(pod: \"{}\", container: {})", pod_in_messages(pod), container["name"].as_string());
  if (auto user = number_of(security(pod, container, "runAsUser"))) {
    if (*user == 0) return fail(errc::invalid, fmt::format("container's runAsUser breaks non-root policy {}", where));
    return {};
  }
  if (!image.uid && !image.username.empty())
    return fail(
        errc::invalid,
        fmt::format("container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root {}",
                    image.username, where));
  if (image.uid.value_or(0) == 0)
    return fail(errc::invalid, fmt::format("container has runAsNonRoot and image will run as root {}", where));
  return {};
}

security_profile seccomp_of(const value& pod, const value& container, const pod_settings& s) {
  auto& p = security(pod, container, "seccompProfile");
  auto type = p["type"].as_string();
  if (type == "RuntimeDefault") return {profile_kind::runtime_default, {}};
  if (type == "Localhost")
    return {profile_kind::localhost, s.root + "/seccomp/" + std::string(p["localhostProfile"].as_string())};
  if (p.is_null() && s.seccomp_default) return {profile_kind::runtime_default, {}};
  return {};
}

// By its field, or as it was said before there was one.
std::optional<security_profile> apparmor_of(const value& pod, const value& container) {
  auto& p = security(pod, container, "appArmorProfile");
  auto type = p["type"].as_string();
  if (type == "RuntimeDefault") return security_profile{profile_kind::runtime_default, {}};
  if (type == "Unconfined") return security_profile{profile_kind::unconfined, {}};
  if (type == "Localhost")
    return security_profile{profile_kind::localhost, std::string(p["localhostProfile"].as_string())};
  auto note = pod["metadata"]["annotations"]
                 [fmt::format("container.apparmor.security.beta.kubernetes.io/{}", container["name"].as_string())]
                     .as_string();
  constexpr std::string_view localhost = "localhost/";
  if (note == "runtime/default") return security_profile{profile_kind::runtime_default, {}};
  if (note == "unconfined") return security_profile{profile_kind::unconfined, {}};
  if (note.starts_with(localhost))
    return security_profile{profile_kind::localhost, std::string(note.substr(localhost.size()))};
  return std::nullopt;
}

std::optional<selinux_label> selinux_of(const value& options) {
  if (!options.is_object()) return std::nullopt;
  auto text = [&](const char* name) { return std::string(options[name].as_string()); };
  return selinux_label{text("user"), text("role"), text("type"), text("level")};
}

// CRI numbers signals by their names, alphabetically up to SIGXFSZ (api.proto, enum Signal).
int signal_number(std::string_view name) {
  static constexpr std::string_view names[] = {
      "SIGABRT", "SIGALRM",   "SIGBUS",  "SIGCHLD",   "SIGCLD",   "SIGCONT", "SIGFPE",  "SIGHUP",  "SIGILL",
      "SIGINT",  "SIGIO",     "SIGIOT",  "SIGKILL",   "SIGPIPE",  "SIGPOLL", "SIGPROF", "SIGPWR",  "SIGQUIT",
      "SIGSEGV", "SIGSTKFLT", "SIGSTOP", "SIGSYS",    "SIGTERM",  "SIGTRAP", "SIGTSTP", "SIGTTIN", "SIGTTOU",
      "SIGURG",  "SIGUSR1",   "SIGUSR2", "SIGVTALRM", "SIGWINCH", "SIGXCPU", "SIGXFSZ"};
  for (std::size_t i = 0; i < std::size(names); ++i)
    if (names[i] == name) return static_cast<int>(i) + 1;
  constexpr int rtmin = 35, rtmax = 65;
  auto offset = [&](std::string_view prefix) { return parse_int(name.substr(prefix.size())).value_or(0); };
  if (name.starts_with("SIGRTMIN+")) return rtmin + static_cast<int>(offset("SIGRTMIN+"));
  if (name.starts_with("SIGRTMAX-")) return rtmax - static_cast<int>(offset("SIGRTMAX-"));
  return name == "SIGRTMIN" ? rtmin : name == "SIGRTMAX" ? rtmax : 0;
}

void add_security(const value& pod, const value& container, const image_info& image, const pod_settings& s,
                  container_config& out) {
  // As the kubelet hides them (pkg/securitycontext).
  static const std::vector<std::string> masked = {
      "/proc/asound",      "/proc/acpi",          "/proc/interrupts", "/proc/kcore",
      "/proc/keys",        "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
      "/proc/sched_debug", "/proc/scsi",          "/sys/firmware",    "/sys/devices/virtual/powercap"};
  static const std::vector<std::string> read_only = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                                     "/proc/sysrq-trigger"};
  auto& sc = container["securityContext"];
  out.add_capabilities = texts_of(sc["capabilities"]["add"]);
  out.drop_capabilities = texts_of(sc["capabilities"]["drop"]);
  out.privileged = sc["privileged"].as_bool();
  out.read_only_root = sc["readOnlyRootFilesystem"].as_bool();
  out.no_new_privileges = sc["allowPrivilegeEscalation"].is_bool() && !sc["allowPrivilegeEscalation"].as_bool();
  out.namespaces = namespaces_of(pod);
  out.run_as_user = number_of(security(pod, container, "runAsUser"));
  out.run_as_group = number_of(security(pod, container, "runAsGroup"));
  if (!out.run_as_user) {
    out.run_as_user = image.uid;
    out.run_as_username = image.username;
  }
  out.supplemental_groups = groups_of(pod);
  out.strict_groups = pod["spec"]["securityContext"]["supplementalGroupsPolicy"].as_string() == "Strict";
  if (sc["procMount"].as_string() != "Unmasked") {
    out.masked_paths = masked;
    out.read_only_paths = read_only;
  }
  out.seccomp = seccomp_of(pod, container, s);
  out.apparmor = apparmor_of(pod, container);
  out.selinux = selinux_of(security(pod, container, "seLinuxOptions"));
}

text_map notes_of(const value& pod, const value& container, int restarts) {
  text_map out;
  auto add = [&](std::string_view name, std::string text) { out.emplace_back(std::string(name), std::move(text)); };
  add(note_hash, hash_of_container(container));
  add(note_restart_count, std::to_string(restarts));
  add(note_resources, resources_note(pod, container));
  add(note_message_path, std::string(container["terminationMessagePath"].as_string()));
  add(note_message_policy, std::string(container["terminationMessagePolicy"].as_string()));
  if (auto& grace = pod["metadata"]["deletionGracePeriodSeconds"]; grace.is_integer())
    add(note_deletion_grace, std::to_string(grace.as_integer()));
  if (auto& grace = pod["spec"]["terminationGracePeriodSeconds"]; grace.is_integer())
    add(note_pod_grace, std::to_string(grace.as_integer()));
  if (auto& hook = container["lifecycle"]["preStop"]; hook.is_object()) add(note_pre_stop, json::write(hook));
  if (!container["ports"].empty()) add(note_ports, json::write(container["ports"]));
  return out;
}

}  // namespace

std::string pod_settings::folder_of(std::string_view uid) const { return fmt::format("{}/pods/{}", root, uid); }
std::string pod_settings::logs_of(const value& pod) const {
  auto& m = pod["metadata"];
  return fmt::format("{}/{}_{}_{}", logs, m["namespace"].as_string(), m["name"].as_string(), m["uid"].as_string());
}

std::optional<std::int64_t> memory_high(std::int64_t request, std::int64_t limit, double factor) {
  constexpr std::int64_t page = 4096;
  if (limit == 0 || (request == limit && request != 0)) return std::nullopt;
  auto between = static_cast<double>(request) + static_cast<double>(limit - request) * factor;
  auto high = static_cast<std::int64_t>(std::floor(between) / page) * page;
  return high > request && high > 0 ? std::optional(high) : std::nullopt;
}

std::string_view qos_class(const value& pod) {
  if (auto told = pod["status"]["qosClass"].as_string(); !told.empty()) return told;
  bool any = false, guaranteed = true;
  for (auto* list : {"containers", "initContainers"})
    for (auto& c : list_of(pod["spec"][list]))
      for (auto* name : {"cpu", "memory"}) {
        auto limit = amount(c, "limits", name), request = amount(c, "requests", name);
        any |= !limit.is_zero() || !request.is_zero();
        guaranteed &= !limit.is_zero() && (request.is_zero() || request == limit);
      }
  return !any ? "BestEffort" : guaranteed ? "Guaranteed" : "Burstable";
}

bool has_own_users(const value& pod) { return !pod["spec"]["hostUsers"].as_bool(true); }

std::string cgroup_parent(const value& pod) {
  auto qos = qos_class(pod);
  return fmt::format("/kubepods{}/pod{}", qos == "Guaranteed" ? "" : "/" + lower(qos),
                     pod["metadata"]["uid"].as_string());
}

std::string hostname_of(const value& pod) {
  auto& spec = pod["spec"];
  auto name = std::string(spec["hostnameOverride"].as_string(spec["hostname"].as_string()));
  if (name.empty()) name = pod["metadata"]["name"].as_string();
  if (name.size() > hostname_max) {
    name.resize(hostname_max);
    while (name.ends_with('-') || name.ends_with('.')) name.pop_back();
  }
  return name;
}

std::string domain_of(const value& pod, const pod_settings& s) {
  auto& spec = pod["spec"];
  auto sub = spec["subdomain"].as_string();
  if (sub.empty() || spec["hostnameOverride"].is_string()) return {};
  return fmt::format("{}.{}.svc.{}", sub, pod["metadata"]["namespace"].as_string(), s.cluster_domain);
}

dns_settings parse_resolv_conf(std::string_view text) {
  dns_settings out;
  for (auto line : split(text, '\n')) {
    std::vector<std::string> words;
    for (auto tab_free : split(trim(line), ' '))
      for (auto word : split(tab_free, '\t'))
        if (!word.empty()) words.emplace_back(word);
    if (words.size() < 2 || words[0].starts_with('#') || words[0].starts_with(';')) continue;
    auto rest = std::vector<std::string>(words.begin() + 1, words.end());
    if (words[0] == "nameserver") out.servers.push_back(words[1]);
    if (words[0] == "search")
      out.searches = std::move(rest);  // the last one counts
    else if (words[0] == "options")
      out.options = std::move(rest);
  }
  std::erase(out.searches, ".");
  return out;
}

dns_settings dns_of(const value& pod, const pod_settings& s) {
  auto& spec = pod["spec"];
  auto policy = spec["dnsPolicy"].as_string("ClusterFirst");
  dns_settings out = s.host_dns;
  bool cluster = policy == "ClusterFirstWithHostNet" || (policy == "ClusterFirst" && !is_host_network(pod));
  if (policy == "None") out = {};
  if (cluster && !s.cluster_dns.empty()) {
    out.servers = s.cluster_dns;
    std::vector<std::string> searches;
    auto svc = "svc." + s.cluster_domain;
    add_unique(searches, std::string(pod["metadata"]["namespace"].as_string()) + "." + svc);
    add_unique(searches, svc);
    add_unique(searches, s.cluster_domain);
    for (auto& host : out.searches) add_unique(searches, host);
    out.searches = std::move(searches);
    out.options = {"ndots:5"};
  }
  if (auto& more = spec["dnsConfig"]; more.is_object()) {
    for (auto& one : list_of(more["nameservers"])) add_unique(out.servers, std::string(one.as_string()));
    for (auto& one : list_of(more["searches"])) add_unique(out.searches, std::string(one.as_string()));
    merge_options(out.options, more["options"]);
  }
  fit_limits(out);
  return out;
}

std::string hosts_file(const value& pod, const std::vector<std::string>& ips, const pod_settings& s,
                       std::string_view node_hosts) {
  std::string out;
  if (is_host_network(pod)) {
    out = "# Kubernetes-managed hosts file (host network).\n";
    out += node_hosts;
  } else {
    out =
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost "
        "ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\n"
        "fe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n";
    auto host = hostname_of(pod), domain = domain_of(pod, s);
    for (auto& ip : ips)
      out +=
          domain.empty() ? fmt::format("{}\t{}\n", ip, host) : fmt::format("{}\t{}.{}\t{}\n", ip, host, domain, host);
  }
  auto& aliases = list_of(pod["spec"]["hostAliases"]);
  if (!aliases.empty()) out += "\n# Entries added by HostAliases.\n";
  for (auto& a : aliases)
    out += fmt::format("{}\t{}\n", a["ip"].as_string(), fmt::join(texts_of(a["hostnames"]), "\t"));
  return out;
}

sandbox_config make_sandbox_config(const value& pod, const pod_settings& s, std::uint32_t attempt) {
  auto& m = pod["metadata"];
  auto& spec = pod["spec"];
  sandbox_config out;
  out.name = m["name"].as_string();
  out.ns = m["namespace"].as_string();
  out.uid = m["uid"].as_string();
  out.attempt = attempt;
  if (!is_host_network(pod)) {
    out.hostname = hostname_of(pod);
    if (auto domain = domain_of(pod, s); spec["setHostnameAsFQDN"].as_bool() && !domain.empty())
      out.hostname += "." + domain;
  }
  out.log_directory = s.logs_of(pod);
  out.dns = dns_of(pod, s);
  for (auto& c : list_of(spec["containers"]))
    for (auto& p : list_of(c["ports"]))
      out.ports.push_back({std::string(p["protocol"].as_string("TCP")),
                           static_cast<int>(p["containerPort"].as_integer()),
                           static_cast<int>(p["hostPort"].as_integer()), std::string(p["hostIP"].as_string())});
  out.labels = map_of(m["labels"]);
  out.labels.emplace_back(std::string(label_pod_name), out.name);
  out.labels.emplace_back(std::string(label_pod_namespace), out.ns);
  out.labels.emplace_back(std::string(label_pod_uid), out.uid);
  out.annotations = map_of(m["annotations"]);
  auto& sc = spec["securityContext"];
  for (auto& one : list_of(sc["sysctls"])) {
    // runc knows them by dots alone.
    auto name = std::string(one["name"].as_string());
    if (auto slash = name.find('/'); slash != std::string::npos && name.find('.') > slash)
      for (char& c : name) c = c == '/' ? '.' : c == '.' ? '/' : c;
    out.sysctls.emplace_back(std::move(name), one["value"].as_string());
  }
  out.cgroup_parent = cgroup_parent(pod);
  out.namespaces = namespaces_of(pod);
  out.run_as_user = number_of(sc["runAsUser"]);
  out.run_as_group = number_of(sc["runAsGroup"]);
  out.supplemental_groups = groups_of(pod);
  out.strict_groups = sc["supplementalGroupsPolicy"].as_string() == "Strict";
  out.privileged = has_privileged(pod);
  out.selinux = selinux_of(sc["seLinuxOptions"]);
  add_pod_resources(pod, s, out);
  return out;
}

container_resources resources_of(const value& pod, const value& container, const pod_settings& s) {
  // What a container doesn't limit, the pod as a whole may.
  auto limit_of = [&](const char* name) {
    auto own = amount(container, "limits", name);
    return own.is_zero() ? pod::amount_of(pod["spec"]["resources"]["limits"][name]) : own;
  };
  auto* asked = container["resources"]["requests"].find("cpu");
  auto r = linux_resources(asked ? std::optional(pod::amount_of(*asked).milli_value()) : std::nullopt,
                           limit_of("cpu").milli_value(), limit_of("memory").value(), s);
  r.oom_score_adj = oom_score(pod, container, s);
  if (s.is_cgroup2 && s.kills_containers_whole) r.unified.emplace_back("memory.oom.group", "1");
  add_swap(pod, container, s, r);
  if (s.is_cgroup2) add_memory_protection(pod, container, s, r);
  if (auto* limits = container["resources"]["limits"].object())
    for (auto& [name, v] : *limits) {
      if (!name.starts_with("hugepages-")) continue;
      // "2Mi" is the kernel's "2MB".
      auto size = name.substr(10);
      if (size.ends_with("i")) size.back() = 'B';
      r.hugepages.emplace_back(std::move(size), static_cast<std::uint64_t>(pod::amount_of(v).value()));
    }
  return r;
}

bool may_swap(const value& pod, const value& container, const pod_settings& s) {
  auto request = amount(container, "requests", "memory"), limit = amount(container, "limits", "memory");
  return s.limited_swap && s.is_cgroup2 && !is_critical(pod) && qos_class(pod) == "Burstable" &&
         !(request.is_zero() && limit.is_zero()) && !(request == limit);
}

result<container_config> make_container_config(const value& pod, const value& container, container_parts parts,
                                               const pod_settings& s) {
  KEDGE_CHECK(check_user(pod, container, parts.image));
  auto& m = pod["metadata"];
  container_config out;
  out.name = container["name"].as_string();
  out.attempt = static_cast<std::uint32_t>(parts.restarts);
  out.image = std::move(parts.image_ref);
  out.user_image = container["image"].as_string();
  out.command = expand_all(container["command"], parts.env);
  out.args = expand_all(container["args"], parts.env);
  out.working_dir = container["workingDir"].as_string();
  out.env = parts.env.all();
  out.mounts = std::move(parts.mounts);
  auto& own = parts.given.devices;
  out.mounts.insert(out.mounts.begin(), own.mounts.begin(), own.mounts.end());
  out.devices = std::move(own.devices);
  out.cdi_devices = std::move(own.cdi_devices);
  out.labels = {{std::string(label_pod_name), std::string(m["name"].as_string())},
                {std::string(label_pod_namespace), std::string(m["namespace"].as_string())},
                {std::string(label_pod_uid), std::string(m["uid"].as_string())},
                {std::string(label_container_name), out.name}};
  out.annotations = notes_of(pod, container, parts.restarts);
  out.annotations.insert(out.annotations.end(), own.annotations.begin(), own.annotations.end());
  out.log_path = fmt::format("{}/{}.log", out.name, parts.restarts);
  out.stdin_open = container["stdin"].as_bool();
  out.stdin_once = container["stdinOnce"].as_bool();
  out.tty = container["tty"].as_bool();
  out.stop_signal = signal_number(container["lifecycle"]["stopSignal"].as_string());
  out.resources = resources_of(pod, container, s);
  out.resources.cpus = std::move(parts.given.cpus);
  out.resources.memory_nodes = std::move(parts.given.memory_nodes);
  // Who has CPUs for himself isn't throttled on them: his group begins without a quota. To say so, -1, is more than
  // crun 1.8 can write.
  if (parts.given.own_cpus) out.resources.cpu_quota = 0;
  add_security(pod, container, parts.image, s, out);
  out.namespaces.users = parts.given.users;
  if (!parts.process_target.empty() && out.namespaces.pid == namespace_mode::container) {
    out.namespaces.pid = namespace_mode::target;
    out.namespaces.target_id = std::move(parts.process_target);
  }
  return out;
}

result<int> port_of(const value& port, const value& container) {
  std::int64_t n = port.as_integer(-1);
  if (port.is_string()) {
    auto name = port.as_string();
    n = parse_int(name).value_or(-1);
    for (auto& p : list_of(container["ports"]))
      if (p["name"].as_string() == name) n = p["containerPort"].as_integer();
    if (n < 0)
      return fail(errc::invalid, fmt::format("couldn't find port: {} in {}", name, container["name"].as_string()));
  }
  if (n <= 0 || n > 65535) return fail(errc::invalid, fmt::format("invalid port number: {}", n));
  return static_cast<int>(n);
}

}  // namespace kedge::node
