#include "node/machine/system_info.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <limits>

#include "base/strings.h"
#include "crypto/files.h"

namespace kedge::node {

namespace {

// The trimmed content, or empty: for facts that a machine may lack.
std::string fact(const std::string& path) {
  auto text = crypto::read_file(path);
  return text ? std::string(trim(*text)) : std::string();
}

// `MemTotal:       24684092 kB` → 24684092 * 1024; nullopt when the line isn't there.
std::optional<std::uint64_t> memory_line(std::string_view meminfo, std::string_view name) {
  for (auto line : split(meminfo, '\n')) {
    if (!line.starts_with(name) || line.size() <= name.size() || line[name.size()] != ':') continue;
    auto rest = trim(line.substr(name.size() + 1));
    auto number = parse_uint(rest.substr(0, rest.find(' ')));
    if (number) return *number * 1024;
  }
  return std::nullopt;
}

// os-release(5): NAME=value, perhaps quoted.
std::string pretty_name(std::string_view os_release) {
  for (auto line : split(os_release, '\n')) {
    constexpr std::string_view key = "PRETTY_NAME=";
    if (!line.starts_with(key)) continue;
    auto v = trim(line.substr(key.size()));
    if (v.size() >= 2 && (v.front() == '"' || v.front() == '\'') && v.back() == v.front())
      v = v.substr(1, v.size() - 2);
    return std::string(v);
  }
  return {};
}

// /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages: size → bytes.
std::map<std::uint64_t, std::uint64_t> read_hugepages(const std::string& folder) {
  std::map<std::uint64_t, std::uint64_t> out;
  auto* dir = ::opendir(folder.c_str());
  if (!dir) return out;
  while (auto* entry = ::readdir(dir)) {
    std::string_view name = entry->d_name;
    constexpr std::string_view prefix = "hugepages-", suffix = "kB";
    if (!name.starts_with(prefix) || !name.ends_with(suffix)) continue;
    auto kib = parse_uint(name.substr(prefix.size(), name.size() - prefix.size() - suffix.size()));
    auto pages = parse_uint(fact(folder + "/" + std::string(name) + "/nr_hugepages"));
    if (kib && pages) out[*kib * 1024] = *pages * *kib * 1024;
  }
  ::closedir(dir);
  return out;
}

int online_cpus(const std::string& root) {
  if (int n = count_cpus(fact(root + "/sys/devices/system/cpu/online"))) return n;
  int n = 0;
  if (auto text = crypto::read_file(root + "/proc/cpuinfo"))
    for (auto line : split(*text, '\n')) n += line.starts_with("processor");
  return n > 0 ? n : 1;
}

std::string go_architecture(std::string_view machine) {
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  if (machine.starts_with("armv")) return "arm";
  return std::string(machine);
}

std::vector<std::string_view> fields(std::string_view line) {
  std::vector<std::string_view> out;
  std::size_t i = 0;
  while (i < line.size()) {
    auto start = line.find_first_not_of(" \t", i);
    if (start == std::string_view::npos) break;
    auto end = line.find_first_of(" \t", start);
    if (end == std::string_view::npos) end = line.size();
    out.push_back(line.substr(start, end - start));
    i = end;
  }
  return out;
}

std::optional<std::uint64_t> hex_number(std::string_view text) {
  std::uint64_t v = 0;
  auto r = std::from_chars(text.data(), text.data() + text.size(), v, 16);
  if (r.ec != std::errc() || r.ptr != text.data() + text.size()) return std::nullopt;
  return v;
}

// A unicast address that others can reach: not loopback, link-local or multicast.
bool is_global(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    auto a = ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr);
    return a >> 24 != 127 && a >> 16 != 0xa9fe && a >> 28 < 0xe && a != 0;
  }
  auto& a = reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
  return !IN6_IS_ADDR_LOOPBACK(&a) && !IN6_IS_ADDR_LINKLOCAL(&a) && !IN6_IS_ADDR_MULTICAST(&a) &&
         !IN6_IS_ADDR_UNSPECIFIED(&a);
}

std::string address_text(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = {};
  const void* raw = address->sa_family == AF_INET
                        ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in*>(address)->sin_addr)
                        : static_cast<const void*>(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
  ::inet_ntop(address->sa_family, raw, text, sizeof text);
  return text;
}

// The first global address of `family` on `interface` (any that is up when empty).
// Without a network of its own: what moves between machines (--vip, keepalived, kube-vip) stands so beside a machine's
// address.
bool is_alone(const ifaddrs& i) {
  auto all_set = [](const auto& bits) {
    auto* p = reinterpret_cast<const unsigned char*>(&bits);
    return std::all_of(p, p + sizeof bits, [](unsigned char octet) { return octet == 0xff; });
  };
  if (!i.ifa_netmask) return false;
  return i.ifa_addr->sa_family == AF_INET ? all_set(reinterpret_cast<const sockaddr_in*>(i.ifa_netmask)->sin_addr)
                                          : all_set(reinterpret_cast<const sockaddr_in6*>(i.ifa_netmask)->sin6_addr);
}

std::string first_address(const ifaddrs* all, int family, std::string_view interface) {
  std::string alone;
  for (auto* i = all; i; i = i->ifa_next) {
    if (!i->ifa_addr || i->ifa_addr->sa_family != family || !(i->ifa_flags & IFF_UP)) continue;
    if (!interface.empty() && interface != i->ifa_name) continue;
    if (!is_global(i->ifa_addr)) continue;
    if (!is_alone(*i)) return address_text(i->ifa_addr);
    if (alone.empty()) alone = address_text(i->ifa_addr);
  }
  return alone;
}

}  // namespace

