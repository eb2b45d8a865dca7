#include "node/usage/usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "base/strings.h"
#include "crypto/files.h"
#include "node/limits.h"
#include "node/pods/configs.h"
#include "node/pods/manager.h"
#include "reactor/offload.h"

namespace kedge::node {

namespace {

// Those that K3s's and the kubelet's users know: all pods, and the two lower classes of service.
constexpr std::string_view groups_above[] = {"/kubepods", "/kubepods/burstable", "/kubepods/besteffort"};
constexpr std::string_view ends_at_containers[] = {"lo", "veth", "docker", "nerdctl"};  // as cAdvisor leaves them out

std::string machine_key() { return "/"; }
std::string key_of(const measured_pod& p, std::string_view container = {}) {
  return container.empty() ? p.cgroup : p.cgroup + "/" + std::string(container);
}

// "8:0" → "/dev/sda"; what the kernel doesn't tell stays as it is.
class device_names {
 public:
  explicit device_names(std::string root) : root_(std::move(root)) {}
  std::string of(const std::string& number) {
    auto [known, fresh] = known_.try_emplace(number, number);
    if (!fresh) return known->second;
    char target[PATH_MAX];
    auto n = ::readlink((root_ + "/sys/dev/block/" + number).c_str(), target, sizeof target);
    if (n <= 0) return number;
    std::string_view path(target, static_cast<std::size_t>(n));
    return known->second = "/dev/" + std::string(path.substr(path.rfind('/') + 1));
  }
  void put_into(cgroup_usage& u) {
    for (auto& d : u.io) d.device = of(d.device);
  }
  // Of the file system that has this path; empty: none that the machine knows by name.
  std::string under(const std::string& path) {
    struct stat about{};
    if (::stat(path.c_str(), &about) != 0) return {};
    auto name = of(fmt::format("{}:{}", major(about.st_dev), minor(about.st_dev)));
    return name.starts_with('/') ? name : std::string();
  }

