// cleanup.cc: `delete`, which containerd runs in the bundle of a container whose shim is gone: what the shim would have
// done is done now, and how the container ended is printed, as a DeleteResponse. After a deletion in good order it
// finds nothing to do.

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "base/protobuf_wire.h"
#include "base/strings.h"
#include "shim/arguments.h"
#include "shim/bundle.h"
#include "shim/cgroup.h"
#include "shim/files.h"
#include "shim/json.h"
#include "shim/limits.h"
#include "shim/mounts.h"
#include "shim/runtime.h"
#include "shim/socket_address.h"

namespace kedge::shim {

namespace {

void warn(const std::string& what) { std::fprintf(stderr, "%s\n", what.c_str()); }

// The container and all its processes, by the runtime that made it.
void delete_container(const arguments& a, const std::string& bundle) {
  auto options = read_runtime(bundle);
  auto root = (options.root.empty() ? std::string(default_runtime_root) : options.root) + "/" + a.space;
  struct stat s{};
  if (options.binary.empty() || ::stat((root + "/" + a.id).c_str(), &s) < 0) return;
  runtime oci(options.binary, root, options.systemd_cgroup, bundle);
  auto output = memory_file({});
  if (!output) return warn(output.error().message);
  auto p = oci.call("log.json", {"delete", "--force", a.id});
  p.out = p.err = output->get();
  auto pid = spawn(p);
  if (!pid) return warn(pid.error().message);
  int status = 0;
  ::waitpid(*pid, &status, 0);
  if (status != 0)
    warn("failed to remove runc container: " + std::string(trim(read_all(output->get(), output_bytes_max))));
}

// A runtime that was killed before it had written its state down leaves cgroups that it doesn't know any more. They are
// the container's alone when they have its name at their end, as containerd and CRI give them.
void delete_cgroups(const std::string& bundle, const std::string& id) {
  auto config = read_file(bundle + "/config.json", config_bytes_max);
  auto on_linux = config ? json::member(*config, "linux") : std::nullopt;
  auto value = on_linux ? json::member(*on_linux, "cgroupsPath") : std::nullopt;
  auto path = value ? json::text_of(*value) : std::nullopt;
  if (!path || !path->starts_with('/') || !path->ends_with("/" + id) || path->contains("/../")) return;
  for (auto& folder : cgroup::all_folders(*path)) {
    if (auto removed = remove_cgroup(folder); !removed) warn(removed.error().message);
  }
}

}  // namespace

int clean_up(const arguments& a) {
  char here[PATH_MAX];
  if (!::getcwd(here, sizeof here)) {
    warn("delete: no working folder");
    return 1;
  }
  auto beside = std::string(here);
  auto bundle = a.bundle.empty() ? beside.substr(0, beside.find_last_of('/')) + "/" + a.id : a.bundle;
  if (!is_identifier(a.id)) {
    warn("delete: " + quote(a.id) + " is no container's id");
    return 1;
  }
  delete_container(a, bundle);
  delete_cgroups(bundle, a.id);
  if (auto unmounted = unmount_below(bundle + "/rootfs"); !unmounted) warn(unmounted.error().message);
  if (auto address = read_file(bundle + "/address", 4096);
      address && address->starts_with(std::string(socket_scheme) + std::string(socket_folder) + "/"))
    remove_dead_socket(address->substr(socket_scheme.size()));

  // What the shim wrote down when it ended; else it is killed that was alive.
  auto end = read_exit(bundle);
  if (!end) {
    constexpr std::uint32_t killed = 128 + 9;
    end = exit_state{.status = killed};
    ::clock_gettime(CLOCK_REALTIME, &end->at);
  }
  auto answer = wire::writer()
                    .number(1, static_cast<unsigned>(read_pid(bundle + "/init.pid").value_or(0)))
                    .number(2, end->status)
                    .message(3, encode_time(end->at))
                    .take();
  return write_all(1, answer) ? 0 : 1;
}

}  // namespace kedge::shim
