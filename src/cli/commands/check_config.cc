// check_config.cc: `kedge check-config`: what this machine has of what Kedge and its pods use. Probes the running
// kernel rather than its build configuration, which many machines don't have, and which says nothing of modules that
// are absent.
#include <fmt/format.h>
#include <linux/io_uring.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "base/strings.h"
#include "cli/commands/commands.h"
#include "cli/commands/programs.h"
#include "crypto/files.h"

namespace kedge::cli::commands {
namespace {

enum class verdict : unsigned char { good, warn, missing };

struct finding {
  std::string_view what;
  verdict result;
  std::string text;
};

constexpr unsigned enough_files = 65536;  // a server with 10,000 agents and their watches stays below
constexpr std::size_t proc_file_max_bytes = 1 << 20;

std::string content(const std::string& path) {
  auto text = crypto::read_file(path, proc_file_max_bytes);
  return text ? std::string(trim(*text)) : std::string();
}

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

finding kernel_version() {
  utsname name{};
  ::uname(&name);
  return {"kernel", verdict::good, fmt::format("{} {}", name.sysname, name.release)};
}

finding ring() {
  io_uring_params parameters{};
  const auto number = ::syscall(SYS_io_uring_setup, 4, &parameters);
  if (number < 0)
    return {"io_uring", verdict::warn, fmt::format("not usable ({}); epoll is used instead", std::strerror(errno))};
  ::close(static_cast<int>(number));
  return {"io_uring", verdict::good, "usable"};
}

finding control_groups() {
  const bool unified = exists("/sys/fs/cgroup/cgroup.controllers");
  const auto controllers = unified ? content("/sys/fs/cgroup/cgroup.controllers") : content("/proc/cgroups");
  std::vector<std::string> absent;
  for (const char* name : {"cpu", "cpuset", "memory", "pids"})
    if ((' ' + controllers).find(name) == std::string::npos) absent.emplace_back(name);
  if (controllers.empty()) return {"cgroups", verdict::missing, "not mounted at /sys/fs/cgroup"};
  if (!absent.empty()) return {"cgroups", verdict::missing, "without " + join(absent, ", ")};
  return {"cgroups", verdict::good, unified ? "version 2" : "version 1"};
}

// Loaded, built in, or there to be loaded when first needed.
bool has_module(const std::string& name) {
  if (exists("/sys/module/" + name)) return true;
  utsname kernel{};
  ::uname(&kernel);
  const auto folder = fmt::format("/lib/modules/{}/", kernel.release);
  for (const char* list : {"modules.builtin", "modules.dep"})
    if (content(folder + list).find('/' + name + ".ko") != std::string::npos) return true;
  return false;
}

finding module(std::string_view what, const std::string& name, bool already_there, verdict otherwise,
               std::string_view use) {
  if (already_there || has_module(name)) return {what, verdict::good, "available"};
  return {what, otherwise, fmt::format("kernel module {} not found; {}", name, use)};
}

// Asks the kernel for the generation of its nftables rules; this loads the module where it is one.
bool has_nftables() {
  struct {
    nlmsghdr head;
    nfgenmsg body;
  } question = {{sizeof question, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, NLM_F_REQUEST, 1, 0},
                {AF_UNSPEC, NFNETLINK_V0, 0}};
  const int socket = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
  if (socket < 0) return false;
  const timeval patience = {.tv_sec = 1, .tv_usec = 0};  // the kernel answers at once, or not at all
  ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  alignas(nlmsghdr) char answer[4096];
  const bool sent = ::send(socket, &question, sizeof question, 0) == static_cast<ssize_t>(sizeof question);
  const auto count = sent ? ::recv(socket, answer, sizeof answer, 0) : -1;
  ::close(socket);
  if (count < static_cast<ssize_t>(sizeof(nlmsghdr))) return false;
  nlmsghdr head;
  std::memcpy(&head, answer, sizeof head);
  return head.nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN);
}

finding forwarding() {
  const auto value = content("/proc/sys/net/ipv4/ip_forward");
  if (value == "1") return {"ip_forward", verdict::good, "on"};
  return {"ip_forward", verdict::warn, "off; pods reach other machines only with net.ipv4.ip_forward=1"};
}

finding open_files() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max >= enough_files) return {"open files", verdict::good, fmt::format("up to {}", limit.rlim_max)};
  return {"open files", verdict::warn,
          fmt::format("at most {} for a process; a large cluster wants {}", limit.rlim_max, enough_files)};
}

finding program(std::string_view what, const std::string& name, const machine& here, verdict otherwise,
                std::string_view use) {
  if (auto path = find_program(name, here)) return {what, verdict::good, *std::move(path)};
  return {what, otherwise, fmt::format("not found; {}", use)};
}

std::vector<finding> examine(const machine& here) {
  const bool overlay = content("/proc/filesystems").find("overlay") != std::string::npos;
  const bool bridge_rules = exists("/proc/sys/net/bridge/bridge-nf-call-iptables");
  return {
      kernel_version(),
      ring(),
      control_groups(),
      forwarding(),
      open_files(),
      module("overlayfs", "overlay", overlay, verdict::warn, "containers use it for their file systems"),
      module("bridge filter", "br_netfilter", bridge_rules, verdict::warn, "services need it between pods of one node"),
      module("nftables", "nf_tables", has_nftables(), verdict::warn, "services need it"),
      module("connection tracking", "nf_conntrack", exists("/proc/sys/net/netfilter/nf_conntrack_max"), verdict::warn,
             "services need it"),
      module("vxlan", "vxlan", false, verdict::warn, "some networks between nodes need it"),
      program("containerd", "containerd", here, verdict::warn, "nodes with pods need it (Debian: containerd)"),
      program("runc", "runc", here, verdict::warn, "containerd needs it (Debian: runc)"),
      program("kubectl", "kubectl", here, verdict::warn, "kedge kubectl runs it"),
  };
}

}  // namespace

int check_config(const invocation& call) {
  const auto given = scan_flags_only({}, call.arguments);
  if (!given) return report("check-config", given.error());
  bool runs = true;
  for (const auto& f : examine(call.here)) {
    const std::string_view word = f.result == verdict::good ? "ok" : f.result == verdict::warn ? "warning" : "missing";
    fmt::print("{:<20}{:<9}{}\n", f.what, word, f.text);
    runs &= f.result != verdict::missing;
  }
  fmt::print("\nSTATUS: {}\n", runs ? "pass" : "fail");
  return runs ? 0 : 1;
}

}  // namespace kedge::cli::commands
