#include "server/manifests.h"

#include <algorithm>

#include "base/log.h"
#include "control/addons/definitions.h"
#include "control/addons/packaged.h"
#include "crypto/files.h"
#include "reactor/offload.h"
#include "supervisor/dns_service.h"
#include "supervisor/roles.h"

namespace kedge::server {

namespace {
constexpr auto retry_time = std::chrono::seconds(1);
}

control::addons::deploy_settings manifests::settings(const control::addons::traefik_charts& charts) const {
  auto& cluster = shared_.settings.cluster;
  control::addons::deploy_settings s{.folder = cluster.server_dir() + "/manifests",
                                     .disabled = {cluster.disables.begin(), cluster.disables.end()},
                                     .prune_files = cluster.prune_manifests};
  std::vector<json::value> ingress;
  if (std::ranges::find(cluster.extras, "traefik") != cluster.extras.end())
    ingress = control::addons::traefik(charts, cluster.system_default_registry);
  s.packaged = control::addons::packaged_components({.dns_service = supervisor::dns_service(cluster.cluster_dns),
                                                     .local_storage_path = cluster.default_local_storage_path,
                                                     .usage = shared_.serves_usage(),
                                                     .node_roles = supervisor::controller_roles(),
                                                     .traefik = std::move(ingress)});
  // K3s's servers bring their own, and their leader runs what stands there.
  s.brings_packaged = [this] { return !membership_.servers()->k3s_lives(); };
  return s;
}

task<result<void>> manifests::start() {
  client_ =
      fronts_.own().client({.name = "system:k3s-supervisor", .groups = {"system:masters", "system:authenticated"}},
                           "deploy@" + shared_.settings.cluster.node_name);
  running_.spawn(keep());
  co_return result<void>();
}

task<void> manifests::keep() {
  auto made = co_await reactor::offload(
      [folder = shared_.settings.cluster.server_dir() + "/manifests"] { return crypto::make_folder(folder); });
  if (made && !*made) log::warning("manifests: {}", made->error().message);
  auto charts = co_await reactor::offload([folder = shared_.settings.cluster.server_dir() + "/static/charts"] {
    return control::addons::find_traefik(folder);
  });
  deployer_ = std::make_unique<control::addons::deployer>(
      *client_, settings(charts ? *charts : control::addons::traefik_charts()));
  const bool helm = !shared_.settings.cluster.disable_helm_controller;
  for (;;) {
    auto defined = co_await control::addons::ensure_definitions(fronts_.own().local(), helm);
    if (defined) break;
    log::debug("manifests: {}", defined.error().message);
    co_await reactor::sleep_for(retry_time);
  }
  co_await deployer_->run();
}

task<void> manifests::stop() {
  running_.cancel();
  deployer_.reset();
  co_return;
}

}  // namespace kedge::server
