// worker_volumes.cc: a pod's volumes, made ready before its containers and taken away after them.
#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "crypto/files.h"
#include "node/limits.h"
#include "node/pods/worker.h"
#include "reactor/offload.h"

namespace kedge::node {

using json::value;
using reactor::loop;

// The runtime that the pod's RuntimeClass names; the default one has no name.
task<result<std::string>> pod_worker::runtime_handler() {
  auto name = std::string((*pod_)["spec"]["runtimeClassName"].as_string());
  if (name.empty()) co_return std::string();
  KEDGE_CO_TRY(auto found, co_await parts_.cluster.object("/apis/node.k8s.io/v1/runtimeclasses/" + name));
  if (!found) co_return fail(errc::not_found, fmt::format("runtimeclass.node.k8s.io \"{}\" not found", name));
  co_return std::string((*found)["handler"].as_string());
}

// Of the runtime that the pod's RuntimeClass names, where a mount asks for it.
task<void> pod_worker::find_mount_abilities() {
  if (recursive_read_only_) co_return;
  bool asks = false;
  for (auto* list : {"initContainers", "containers", "ephemeralContainers"})
    for (std::size_t i = 0; i < spec_of(*pod_)[list].size(); ++i)
      for (std::size_t j = 0; j < spec_of(*pod_)[list][i]["volumeMounts"].size(); ++j)
        asks |= spec_of(*pod_)[list][i]["volumeMounts"][j]["recursiveReadOnly"].is_string();
  auto& all = parts_.settings.handlers;
  if (!asks || all.empty()) co_return;  // the runtime doesn't say, or wasn't asked yet
  auto handler = co_await runtime_handler();
  if (!handler) co_return;
  auto found = std::ranges::find(all, *handler, &node::runtime_handler::name);
  recursive_read_only_ = found != all.end() && found->recursive_read_only;
}

task<bool> pod_worker::make_volumes_ready() {
  auto pod = pod_;
  auto& settings = parts_.settings;
  auto folder = settings.folder_of(uid());
  auto ips = is_host_network(*pod) ? settings.node.host_ips : seen_.ips;
  auto gathered = co_await gather_volumes(*pod, heard_at_, ips, settings, parts_.cluster, issued_);
  std::expected<bool, volume_problem> made = false;
  if (gathered && !co_await mount_others(*gathered)) co_return volumes_ready_;
  if (!gathered) {
    made = std::unexpected(std::move(gathered).error());
  } else {
    auto done = co_await reactor::offload([volumes = *gathered, who = ownership_of(*pod), folder,
                                           logs = settings.logs_of(*pod)]() -> std::expected<bool, volume_problem> {
      for (auto& f : {folder, folder + "/volumes", logs})
        if (auto there = crypto::make_folder(f, f == logs ? 0755 : 0750); !there)
          return std::unexpected(volume_problem{.volume = {}, .why = there.error()});
      return make_volumes(volumes, who);
    });
    if (!done)
      made = std::unexpected(volume_problem{.volume = {}, .why = std::move(done).error()});
    else
      made = *std::move(done);
  }
  // Of a pod that runs already, what was made before serves on while something can't be had anew.
  auto& loop = loop::current();
  volumes_at_ = loop.now() + volume_refresh +
                duration(static_cast<std::int64_t>(
                    loop.random().below(static_cast<std::uint64_t>(volume_refresh_spread.count()))));
  if (made) {
    volumes_ = *std::move(gathered);
    volumes_ready_ = true;
    co_return true;
  }
  auto& p = made.error();
  if (p.volume.empty())
    tell({}, true, "Failed", fmt::format("error making pod data directories: {}", p.why.message));
  else if (p.unprocessed)
    tell({}, true, "FailedMount",
         fmt::format(
             "Unable to attach or mount volumes: unmounted volumes=[{}], unattached volumes=[], failed to process "
             "volumes=[{}]: {}",
             p.volume, p.volume, p.why.message));
  else
    tell({}, true, "FailedMount", fmt::format("{} for volume \"{}\" : {}", p.step, p.volume, p.why.message));
  co_return volumes_ready_;
}

// Side by side: one that hangs holds no other. Whether all are there; what is wrong is told.
task<bool> pod_worker::mount_others(pod_volumes& volumes) {
  bool fine = true;
  {
    reactor::scope together;
    for (auto& v : volumes)
      if (v.kind == pod_volume::content::mounted) together.spawn(mount_one(v, fine));
    co_await together.join();
  }
  if (fine || shall_end()) awaits_volumes_since_.reset();
  auto& here = loop::current();
  if (!awaits_volumes_since_ || here.now() - *awaits_volumes_since_ < volumes_wait_told) co_return fine;
  awaits_volumes_since_ = here.now();
  std::vector<std::string> unmounted;
  for (auto& v : volumes)
    if (v.kind == pod_volume::content::mounted && v.path.empty()) unmounted.push_back(v.name);
  auto names = join(unmounted, " ");
  tell({}, true, "FailedMount",
       fmt::format("Unable to attach or mount volumes: unmounted volumes=[{}], unattached volumes=[{}], failed to "
                   "process volumes=[]: context deadline exceeded",
                   names, names));
  co_return false;
}

task<void> pod_worker::mount_one(pod_volume& v, bool& fine) {
  using mounted = std::expected<mounted_volume, mount_failure>;
  if (!parts_.mounter) {
    fine = false;
    co_return tell({}, true, "FailedMount",
                   fmt::format("MountVolume.SetUp failed for volume \"{}\" : no volume plugin matched", v.name));
  }
  // A pod that has to end waits for no driver.
  auto work = [](volume_mounter& mounter, value pod, volume_to_mount what) -> task<result<mounted>> {
    co_return co_await mounter.mount(std::move(pod), std::move(what));
  };
  auto done = co_await reactor::with_stop(work(*parts_.mounter, *pod_, v.to_mount), ends_);
  if (done && *done) {
    v.path = (*done)->path;
    co_return;
  }
  fine = false;
  if (!done || shall_end()) co_return;
  auto& why = done->error();
  if (why.awaits_attachment) {
    if (!awaits_volumes_since_) awaits_volumes_since_ = loop::current().now();
  } else {
    awaits_volumes_since_.reset();
    tell({}, true, why.reason, why.message);
  }
}

// The images that the container has as volumes, pulled as its own is. The last failure.
task<std::expected<void, pod_worker::image_failure>> pod_worker::ensure_image_volumes(std::string container) {
  std::expected<void, image_failure> out;
  std::vector<std::string> names;
  auto c = container_named(*pod_, container);
  for (std::size_t i = 0; i < c["volumeMounts"].size(); ++i)
    names.emplace_back(c["volumeMounts"][i]["name"].as_string());
  for (auto& v : std::vector(volumes_)) {
    if (v.kind != pod_volume::content::image || std::ranges::find(names, v.name) == names.end()) continue;
    auto had = co_await ensure_image_volume(v.name);
    if (had) continue;
    tell(container, true, "Failed", "Error: " + had.error().why.reason);
    out = std::move(had);
  }
  co_return out;
}

task<std::expected<void, pod_worker::image_failure>> pod_worker::ensure_image_volume(std::string name) {
  auto find = [&] { return std::ranges::find(volumes_, name, &pod_volume::name); };
  auto to_mount = find()->to_mount;
  auto& source = to_mount.source["image"];
  // As of a container that has this image.
  value container(json::object{{"image", source["reference"]}, {"imagePullPolicy", source["pullPolicy"]}});
  auto image = co_await parts_.images.ensure(*pod_, std::move(container),
                                             [this](bool warning, std::string reason, std::string message) {
                                               tell({}, warning, std::move(reason), std::move(message));
                                             });
  if (!image) co_return std::unexpected(std::move(image).error());
  to_mount.image = image->id;
  std::string path;
  if (parts_.mounter && parts_.mounter->mounts_images()) {
    auto mounted = co_await parts_.mounter->mount(*pod_, to_mount);
    if (!mounted)
      co_return std::unexpected(
          image_failure{{"CreateContainerError", mounted.error().message}, wall_now() + image_retry_first});
    path = mounted->path;
  }
  if (auto v = find(); v != volumes_.end()) {
    v->path = std::move(path);
    v->to_mount = std::move(to_mount);
  }
  co_return std::expected<void, image_failure>();
}

// Before the pod's folder goes: first what is mounted out of volumes, then the volumes.
task<result<void>> pod_worker::unmount_others(std::string folder) {
  if (!parts_.mounter) co_return result<void>();
  (void)co_await reactor::offload([folder] {
    end_mounts(folder + "/volume-subpaths");
    return true;
  });
  auto done = co_await parts_.mounter->unmount(uid());
  if (!done && done.error().message != unmount_told_) {
    unmount_told_ = done.error().message;
    tell({}, true, "FailedUnMount", unmount_told_);
  }
  co_return done;
}

}  // namespace kedge::node
