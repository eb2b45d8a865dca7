// start.cc: `start`, which containerd runs for each container in its bundle: it prints where the container's shim
// listens, and begins that shim if it is the first of its group.

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "base/strings.h"
#include "shim/arguments.h"
#include "shim/bundle.h"
#include "shim/files.h"
#include "shim/limits.h"
#include "shim/messages.h"
#include "shim/socket_address.h"
#include "shim/spawn.h"

namespace kedge::shim {

namespace {

// The options that containerd gives at the standard input; none when there are none.
result<runtime_options> options_given() {
  // A call by hand gives a terminal, or something that never ends.
  pollfd in{.fd = 0, .events = POLLIN, .revents = 0};
  if (::isatty(0) || ::poll(&in, 1, 1000) <= 0) return runtime_options{};
  auto bytes = read_all(0, output_bytes_max);
  KEDGE_TRY(auto message, decode_start(bytes));
  return decode_options(message, [](const std::string& path) { return read_file(path, output_bytes_max); });
}

// Moves the shim into a cgroup, of every hierarchy of version 1.
result<void> join_cgroup(const std::string& group, int pid) {
  auto write = [&](const std::string& folder) {
    descriptor fd(::open((folder + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
    return fd && write_all(fd.get(), std::to_string(pid));
  };
  constexpr std::string_view root = "/sys/fs/cgroup";
  bool any = write(std::string(root) + "/" + group);
  for (auto controller : {"cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "freezer", "devices"})
    any |= write(std::string(root) + "/" + controller + "/" + group);
  if (!any) return fail(errc::not_found, "failed to join cgroup " + group);
  return {};
}

// One more than containerd's, so that it is the shim that goes first. Who may not change it leaves it as it is.
void adjust_oom_score(int pid) {
  constexpr long score_max = 1000;
  auto parent = read_file("/proc/" + std::to_string(::getppid()) + "/oom_score_adj", 64);
  auto score = parent ? parse_int(trim(*parent)) : std::nullopt;
  if (!score || *score >= score_max) return;
  descriptor fd(::open(("/proc/" + std::to_string(pid) + "/oom_score_adj").c_str(), O_WRONLY | O_CLOEXEC));
  if (fd) (void)write_all(fd.get(), std::to_string(*score + 1));
}

// This program, by the name that `ps` shall show; after an upgrade that name is another program's.
std::string own_program() {
  constexpr const char* link = "/proc/self/exe";
  char path[PATH_MAX];
  auto n = ::readlink(link, path, sizeof path);
  if (n <= 0 || static_cast<std::size_t>(n) == sizeof path) return link;
  std::string out(path, static_cast<std::size_t>(n));
  return ::access(out.c_str(), X_OK) == 0 ? out : link;
}

result<int> begin(const arguments& a, descriptor listener) {
  program p{.argv = {own_program(), "-namespace", a.space, "-id", a.id, "-address", a.address, "-publish-binary",
                     a.publish_binary},
            .more = {listener.get()},
            .own_group = true};
  if (a.debug) p.argv.push_back("-debug");
  return spawn(p);
}

result<std::string> address_for(const arguments& a) {
  auto path = socket_path(a.address, a.space, group_of(".", a.id));
  auto address = std::string(socket_scheme) + path;
  auto listener = listen_at(path);
  if (!listener && listener.error().code != errc::already_exists) return fail(std::move(listener.error()));
  if (listener) {
    auto options = options_given();
    auto pid = options ? begin(a, std::move(*listener)) : result<int>(fail(options.error()));
    if (pid) {
      adjust_oom_score(*pid);
      if (!options->shim_cgroup.empty())
        if (auto joined = join_cgroup(options->shim_cgroup, *pid); !joined) {
          ::kill(*pid, SIGKILL);
          pid = fail(joined.error());
        }
    }
    if (!pid) {
      ::unlink(path.c_str());
      return fail(std::move(pid.error()));
    }
  }
  KEDGE_CHECK(write_file("address", address, 0600));
  return address;
}

// The version of the protocol that containerd says it takes: from 1.7 on it says 2, and wants JSON from there on;
// before it is the bare address.
std::string bootstrap(const std::string& address) {
  auto* most = std::getenv("MAX_SHIM_VERSION");
  auto version = most ? parse_uint(most).value_or(0) : 0;
  if (version < 2) return address;
  return "{\"version\":" + std::string(version >= 3 ? "3" : "2") + ",\"address\":\"" + address +
         "\",\"protocol\":\"ttrpc\"}";
}

}  // namespace

int start(const arguments& a) {
  auto address = address_for(a);
  if (!address) {
    std::fprintf(stderr, "containerd-shim-kedge-v2: %s\n", address.error().message.c_str());
    return 1;
  }
  return write_all(1, bootstrap(*address)) ? 0 : 1;
}

}  // namespace kedge::shim
