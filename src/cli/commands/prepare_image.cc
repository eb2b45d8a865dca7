// prepare_image.cc: `kedge prepare-image`: takes out of a machine that is to become an image what must be each
// machine's own: else all that are made of it come as the same node, or as servers of the same cluster.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "cli/commands/admin.h"
#include "cli/commands/commands.h"
#include "cli/commands/common_flags.h"

namespace kedge::cli::commands {
namespace {

namespace fs = std::filesystem;

constexpr flag flags[] = {data_dir_flag,
                          {.name = "with-cluster",
                           .who = audience::both,
                           .kind = value_kind::boolean,
                           .help = "Take out a server's cluster, too: its database, CAs and token"},
                          {.name = "dry-run",
                           .who = audience::both,
                           .kind = value_kind::boolean,
                           .help = "Only say what would be taken out"}};

// Below the data directory; a '/' in front: of the machine. Images, static pods and what the user configured stay.
constexpr std::string_view of_node[] = {"/etc/rancher/node/password",
                                        "/etc/rancher/node/id",
                                        "agent/client-ca.crt",
                                        "agent/server-ca.crt",
                                        "agent/client-kubelet.crt",
                                        "agent/client-kubelet.key",
                                        "agent/serving-kubelet.crt",
                                        "agent/serving-kubelet.key",
                                        "agent/client-kube-proxy.crt",
                                        "agent/client-kube-proxy.key",
                                        "agent/client-k3s-controller.crt",
                                        "agent/client-k3s-controller.key",
                                        "agent/kubelet.kubeconfig",
                                        "agent/kubeproxy.kubeconfig",
                                        "agent/k3scontroller.kubeconfig",
                                        "agent/etc/cluster.json",
                                        "agent/etc/machine.json",
                                        "agent/etc/k3s-agent-load-balancer.json"};
constexpr std::string_view of_cluster[] = {"server/token", "server/node-token", "server/agent-token", "server/tls",
                                           "server/cred",  "server/db",         "server/etc"};

result<void> prepare(const scanned& given, const machine& here) {
  const auto data = data_dir_of(given, here);
  const bool whole = given.value("with-cluster") == "true", dry = given.value("dry-run") == "true";
  std::error_code failed;
  if (!whole && fs::exists(data + "/server/tls/server-ca.key", failed))
    return fail(errc::invalid,
                data +
                    "/server holds a cluster, and each machine that is made of this one would be a server of "
                    "it: --with-cluster takes it out (kedge snapshot save keeps it)");
  std::size_t count = 0;
  auto take_out = [&](std::string_view name) -> result<void> {
    const auto path = fs::path(data) / name;  // an absolute one stays as it is
    if (!fs::exists(fs::symlink_status(path, failed))) return {};
    ++count;
    fmt::print("{} {}\n", dry ? "would remove" : "removed", path.string());
    if (dry) return {};
    fs::remove_all(path, failed);
    return failed ? result<void>(fail(os_error(failed.value(), "remove " + path.string()))) : result<void>();
  };
  for (auto name : of_node) KEDGE_CHECK(take_out(name));
  if (whole)
    for (auto name : of_cluster) KEDGE_CHECK(take_out(name));
  if (count == 0) fmt::print("nothing here is of one machine alone\n");
  fmt::print(
      "Let the image's own tools take out the machine's: /etc/machine-id (empty it), SSH host keys, the host name.\n");
  return {};
}

}  // namespace

std::span<const flag> prepare_image_flags() { return flags; }

int prepare_image(const invocation& call) {
  constexpr std::string_view name = "prepare-image";
  const auto given = scan_flags_only(flags, call.arguments);
  if (!given) return report(name, given.error());
  const auto done = prepare(*given, call.here);
  return done ? 0 : report(name, done.error());
}

}  // namespace kedge::cli::commands
