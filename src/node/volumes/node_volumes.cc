#include "node/volumes/node_volumes.h"

#include <fmt/format.h>

#include <set>

#include "base/log.h"
#include "crypto/files.h"
#include "node/pods/files.h"
#include "reactor/offload.h"
#include "reactor/scope.h"

namespace kedge::node {

namespace {

bool says_in_use(const json::value& node, std::string_view volume) {
  auto& list = node["status"]["volumesInUse"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i].as_string() == volume) return true;
  return false;
}

}  // namespace

node_volumes::node_volumes(node_volumes_parts p)
    : shared_(p.shares_root ? p.root : std::string()),
      node_(p.api, p.node_name),
      drivers_(node_, p.network),
      csi_({.root = p.root,
            .node_name = p.node_name,
            .cluster = p.cluster,
            .drivers = drivers_,
            .in_use_changed = std::move(p.in_use_changed),
            .is_told =
                [told = std::move(p.told_node)](const std::string& volume) {
                  auto* node = told();
                  return !node || says_in_use(*node, volume);
                }}),
      nfs_(p.root),
      images_(std::move(p.root), std::move(p.snapshots), p.network) {}

task<void> node_volumes::begin() {
  if (!shared_.empty()) {
    auto done = co_await reactor::offload([folder = shared_]() -> result<void> {
      KEDGE_CHECK(crypto::make_folder(folder, 0755));
      return make_shared(folder);
    });
    if (done && !*done) log::warning("drivers in pods can't mount volumes for others: {}", done->error().message);
  }
  co_await csi_.begin();
}

task<void> node_volumes::run() {
  reactor::scope beside;
  beside.spawn(tell_node());
  beside.spawn(csi_.measure());
  co_await csi_.run();
}

// The kubelet's, of each claim once.
void node_volumes::write_metrics(exposition& out) const {
  struct row {
    std::string_view name, help;
    std::optional<csi_usage> csi_stats::* of;
    std::int64_t csi_usage::* what;
  };
  static constexpr row rows[] = {
      {"capacity_bytes", "Capacity in bytes of the volume", &csi_stats::bytes, &csi_usage::total},
      {"available_bytes", "Number of available bytes in the volume", &csi_stats::bytes, &csi_usage::available},
      {"used_bytes", "Number of used bytes in the volume", &csi_stats::bytes, &csi_usage::used},
      {"inodes", "Maximum number of inodes in the volume", &csi_stats::inodes, &csi_usage::total},
      {"inodes_free", "Number of free inodes in the volume", &csi_stats::inodes, &csi_usage::available},
      {"inodes_used", "Number of used inodes in the volume", &csi_stats::inodes, &csi_usage::used}};
  for (auto& r : rows) {
    out.family(fmt::format("kubelet_volume_stats_{}", r.name), "gauge", fmt::format("[ALPHA] {}", r.help));
    std::set<std::pair<std::string_view, std::string_view>> told;
    for (auto& f : figures())
      if (f.stats.*r.of && told.emplace(f.ns, f.claim).second)
        out.sample(label_text({{"namespace", f.ns}, {"persistentvolumeclaim", f.claim}}), (*(f.stats.*r.of)).*r.what);
  }
}

task<std::expected<mounted_volume, mount_failure>> node_volumes::mount(json::value pod, volume_to_mount volume) {
  if (volume.source["csi"].is_object()) co_return co_await csi_.mount(std::move(pod), std::move(volume));
  if (volume.source["nfs"].is_object()) co_return co_await nfs_.mount(std::move(pod), std::move(volume));
  if (volume.source["image"].is_object()) co_return co_await images_.mount(std::move(pod), std::move(volume));
  co_return std::unexpected(
      mount_failure{.message = fmt::format("MountVolume.SetUp failed for volume \"{}\" : no volume plugin matched",
                                           volume.spec_name())});
}

// All are tried, whatever becomes of the first.
task<result<void>> node_volumes::unmount(std::string pod_uid) {
  auto csi = co_await csi_.unmount(pod_uid);
  auto nfs = co_await nfs_.unmount(pod_uid);
  auto images = co_await images_.unmount(std::move(pod_uid));
  co_return !csi ? csi : !nfs ? nfs : images;
}

}  // namespace kedge::node
