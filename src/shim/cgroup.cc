#include "shim/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <optional>
#include <span>

#include "base/protobuf_wire.h"
#include "base/strings.h"
#include "shim/files.h"
#include "shim/messages.h"

namespace kedge::shim {

namespace {

constexpr std::string_view mount_point = "/sys/fs/cgroup";
constexpr std::size_t file_bytes_max = 256 * 1024;  // of one statistics file; blkio's grows with devices

std::string text_of(const std::string& path) { return read_file(path, file_bytes_max).value_or(std::string()); }

// "max" and what isn't there: none.
std::optional<std::uint64_t> number_of(std::string_view text) { return parse_uint(trim(text)); }
std::uint64_t number_in(const std::string& path) {
  auto text = text_of(path);
  if (trim(text) == "max") return UINT64_MAX;
  return number_of(text).value_or(0);
}

// Lines of a name and a number.
using table = std::map<std::string, std::uint64_t, std::less<>>;
table table_of(const std::string& path) {
  table out;
  auto text = text_of(path);
  for (auto line : split(text, '\n')) {
    auto space = line.find(' ');
    if (space == std::string_view::npos) continue;
    if (auto n = number_of(line.substr(space + 1))) out.emplace(line.substr(0, space), *n);
  }
  return out;
}
std::uint64_t value(const table& t, std::string_view name) {
  auto found = t.find(name);
  return found == t.end() ? 0 : found->second;
}

// Fields 1, 2, 3 … of a message from the values of those names; "" leaves a number out.
std::string numbers(const table& t, std::span<const std::string_view> names) {
  wire::writer out;
  for (int id = 1; auto name : names) {
    if (!name.empty()) out.number(id, value(t, name));
    ++id;
  }
  return out.take();
}

template <typename Each>
void each_file(const std::string& folder, Each each) {
  auto* d = ::opendir(folder.c_str());
  if (!d) return;
  while (auto* e = ::readdir(d)) each(std::string_view(e->d_name));
  ::closedir(d);
}

// --- version 1 ---

constexpr std::string_view memory_v1[] = {"cache",
                                          "rss",
                                          "rss_huge",
                                          "mapped_file",
                                          "dirty",
                                          "writeback",
                                          "pgpgin",
                                          "pgpgout",
                                          "pgfault",
                                          "pgmajfault",
                                          "inactive_anon",
                                          "active_anon",
                                          "inactive_file",
                                          "active_file",
                                          "unevictable",
                                          "hierarchical_memory_limit",
                                          "hierarchical_memsw_limit",
                                          "total_cache",
                                          "total_rss",
                                          "total_rss_huge",
                                          "total_mapped_file",
                                          "total_dirty",
                                          "total_writeback",
                                          "total_pgpgin",
                                          "total_pgpgout",
                                          "total_pgfault",
                                          "total_pgmajfault",
                                          "total_inactive_anon",
                                          "total_active_anon",
                                          "total_inactive_file",
                                          "total_active_file",
                                          "total_unevictable"};

// MemoryEntry: limit 1, usage 2, max 3, failcnt 4. Empty when the kernel has no such account.
std::string memory_entry(const std::string& folder, std::string_view account) {
  auto file = [&](std::string_view name) { return folder + "/memory." + std::string(account) + std::string(name); };
  if (::access(file("usage_in_bytes").c_str(), F_OK) < 0) return {};
  return wire::writer()
      .number(1, number_in(file("limit_in_bytes")))
      .number(2, number_in(file("usage_in_bytes")))
      .number(3, number_in(file("max_usage_in_bytes")))
      .number(4, number_in(file("failcnt")))
      .take();
}

std::string memory_metrics_v1(const std::string& folder) {
  auto out = numbers(table_of(folder + "/memory.stat"), memory_v1);
  constexpr std::string_view accounts[] = {"", "memsw.", "kmem.", "kmem.tcp."};
  for (int id = 33; auto account : accounts) wire::put_bytes(id++, memory_entry(folder, account), out);
  return out;
}

// Ticks of the kernel's accounting, of which there are 100 a second, in nanoseconds.
std::uint64_t ticks(std::uint64_t n) { return n * (1'000'000'000 / 100); }

// CPUStat: usage 1 (total 1, kernel 2, user 3, per_cpu 4), throttling 2 (periods 1, throttled 2, time 3).
std::string cpu_metrics_v1(const std::string& accounting, const std::string& scheduling) {
  auto stat = table_of(accounting + "/cpuacct.stat");
  std::string usage = wire::writer()
                          .number(1, number_in(accounting + "/cpuacct.usage"))
                          .number(2, ticks(value(stat, "system")))
                          .number(3, ticks(value(stat, "user")))
                          .take();
  std::string each;
  auto text = text_of(accounting + "/cpuacct.usage_percpu");
  for (auto part : split(trim(text), ' '))
    if (auto n = number_of(part)) wire::put_varint(*n, each);
  if (!each.empty()) wire::put_bytes(4, each, usage);
  constexpr std::string_view throttling[] = {"nr_periods", "nr_throttled", "throttled_time"};
  std::string out;
  wire::put_bytes(1, usage, out);
  wire::put_bytes(2, numbers(table_of(scheduling + "/cpu.stat"), throttling), out);
  return out;
}

// The name of a block device, "/dev/sda"; empty when the kernel doesn't list it.
std::string device_name(std::string_view partitions, std::string_view major, std::string_view minor) {
  for (auto line : split(partitions, '\n')) {
    std::vector<std::string_view> words;
    for (auto word : split(line, ' '))
      if (!word.empty()) words.push_back(word);
    if (words.size() == 4 && words[0] == major && words[1] == minor) return "/dev/" + std::string(words[3]);
  }
  return {};
}

// BlkIOEntry: op 1, device 2, major 3, minor 4, value 5; of lines "8:0 Read 123".
bool block_entries(const std::string& file, int id, std::string_view partitions, std::string& out) {
  auto text = text_of(file);
  bool any = false;
  for (auto line : split(text, '\n')) {
    std::vector<std::string_view> words;
    for (auto word : split(line, ' '))
      for (auto part : split(word, ':'))
        if (!part.empty()) words.push_back(part);
    if (words.size() < 3) continue;
    auto major = number_of(words[0]), minor = number_of(words[1]), amount = number_of(words.back());
    if (!major || !minor || !amount) continue;
    wire::put_bytes(id,
                    wire::writer()
                        .text(1, words.size() > 3 ? words[2] : std::string_view())
                        .text(2, device_name(partitions, words[0], words[1]))
                        .number(3, *major)
                        .number(4, *minor)
                        .number(5, *amount)
                        .take(),
                    out);
    any = true;
  }
  return any;
}

std::string block_metrics_v1(const std::string& folder) {
  constexpr std::string_view recursive[] = {"io_service_bytes", "io_serviced", "io_queued", "io_service_time",
                                            "io_wait_time",     "io_merged",   "time",      "sectors"};
  std::string out;
  auto partitions = text_of("/proc/partitions");
  bool any = false;
  for (int id = 1; auto name : recursive)
    any |= block_entries(folder + "/blkio." + std::string(name) + "_recursive", id++, partitions, out);
  if (any) return out;
  block_entries(folder + "/blkio.throttle.io_service_bytes", 1, partitions, out);
  block_entries(folder + "/blkio.throttle.io_serviced", 2, partitions, out);
  return out;
}

std::string metrics_v1(const cgroup& c) {
  std::string out;
  if (auto huge = c.folder("hugetlb"); !huge.empty())
    each_file(huge, [&](std::string_view name) {
      constexpr std::string_view prefix = "hugetlb.", suffix = ".usage_in_bytes";
      if (!name.starts_with(prefix) || !name.ends_with(suffix) || name.contains(".rsvd.")) return;
      auto size = std::string(name.substr(prefix.size(), name.size() - prefix.size() - suffix.size()));
      auto file = huge + "/hugetlb." + size;
      wire::put_bytes(1,
                      wire::writer()
                          .number(1, number_in(file + ".usage_in_bytes"))
                          .number(2, number_in(file + ".max_usage_in_bytes"))
                          .number(3, number_in(file + ".failcnt"))
                          .text(4, size)
                          .take(),
                      out);
    });
  if (auto pids = c.folder("pids"); !pids.empty()) {
    auto limit = number_in(pids + "/pids.max");
    wire::put_bytes(
        2,
        wire::writer().number(1, number_in(pids + "/pids.current")).number(2, limit == UINT64_MAX ? 0 : limit).take(),
        out);
  }
  wire::put_bytes(3, cpu_metrics_v1(c.folder("cpuacct"), c.folder("cpu")), out);
  if (auto memory = c.folder("memory"); !memory.empty()) {
    constexpr std::string_view control[] = {"oom_kill_disable", "under_oom", "oom_kill"};
    wire::put_bytes(4, memory_metrics_v1(memory), out);
    wire::put_bytes(9, numbers(table_of(memory + "/memory.oom_control"), control), out);
  }
  if (auto block = c.folder("blkio"); !block.empty()) wire::put_bytes(5, block_metrics_v1(block), out);
  return encode_any("io.containerd.cgroups.v1.Metrics", out);
}

// --- version 2 ---

constexpr std::string_view memory_v2[] = {"anon",
                                          "file",
                                          "kernel_stack",
                                          "slab",
                                          "sock",
                                          "shmem",
                                          "file_mapped",
                                          "file_dirty",
                                          "file_writeback",
                                          "anon_thp",
                                          "inactive_anon",
                                          "active_anon",
                                          "inactive_file",
                                          "active_file",
                                          "unevictable",
                                          "slab_reclaimable",
                                          "slab_unreclaimable",
                                          "pgfault",
                                          "pgmajfault",
                                          "workingset_refault",
                                          "workingset_activate",
                                          "workingset_nodereclaim",
                                          "pgrefill",
                                          "pgscan",
                                          "pgsteal",
                                          "pgactivate",
                                          "pgdeactivate",
                                          "pglazyfree",
                                          "pglazyfreed",
                                          "thp_fault_alloc",
                                          "thp_collapse_alloc"};

// PSIData: avg10 1, avg60 2, avg300 3, total 4; of "some avg10=0.00 avg60=0.00 avg300=0.00 total=0".
std::string pressure_line(std::string_view line) {
  std::string out;
  for (auto word : split(line, ' ')) {
    auto equals = word.find('=');
    if (equals == std::string_view::npos) continue;
    auto name = word.substr(0, equals), text = word.substr(equals + 1);
    if (name == "total") {
      if (auto n = number_of(text)) wire::put_number(4, *n, out);
      continue;
    }
    double average = 0;
    std::from_chars(text.data(), text.data() + text.size(), average);
    int id = name == "avg10" ? 1 : name == "avg60" ? 2 : 3;
    if (average != 0) wire::put_fixed64(id, std::bit_cast<std::uint64_t>(average), out);
  }
  return out;
}

// PSIStats: some 1, full 2. Empty where the kernel doesn't account for it.
std::string pressure(const std::string& file) {
  std::string out;
  auto text = text_of(file);
  for (auto line : split(text, '\n')) {
    if (line.starts_with("some ")) wire::put_bytes(1, pressure_line(line), out);
    if (line.starts_with("full ")) wire::put_bytes(2, pressure_line(line), out);
  }
  return out;
}

// IOStat: usage 1 (major 1, minor 2, rbytes 3, wbytes 4, rios 5, wios 6), psi 2.
std::string io_metrics_v2(const std::string& folder) {
  constexpr std::string_view names[] = {"rbytes", "wbytes", "rios", "wios"};
  std::string out;
  auto text = text_of(folder + "/io.stat");
  for (auto line : split(text, '\n')) {
    auto words = split(line, ' ');
    auto colon = words.front().find(':');
    if (colon == std::string_view::npos) continue;
    wire::writer entry;
    entry.number(1, number_of(words.front().substr(0, colon)).value_or(0));
    entry.number(2, number_of(words.front().substr(colon + 1)).value_or(0));
    for (auto word : words) {
      auto equals = word.find('=');
      auto found = std::ranges::find(names, word.substr(0, equals));
      if (equals == std::string_view::npos || found == std::end(names)) continue;
      entry.number(3 + static_cast<int>(found - std::begin(names)), number_of(word.substr(equals + 1)).value_or(0));
    }
    wire::put_bytes(1, entry.take(), out);
  }
  if (auto psi = pressure(folder + "/io.pressure"); !psi.empty()) wire::put_bytes(2, psi, out);
  return out;
}

// RdmaStat: current 1, limit 2; an entry is device 1, hca_handles 2, hca_objects 3.
std::string rdma_metrics(const std::string& folder) {
  std::string out;
  for (int id = 1; auto* file : {"/rdma.current", "/rdma.max"}) {
    auto text = text_of(folder + file);
    for (auto line : split(text, '\n')) {
      auto words = split(line, ' ');
      if (words.size() < 3) continue;
      auto amount = [&](std::string_view word) -> std::uint64_t {
        auto n = word.substr(word.find('=') + 1);
        return n == "max" ? UINT32_MAX : number_of(n).value_or(0);
      };
      wire::put_bytes(
          id, wire::writer().text(1, words[0]).number(2, amount(words[1])).number(3, amount(words[2])).take(), out);
    }
    ++id;
  }
  return out;
}

// Metrics: pids 1, cpu 2, memory 4, rdma 5, io 6, hugetlb 7, memory_events 8.
std::string metrics_v2(const std::string& folder) {
  constexpr std::string_view cpu[] = {"usage_usec", "user_usec",    "system_usec",
                                      "nr_periods", "nr_throttled", "throttled_usec"};
  constexpr std::string_view events[] = {"low", "high", "max", "oom", "oom_kill"};
  auto file = [&](std::string_view name) { return folder + "/" + std::string(name); };
  std::string out;
  wire::put_bytes(
      1, wire::writer().number(1, number_in(file("pids.current"))).number(2, number_in(file("pids.max"))).take(), out);
  auto processor = numbers(table_of(file("cpu.stat")), cpu);
  if (auto psi = pressure(file("cpu.pressure")); !psi.empty()) wire::put_bytes(7, psi, processor);
  wire::put_bytes(2, processor, out);
  auto memory = numbers(table_of(file("memory.stat")), memory_v2);
  memory += wire::writer()
                .number(32, number_in(file("memory.current")))
                .number(33, number_in(file("memory.max")))
                .number(34, number_in(file("memory.swap.current")))
                .number(35, number_in(file("memory.swap.max")))
                .number(36, number_in(file("memory.peak")))
                .number(37, number_in(file("memory.swap.peak")))
                .take();
  if (auto psi = pressure(file("memory.pressure")); !psi.empty()) wire::put_bytes(38, psi, memory);
  wire::put_bytes(4, memory, out);
  wire::put_bytes(5, rdma_metrics(folder), out);
  wire::put_bytes(6, io_metrics_v2(folder), out);
  each_file(folder, [&](std::string_view name) {
    constexpr std::string_view prefix = "hugetlb.", suffix = ".current";
    if (!name.starts_with(prefix) || !name.ends_with(suffix) || name.contains(".rsvd.")) return;
    auto size = std::string(name.substr(prefix.size(), name.size() - prefix.size() - suffix.size()));
    wire::put_bytes(7,
                    wire::writer()
                        .number(1, number_in(file("hugetlb." + size + ".current")))
                        .number(2, number_in(file("hugetlb." + size + ".max")))
                        .text(3, size)
                        .take(),
                    out);
  });
  if (auto t = table_of(file("memory.events")); !t.empty()) wire::put_bytes(8, numbers(t, events), out);
  return encode_any("io.containerd.cgroups.v2.Metrics", out);
}

}  // namespace

cgroup cgroup::of(std::string_view proc_cgroup, std::string root, bool unified) {
  cgroup out;
  out.root_ = std::move(root);
  out.unified_ = unified;
  // "4:cpu,cpuacct:/path"; "0::/path" is version 2's.
  for (auto line : split(proc_cgroup, '\n')) {
    auto first = line.find(':');
    auto second = line.find(':', first == std::string_view::npos ? first : first + 1);
    if (second == std::string_view::npos) continue;
    auto controllers = line.substr(first + 1, second - first - 1);
    for (auto controller : split(controllers, ','))
      if (controller.empty() == unified) out.paths_[std::string(controller)] = line.substr(second + 1);
  }
  return out;
}

result<cgroup> cgroup::of_process(int pid) {
  constexpr long unified_magic = 0x63677270;
  KEDGE_TRY(auto text, read_file("/proc/" + std::to_string(pid) + "/cgroup", file_bytes_max));
  struct statfs disk{};
  bool unified = ::statfs(std::string(mount_point).c_str(), &disk) == 0 && disk.f_type == unified_magic;
  return of(text, std::string(mount_point), unified);
}

std::vector<std::string> cgroup::all_folders(const std::string& path) {
  std::vector<std::string> out;
  auto add = [&](const std::string& folder) {
    if (::access(folder.c_str(), F_OK) == 0) out.push_back(folder);
  };
  auto root = std::string(mount_point);
  if (::access((root + "/cgroup.controllers").c_str(), F_OK) == 0) {
    add(root + path);
  } else {
    each_file(root, [&](std::string_view name) {
      if (!name.starts_with('.')) add(root + "/" + std::string(name) + path);
    });
  }
  return out;
}

result<void> remove_cgroup(const std::string& folder) {
  std::vector<std::string> below;
  each_file(folder, [&](std::string_view name) {
    auto path = folder + "/" + std::string(name);
    struct stat s{};
    if (!name.starts_with('.') && ::lstat(path.c_str(), &s) == 0 && S_ISDIR(s.st_mode))
      below.push_back(std::move(path));
  });
  for (auto& b : below) KEDGE_CHECK(remove_cgroup(b));
  constexpr int attempts = 100;
  for (int i = 0; ::rmdir(folder.c_str()) < 0; ++i) {
    if (errno == ENOENT) break;
    if (errno != EBUSY || i == attempts) return fail(os_error(errno, "remove cgroup " + folder));
    auto text = text_of(folder + "/cgroup.procs");
    for (auto line : split(text, '\n'))
      if (auto pid = parse_int(trim(line)); pid && *pid > 1) ::kill(static_cast<pid_t>(*pid), SIGKILL);
    ::usleep(10'000);  // a process leaves its cgroup only when it is gone
  }
  return {};
}

std::string cgroup::folder(std::string_view controller) const {
  auto found = paths_.find(unified_ ? std::string_view() : controller);
  if (found == paths_.end()) return {};
  return unified_ ? root_ + found->second : root_ + "/" + std::string(controller) + found->second;
}

std::string cgroup::metrics() const { return unified_ ? metrics_v2(folder({})) : metrics_v1(*this); }

oom_watch::oom_watch(loop& l, const cgroup& c, std::function<void()> killed)
    : loop_(l), unified_(c.unified()), killed_(std::move(killed)) {
  auto folder = c.folder("memory");
  if (folder.empty()) return;
  file_ = folder + (unified_ ? "/memory.events" : "/memory.oom_control");
  seen_ = kills();
  if (unified_) {
    fd_ = descriptor(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (::inotify_add_watch(fd_.get(), file_.c_str(), IN_MODIFY) < 0) fd_.close();
  } else {
    fd_ = descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    descriptor control(::open((folder + "/cgroup.event_control").c_str(), O_WRONLY | O_CLOEXEC));
    descriptor watched(::open(file_.c_str(), O_RDONLY | O_CLOEXEC));
    auto line = std::to_string(fd_.get()) + " " + std::to_string(watched.get());
    if (!control || !watched || !write_all(control.get(), line)) fd_.close();
  }
  if (fd_) loop_.watch(fd_.get(), EPOLLIN, *this);
}

oom_watch::~oom_watch() {
  if (fd_) loop_.unwatch(fd_.get(), *this);
}

std::uint64_t oom_watch::kills() const { return value(table_of(file_), "oom_kill"); }

void oom_watch::ready(std::uint32_t) { look(); }

void oom_watch::look() {
  if (!fd_) return;
  std::array<char, 1024> events;
  bool told = false;
  while (::read(fd_.get(), events.data(), events.size()) > 0) told = true;
  if (!unified_) {
    // Told before the kill, which may not be counted yet; and once more when the cgroup goes.
    if (told && ::access(file_.c_str(), F_OK) == 0) killed_();
    return;
  }
  auto now = kills();
  if (now <= seen_) return;  // less: the cgroup is gone, and its count with it
  seen_ = now;
  killed_();
}

}  // namespace kedge::shim