int count_cpus(std::string_view list) {
  int n = 0;
  for (auto part : split(trim(list), ',')) {
    auto dash = part.find('-');
    auto first = parse_uint(part.substr(0, dash));
    auto last = dash == std::string_view::npos ? first : parse_uint(part.substr(dash + 1));
    if (!first || !last || *last < *first || *last > 100'000) return 0;
    n += static_cast<int>(*last - *first + 1);
  }
  return n;
}

std::string binary_quantity(std::uint64_t bytes) {
  static constexpr std::string_view suffixes[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
  std::size_t i = 0;
  while (bytes != 0 && bytes % 1024 == 0 && i + 1 < std::size(suffixes)) {
    bytes /= 1024;
    ++i;
  }
  return std::to_string(bytes) + std::string(suffixes[i]);
}

result<system_info> read_system_info(const system_paths& paths) {
  auto& root = paths.root;
  system_info s;
  s.cpus = online_cpus(root);
  KEDGE_TRY(auto meminfo, crypto::read_file(root + "/proc/meminfo"));
  auto total = memory_line(meminfo, "MemTotal");
  if (!total) return fail(errc::corrupt, root + "/proc/meminfo has no MemTotal");
  s.memory_bytes = *total;
  s.swap_bytes = memory_line(meminfo, "SwapTotal").value_or(0);
  s.hugepages = read_hugepages(root + "/sys/kernel/mm/hugepages");

  struct statvfs disk{};
  if (::statvfs(paths.storage.c_str(), &disk) != 0) return fail(os_error(errno, "statfs " + paths.storage));
  s.storage_bytes = std::uint64_t(disk.f_blocks) * disk.f_frsize;
  s.storage_available_bytes = std::uint64_t(disk.f_bavail) * disk.f_frsize;

  s.machine_id = fact(root + "/etc/machine-id");
  if (s.machine_id.empty()) s.machine_id = fact(root + "/var/lib/dbus/machine-id");
  s.system_uuid = fact(root + "/sys/class/dmi/id/product_uuid");
  if (s.system_uuid.empty()) s.system_uuid = fact(root + "/proc/device-tree/vm,uuid");
  if (s.system_uuid.empty()) s.system_uuid = s.machine_id;
  s.boot_id = fact(root + "/proc/sys/kernel/random/boot_id");
  s.kernel_version = fact(root + "/proc/sys/kernel/osrelease");
  s.os_image = pretty_name(fact(root + "/etc/os-release"));
  if (s.os_image.empty()) s.os_image = pretty_name(fact(root + "/usr/lib/os-release"));
  if (s.os_image.empty()) s.os_image = "Linux";
  s.hostname = lower(fact(root + "/proc/sys/kernel/hostname"));
  utsname names{};
  ::uname(&names);
  s.architecture = go_architecture(names.machine);
  return s;
}

std::string default_route_interface(std::string_view table) {
  // Iface Destination Gateway Flags RefCnt Use Metric Mask …, numbers in hex but for the metric
  std::string best;
  auto best_metric = std::numeric_limits<std::uint64_t>::max();
  for (auto line : split(table, '\n')) {
    auto f = fields(line);
    if (f.size() < 8 || f[1] != "00000000" || f[7] != "00000000") continue;
    auto flags = hex_number(f[3]);
    auto metric = parse_uint(f[6]);
    constexpr std::uint64_t up = 1;
    if (!flags || !(*flags & up) || !metric || *metric >= best_metric) continue;
    best_metric = *metric;
    best = f[0];
  }
  return best;
}

std::string default_route_interface_v6(std::string_view table) {
  // destination prefix-length source prefix-length next-hop metric refcount use flags interface, all in hex
  std::string best;
  auto best_metric = std::numeric_limits<std::uint64_t>::max();
  for (auto line : split(table, '\n')) {
    auto f = fields(line);
    if (f.size() < 10 || f[1] != "00" || f[0].find_first_not_of('0') != std::string_view::npos || f[9] == "lo")
      continue;
    auto flags = hex_number(f[8]);
    auto metric = hex_number(f[5]);
    constexpr std::uint64_t up = 1;
    if (!flags || !(*flags & up) || !metric || *metric >= best_metric) continue;
    best_metric = *metric;
    best = f[9];
  }
  return best;
}

std::vector<std::string> order_addresses(std::vector<std::string> addresses,
                                         const std::vector<std::string>& cluster_cidrs) {
  if (cluster_cidrs.empty()) return addresses;
  bool v6_first = cluster_cidrs.front().contains(':');
  std::vector<std::string> out;
  for (bool first_family : {true, false})
    for (auto& a : addresses)
      if ((a.contains(':') == v6_first) == first_family) out.push_back(a);
  return out;
}

result<std::vector<std::string>> default_addresses() {
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return fail(os_error(errno, "list the machine's addresses"));
  auto v4_interface = default_route_interface(crypto::read_file("/proc/net/route").value_or(std::string()));
  auto v6_interface = default_route_interface_v6(crypto::read_file("/proc/net/ipv6_route").value_or(std::string()));
  std::vector<std::string> out;
  auto v4 = first_address(all, AF_INET, v4_interface);
  // An interface with a v4 default route may have a global v6 address without a v6 default route: it counts, as in K3s.
  auto v6 = first_address(all, AF_INET6, v6_interface.empty() ? v4_interface : v6_interface);
  ::freeifaddrs(all);
  if (!v4.empty()) out.push_back(std::move(v4));
  if (!v6.empty()) out.push_back(std::move(v6));
  if (out.empty()) return fail(errc::not_found, "no address found that other nodes could use; give one with --node-ip");
  return out;
}

}  // namespace kedge::node
