#include "node/machine/node_stats.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "base/strings.h"
#include "crypto/files.h"
#include "node/machine/system_info.h"

namespace kedge::node {

namespace {

std::vector<std::string_view> words(std::string_view line) {
  std::vector<std::string_view> out;
  for (auto w : split(line, ' '))
    if (!w.empty()) out.push_back(w);
  return out;
}

std::uint64_t number(const std::vector<std::string_view>& w, std::size_t i) {
  return i < w.size() ? parse_uint(w[i]).value_or(0) : 0;
}

std::uint64_t kibibytes(std::string_view meminfo, std::string_view name) {
  for (auto line : split(meminfo, '\n'))
    if (line.starts_with(name) && line.substr(name.size()).starts_with(':'))
      return number(words(line.substr(name.size() + 1)), 0) * 1024;
  return 0;
}

void read_memory(std::string_view meminfo, node_stats& s) {
  s.memory_total_bytes = kibibytes(meminfo, "MemTotal");
  s.memory_usage_bytes = s.memory_total_bytes - std::min(s.memory_total_bytes, kibibytes(meminfo, "MemFree"));
  // As the kubelet: what is used without the file pages that can be dropped at once.
  auto inactive = kibibytes(meminfo, "Inactive(file)");
  s.memory_working_set_bytes = s.memory_usage_bytes - std::min(s.memory_usage_bytes, inactive);
  s.memory_available_bytes = s.memory_total_bytes - s.memory_working_set_bytes;
  s.memory_rss_bytes = kibibytes(meminfo, "AnonPages");
  s.swap_total_bytes = kibibytes(meminfo, "SwapTotal");
  s.swap_usage_bytes = s.swap_total_bytes - std::min(s.swap_total_bytes, kibibytes(meminfo, "SwapFree"));
}

void read_page_faults(std::string_view vmstat, node_stats& s) {
  for (auto line : split(vmstat, '\n')) {
    if (line.starts_with("pgfault ")) s.page_faults = number(words(line), 1);
    if (line.starts_with("pgmajfault ")) s.major_page_faults = number(words(line), 1);
  }
}

void read_network(std::string_view table, node_stats& s) {
  for (auto line : split(table, '\n')) {
    auto colon = line.find(':');
    if (colon == std::string_view::npos || trim(line.substr(0, colon)) != s.network_interface) continue;
    auto w = words(line.substr(colon + 1));
    s.received_bytes = number(w, 0);
    s.receive_errors = number(w, 2);
    s.sent_bytes = number(w, 8);
    s.send_errors = number(w, 10);
  }
}

}  // namespace

result<node_stats> read_node_stats(const std::string& root, const std::string& storage) {
  node_stats s;
  KEDGE_TRY(auto stat, crypto::read_file(root + "/proc/stat"));
  auto ticks = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
  for (auto line : split(stat, '\n')) {
    auto w = words(line);
    if (w.empty()) continue;
    if (w[0] == "cpu") {  // user nice system idle iowait irq softirq steal
      std::uint64_t busy = 0;
      for (std::size_t i : {1u, 2u, 3u, 6u, 7u, 8u}) busy += number(w, i);
      s.cpu_nanoseconds = busy * (1'000'000'000 / ticks);
    } else if (w[0] == "btime") {
      s.booted = static_cast<std::int64_t>(number(w, 1));
    }
  }
  KEDGE_TRY(auto meminfo, crypto::read_file(root + "/proc/meminfo"));
  read_memory(meminfo, s);
  read_page_faults(crypto::read_file(root + "/proc/vmstat").value_or(std::string()), s);
  s.network_interface = default_route_interface(crypto::read_file(root + "/proc/net/route").value_or(std::string()));
  if (!s.network_interface.empty()) read_network(crypto::read_file(root + "/proc/net/dev").value_or(std::string()), s);

  struct statvfs disk{};
  if (::statvfs(storage.c_str(), &disk) != 0) return fail(os_error(errno, "statfs " + storage));
  s.disk_bytes = std::uint64_t(disk.f_blocks) * disk.f_frsize;
  s.disk_used_bytes = std::uint64_t(disk.f_blocks - std::min(disk.f_blocks, disk.f_bfree)) * disk.f_frsize;
  s.disk_available_bytes = std::uint64_t(disk.f_bavail) * disk.f_frsize;
  s.inodes = disk.f_files;
  s.inodes_free = disk.f_ffree;

  // "0.1 0.2 0.3 2/345 6789": running and all
  auto load = crypto::read_file(root + "/proc/loadavg").value_or(std::string());
  if (auto w = words(load); w.size() > 3)
    if (auto slash = w[3].find('/'); slash != std::string_view::npos)
      s.processes = static_cast<std::int64_t>(parse_uint(w[3].substr(slash + 1)).value_or(0));
  // Either bounds what the whole machine may have.
  for (auto* file : {"/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"})
    if (auto n = parse_int(trim(crypto::read_file(root + file).value_or(std::string()))); n && *n > 0)
      s.processes_max = s.processes_max == 0 ? *n : std::min(s.processes_max, *n);

  // What follows the command's name, which may have blanks and brackets itself.
  auto own = crypto::read_file(root + "/proc/self/stat").value_or(std::string());
  if (auto end = own.rfind(')'); end != std::string::npos) {
    auto w = words(std::string_view(own).substr(end + 1));
    s.own_cpu_nanoseconds = (number(w, 11) + number(w, 12)) * (1'000'000'000 / ticks);
    s.own_resident_bytes = number(w, 21) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    s.own_started = static_cast<double>(s.booted) + static_cast<double>(number(w, 19)) / static_cast<double>(ticks);
  }
  if (auto* folder = ::opendir((root + "/proc/self/fd").c_str())) {
    while (::readdir(folder)) ++s.own_descriptors;
    s.own_descriptors -= std::min<std::uint64_t>(s.own_descriptors, 3);  // ".", ".." and the folder itself
    ::closedir(folder);
  }
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) s.own_descriptors_max = limit.rlim_cur;
  return s;
}

}  // namespace kedge::node
