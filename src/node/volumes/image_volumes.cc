#include "node/volumes/image_volumes.h"

#include <fmt/format.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>

#include "base/protobuf_wire.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "json/parse.h"
#include "node/limits.h"
#include "node/pods/files.h"
#include "node/runtime/pod_runtime.h"
#include "node/volumes/limits.h"
#include "reactor/loop.h"
#include "reactor/offload.h"
#include "reactor/sync.h"

namespace kedge::node {

namespace {

using json::value;

constexpr std::string_view snapshots = "/containerd.services.snapshots.v1.Snapshots/",
                           root_label = "containerd.io/gc.root";

std::string key_of(std::string_view uid, std::string_view name) { return fmt::format("kedge-volume-{}-{}", uid, name); }

std::string map_entry(std::string_view key, std::string_view text) {
  return wire::writer().text(1, key).text(2, text).take();
}

}  // namespace

bool mounts_images(std::string_view runtime, std::string_view version) {
  if (runtime != "containerd") return true;
  if (version.starts_with('v')) version.remove_prefix(1);
  auto parts = split(version, '.');
  auto major = parts.empty() ? std::nullopt : parse_uint(parts[0]);
  auto minor = parts.size() < 2 ? std::nullopt : parse_uint(parts[1]);
  if (!major || !minor) return true;
  return std::pair(*major, *minor) >= std::pair<std::uint64_t, std::uint64_t>(2, 1);
}

result<std::vector<snapshot_mount>> decode_snapshot_mounts(std::string_view message) {
  std::vector<snapshot_mount> out;
  const bool fine = wire::read_fields(message, [&](const wire::field& one) {
    if (one.id != 1) return true;
    if (out.size() >= snapshot_mounts_max) return false;
    auto& m = out.emplace_back();
    wire::fields f(one.data);
    while (f.next()) switch (f.field()) {
        case 1: m.type = f.bytes(); break;
        case 2: m.source = f.bytes(); break;
        case 4: m.options.emplace_back(f.bytes()); break;
      }
    return f.ok();
  });
  if (!fine || out.empty()) return fail(errc::protocol, "containerd's mounts of a snapshot are malformed");
  return out;
}

result<std::string> chain_of_image(std::string_view image_status) {
  std::string info;
  if (!wire::read_fields(image_status, [&](const wire::field& f) {
        if (f.id != 2) return;
        std::string_view key, text;
        (void)wire::read_fields(f.data, [&](const wire::field& part) { (part.id == 1 ? key : text) = part.data; });
        if (key == "info") info = text;
      }))
    return fail(errc::protocol, "the runtime's ImageStatusResponse is malformed");
  auto parsed = json::parse(info);
  auto chain = parsed ? std::string((*parsed)["chainID"].as_string()) : std::string();
  if (chain.empty()) return fail(errc::not_found, "the runtime doesn't say what the image's snapshot is");
  return chain;
}

mount_options read_mount_options(const std::vector<std::string>& options) {
  struct row {
    std::string_view name;
    unsigned long flag;
  };
  static constexpr row rows[] = {
      {"ro", MS_RDONLY},     {"rw", 0},           {"bind", MS_BIND},     {"rbind", MS_BIND | MS_REC},
      {"nosuid", MS_NOSUID}, {"nodev", MS_NODEV}, {"noexec", MS_NOEXEC}, {"noatime", MS_NOATIME}};
  mount_options out;
  for (auto& o : options) {
    auto* known = std::ranges::find(rows, o, &row::name);
    if (known != std::end(rows))
      out.flags |= known->flag;
    else
      out.data += (out.data.empty() ? "" : ",") + o;
  }
  return out;
}

bool image_volumes::is_needed() const {
  auto from = source_();
  return !from.socket.empty() && !from.runtime_mounts;
}

std::string image_volumes::folder_of(std::string_view pod_uid) const {
  return fmt::format("{}/pods/{}/volumes/kubernetes.io~image", root_, pod_uid);
}

task<result<std::string>> image_volumes::call(std::string method, std::string message) {
  net::grpc::channel channel({.at = reactor::endpoint::unix_path(source_().socket)}, runtime_answer_bytes_max,
                             network_);
  net::http::headers in;
  in.add("containerd-namespace", "k8s.io");
  co_return co_await reactor::with_deadline(channel.unary(std::move(method), std::move(message), std::move(in)),
                                            reactor::loop::current().now() + runtime_work_deadline);
}

// Made anew, or the one that stands.
task<result<std::vector<snapshot_mount>>> image_volumes::view(std::string image, std::string key) {
  constexpr std::uint64_t verbose = 1;
  KEDGE_CO_TRY(
      auto status,
      co_await call("/runtime.v1.ImageService/ImageStatus",
                    wire::writer().message(1, wire::writer().text(1, image).take()).number(2, verbose).take()));
  KEDGE_CO_TRY(auto chain, chain_of_image(status));
  auto snapshotter = source_().snapshotter;
  auto now = format_rfc3339(reactor::loop::current().wall_now());
  auto made = co_await call(
      std::string(snapshots) + "View",
      wire::writer().text(1, snapshotter).text(2, key).text(3, chain).message(4, map_entry(root_label, now)).take());
  if (!made && made.error().code == errc::already_exists)
    made = co_await call(std::string(snapshots) + "Mounts", wire::writer().text(1, snapshotter).text(2, key).take());
  if (!made) co_return fail(std::move(made).error());
  co_return decode_snapshot_mounts(*made);
}

task<std::expected<mounted_volume, mount_failure>> image_volumes::mount(value pod, volume_to_mount v) {
  auto uid = std::string(pod["metadata"]["uid"].as_string());
  auto path = folder_of(uid) + "/" + v.name;
  auto failed = [&](std::string_view why) {
    return std::unexpected(
        mount_failure{.message = fmt::format("MountVolume.SetUp failed for volume \"{}\" : {}", v.name, why)});
  };
  auto there = co_await reactor::offload([path] { return is_mount_point(path); });
  if (there && *there) co_return mounted_volume{path};
  auto mounts = co_await view(v.image, key_of(uid, v.name));
  if (!mounts) co_return failed(rpc_text(mounts.error()));
  auto done = co_await reactor::offload([path, all = *std::move(mounts)]() -> result<void> {
    KEDGE_CHECK(crypto::make_folder(path, 0750));
    for (auto& m : all) {
      auto o = read_mount_options(m.options);
      const auto flags = o.flags | MS_RDONLY;
      if (::mount(m.source.c_str(), path.c_str(), m.type.c_str(), flags, o.data.c_str()) != 0)
        return fail(os_error(errno, "mount the image at " + path));
      // A bind mount takes no other flags at once.
      if ((o.flags & MS_BIND) != 0 &&
          ::mount(nullptr, path.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr) != 0)
        return fail(os_error(errno, "mount the image read-only at " + path));
    }
    return {};
  });
  if (!done) co_return failed(done.error().message);
  if (!*done) co_return failed(done->error().message);
  co_return mounted_volume{path};
}

task<result<void>> image_volumes::unmount(std::string pod_uid) {
  auto folder = folder_of(pod_uid);
  auto names = co_await reactor::offload([folder] {
    std::vector<std::string> out;
    std::error_code problem;
    for (auto it = std::filesystem::directory_iterator(folder, problem);
         !problem && it != std::filesystem::directory_iterator(); it.increment(problem))
      out.push_back(it->path().filename().string());
    return out;
  });
  if (!names) co_return fail(std::move(names).error());
  result<void> out;
  for (auto& name : *names) {
    auto path = folder + "/" + name;
    auto ended = co_await reactor::offload([path] {
      end_mounts(path);
      return !has_mounts(path);
    });
    if (!ended || !*ended) {
      if (out) out = fail(errc::unavailable, path + " is still mounted");
      continue;
    }
    // Without containerd the view is left to whoever looks next: the folder tells of it.
    auto removed = co_await call(std::string(snapshots) + "Remove",
                                 wire::writer().text(1, source_().snapshotter).text(2, key_of(pod_uid, name)).take());
    if (!removed && removed.error().code != errc::not_found) {
      if (out) out = fail(std::move(removed).error().with(fmt::format("the snapshot of volume {}: ", name)));
      continue;
    }
    (void)co_await reactor::offload([path] { return ::rmdir(path.c_str()); });
  }
  co_return out;
}

}  // namespace kedge::node