 private:
  std::string root_;
  std::map<std::string, std::string, std::less<>> known_;
};

// "0.log" and what rotation made of it. Names that a container gives itself aren't looked at.
void measure_logs(const measured_pod& pod, measured_container& c) {
  auto folder = pod.logs_folder + "/" + c.name;
  auto* list = ::opendir(folder.c_str());
  if (!list) return;
  for (std::size_t seen = 0; seen < log_files_measured_max; ++seen) {
    auto* entry = ::readdir(list);
    if (!entry) break;
    struct stat about{};
    if (::fstatat(::dirfd(list), entry->d_name, &about, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(about.st_mode)) continue;
    c.log_bytes += static_cast<std::uint64_t>(about.st_blocks) * 512;
    ++c.log_files;
  }
  ::closedir(list);
}

measured_pod measure_pod(const usage_paths& paths, const cgroup_files& groups, pod_to_measure what) {
  measured_pod out;
  static_cast<pod_to_measure&>(out) = std::move(what);
  out.used = groups.read(out.cgroup);
  for (auto& c : out.containers) {
    auto used = groups.read(key_of(out, c.id));
    if (!used) continue;
    measured_container one;
    static_cast<container_to_measure&>(one) = c;
    one.used = *std::move(used);
    measure_logs(out, one);
    out.measured.push_back(std::move(one));
  }
  if (out.sandbox_id.empty()) return out;
  out.sandbox = groups.read(key_of(out, out.sandbox_id));
  if (!out.own_network) return out;
  if (auto pid = groups.first_process(key_of(out, out.sandbox_id)))
    out.network = parse_net_dev(
        crypto::read_file(fmt::format("{}/proc/{}/net/dev", paths.root, *pid), cgroup_file_bytes_max).value_or(""));
  return out;
}

std::optional<std::uint64_t> rate(const cpu_counts& before, const std::string& key, wall_time at, std::uint64_t count,
                                  std::int64_t began_at) {
  wall_time from{std::chrono::nanoseconds(began_at)};
  std::uint64_t base = 0;
  if (auto known = before.find(key); known != before.end() && known->second.second <= count) {
    from = known->second.first;
    base = known->second.second;
  } else if (began_at <= 0) {
    return std::nullopt;
  }
  auto seconds = std::chrono::duration<double>(at - from).count();
  if (seconds <= 0) return std::nullopt;
  return static_cast<std::uint64_t>(static_cast<double>(count - base) / seconds);
}

}  // namespace

std::vector<interface_usage> parse_net_dev(std::string_view text) {
  std::vector<interface_usage> out;
  for (auto line : split(text, '\n')) {
    auto colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    auto name = trim(line.substr(0, colon));
    if (std::ranges::any_of(ends_at_containers, [&](auto prefix) { return name.starts_with(prefix); })) continue;
    std::vector<std::uint64_t> n;
    for (auto word : split(line.substr(colon + 1), ' '))
      if (!word.empty()) n.push_back(parse_uint(word).value_or(0));
    if (n.size() < 12) continue;
    out.push_back({.name = std::string(name),
                   .received_bytes = n[0],
                   .received_packets = n[1],
                   .receive_errors = n[2],
                   .receive_drops = n[3],
                   .sent_bytes = n[8],
                   .sent_packets = n[9],
                   .send_errors = n[10],
                   .send_drops = n[11]});
  }
  return out;
}

result<node_usage> measure(const usage_paths& paths, std::vector<pod_to_measure> pods) {
  node_usage out;
  KEDGE_TRY(out.machine, read_node_stats(paths.root, paths.storage));
  out.at = system_wall_time();
  out.network = parse_net_dev(crypto::read_file(paths.root + "/proc/net/dev", cgroup_file_bytes_max).value_or(""));
  auto pressure_of = [&](std::string_view what) {
    return parse_pressure(
        crypto::read_file(fmt::format("{}/proc/pressure/{}", paths.root, what), cgroup_file_bytes_max).value_or(""));
  };
  out.cpu_pressure = pressure_of("cpu");
  out.memory_pressure = pressure_of("memory");
  out.io_pressure = pressure_of("io");
  const cgroup_files groups(paths.cgroups);
  for (auto path : groups_above)
    if (auto used = groups.read(std::string(path)))
      out.groups.push_back({.path = std::string(path), .used = *std::move(used), .nanocores = {}});
  for (auto& p : pods) out.pods.push_back(measure_pod(paths, groups, std::move(p)));
  device_names devices(paths.root);
  out.storage_device = devices.under(paths.storage);
  for (auto& g : out.groups) devices.put_into(g.used);
  for (auto& p : out.pods) {
    if (p.used) devices.put_into(*p.used);
    if (p.sandbox) devices.put_into(*p.sandbox);
    for (auto& c : p.measured) devices.put_into(c.used);
  }
  return out;
}

cpu_counts cpu_counts_of(const node_usage& u) {
  cpu_counts out;
  out[machine_key()] = {u.at, u.machine.cpu_nanoseconds};
  for (auto& g : u.groups) out[g.path] = {g.used.at, g.used.cpu_nanoseconds};
  for (auto& p : u.pods) {
    if (p.used) out[key_of(p)] = {p.used->at, p.used->cpu_nanoseconds};
    for (auto& c : p.measured) out[key_of(p, c.id)] = {c.used.at, c.used.cpu_nanoseconds};
  }
  return out;
}

void add_nanocores(node_usage& u, const cpu_counts& before) {
  u.nanocores = rate(before, machine_key(), u.at, u.machine.cpu_nanoseconds, u.machine.booted * 1'000'000'000);
  for (auto& g : u.groups)
    g.nanocores = rate(before, g.path, g.used.at, g.used.cpu_nanoseconds, u.machine.booted * 1'000'000'000);
  for (auto& p : u.pods) {
    std::int64_t began = 0;
    for (auto& c : p.measured) {
      c.nanocores = rate(before, key_of(p, c.id), c.used.at, c.used.cpu_nanoseconds, c.started_at);
      began = began == 0 ? c.started_at : std::min(began, c.started_at);
    }
    if (p.used) p.nanocores = rate(before, key_of(p), p.used->at, p.used->cpu_nanoseconds, began);
  }
}

std::vector<pod_to_measure> pods_to_measure(const pod_manager& pods,
                                            const std::function<std::string(const json::value&)>& logs_of) {
  std::vector<pod_to_measure> out;
  for (auto* p : pods.all()) {
    auto& seen = p->seen();
    auto* sandbox = seen.active_sandbox();
    if (!sandbox && !seen.runs_anything()) continue;
    auto& pod = *p->pod();
    auto& m = pod["metadata"];
    pod_to_measure one{.ns = std::string(m["namespace"].as_string()),
                       .name = std::string(m["name"].as_string()),
                       .uid = std::string(m["uid"].as_string()),
                       .start_time = std::string(p->status()["startTime"].as_string()),
                       .cgroup = cgroup_parent(pod),
                       .sandbox_id = sandbox ? sandbox->id : std::string(),
                       .logs_folder = logs_of(pod),
                       .own_network = !is_host_network(pod),
                       .containers = {}};
    for (auto& c : seen.containers)
      if (c.state == container_state::running)
        one.containers.push_back({.id = c.id, .name = c.name, .image = c.image, .started_at = c.started_at});
    out.push_back(std::move(one));
  }
  return out;
}

task<result<std::shared_ptr<const node_usage>>> usage_meter::now() {
  struct turn {
    reactor::semaphore& units;
    ~turn() { units.release(); }
  };
  co_await turn_.acquire();
  turn mine{turn_};
  auto& loop = reactor::loop::current();
  if (last_ && loop.now() - last_at_ < usage_age_max) co_return last_;
  KEDGE_CO_TRY(auto done, co_await reactor::offload(
                              [paths = paths_, pods = pods_()]() mutable { return measure(paths, std::move(pods)); }));
  KEDGE_CO_TRY(auto usage, std::move(done));
  // Rates are over five seconds and more, so that they don't jump for who asks often.
  const bool aged = counted_at_ == time_point{} || loop.now() - counted_at_ >= usage_rate_span;
  if (aged) before_ = std::move(counted_);
  add_nanocores(usage, before_);
  last_ = std::make_shared<const node_usage>(std::move(usage));
  last_at_ = loop.now();
  if (aged) {
    counted_ = cpu_counts_of(*last_);
    counted_at_ = last_at_;
  }
  co_return last_;
}

}  // namespace kedge::node
