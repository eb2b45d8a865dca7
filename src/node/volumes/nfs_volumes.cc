#include "node/volumes/nfs_volumes.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "base/strings.h"
#include "crypto/files.h"
#include "node/pods/files.h"
#include "node/volumes/limits.h"
#include "reactor/loop.h"
#include "reactor/offload.h"
#include "reactor/process.h"
#include "reactor/sync.h"

namespace kedge::node {

namespace {

using json::value;

constexpr std::string_view options_note = "volume.beta.kubernetes.io/mount-options";

struct ran {
  int code = 0;
  std::string output;
};

// To its end, or killed at the deadline.
task<result<ran>> run(std::vector<std::string> argv, duration within) {
  auto work = [](std::vector<std::string> command) -> task<result<ran>> {
    KEDGE_CO_TRY(auto child, reactor::process::spawn({.argv = std::move(command), .capture_output = true}));
    ran out;
    KEDGE_CO_TRY(out.output, co_await child.output(mount_output_max));
    KEDGE_CO_TRY(out.code, co_await child.wait());
    co_return out;
  };
  co_return co_await reactor::with_deadline(work(std::move(argv)), reactor::loop::current().now() + within);
}

std::string ended(const result<ran>& r) {
  if (!r) return r.error().message;
  constexpr int by_signal = 128;
  return r->code > by_signal ? fmt::format("signal {}", r->code - by_signal) : fmt::format("exit status {}", r->code);
}

}  // namespace

std::vector<std::string> nfs_mount_arguments(const volume_to_mount& v, const std::string& where) {
  auto& nfs = v.source["nfs"];
  std::set<std::string> options;
  auto& listed = v.volume["spec"]["mountOptions"];
  for (std::size_t i = 0; i < listed.size(); ++i) options.emplace(listed[i].as_string());
  for (auto one : split(v.volume["metadata"]["annotations"][options_note].as_string(), ','))
    if (!one.empty()) options.emplace(one);
  if (v.read_only || (v.volume.is_null() && nfs["readOnly"].as_bool())) options.emplace("ro");
  auto server = std::string(nfs["server"].as_string());
  if (server.contains(':')) server = "[" + server + "]";
  std::vector<std::string> out{"-t", "nfs"};
  if (!options.empty()) {
    out.emplace_back("-o");
    out.push_back(join({options.begin(), options.end()}, ","));
  }
  out.push_back(fmt::format("{}:{}", server, nfs["path"].as_string()));
  out.push_back(where);
  return out;
}

std::vector<std::string> nfs_mount_command(const volume_to_mount& v, const std::string& where) {
  auto out = nfs_mount_arguments(v, where);
  out.insert(out.end() - 2, "--");
  out.insert(out.begin(), "mount");
  return out;
}

std::string nfs_volumes::folder_of(std::string_view pod_uid) const {
  return fmt::format("{}/pods/{}/volumes/kubernetes.io~nfs", root_, pod_uid);
}

task<std::expected<mounted_volume, mount_failure>> nfs_volumes::mount(value pod, volume_to_mount v) {
  auto path = fmt::format("{}/{}", folder_of(pod["metadata"]["uid"].as_string()), v.spec_name());
  auto failed = [&](std::string_view why) {
    return std::unexpected(
        mount_failure{.message = fmt::format("MountVolume.SetUp failed for volume \"{}\" : {}", v.spec_name(), why)});
  };
  auto there = co_await reactor::offload([path]() -> result<bool> {
    if (is_mount_point(path)) return true;
    KEDGE_CHECK(crypto::make_folder(path, 0750));
    return false;
  });
  if (!there) co_return failed(there.error().message);
  if (!*there) co_return failed(there->error().message);
  if (**there) co_return mounted_volume{path};
  auto done = co_await run(nfs_mount_command(v, path), mount_deadline);
  if (done && done->code == 0) co_return mounted_volume{path};
  (void)co_await reactor::offload([path] {
    end_mounts(path);
    return ::rmdir(path.c_str());
  });
  co_return failed(fmt::format("mount failed: {}\nMounting command: mount\nMounting arguments: {}\nOutput: {}",
                               ended(done), join(nfs_mount_arguments(v, path), " "),
                               done ? done->output : std::string()));
}

task<result<void>> nfs_volumes::unmount(std::string pod_uid) {
  auto found = co_await reactor::offload([folder = folder_of(pod_uid)] {
    std::vector<std::pair<std::string, bool>> out;
    std::error_code problem;
    for (auto it = std::filesystem::directory_iterator(folder, problem);
         !problem && it != std::filesystem::directory_iterator(); it.increment(problem))
      out.emplace_back(it->path().string(), is_mount_point(it->path().string()));
    return out;
  });
  if (!found) co_return fail(std::move(found).error());
  result<void> out;
  // A server that is dead keeps no other's export here.
  for (auto& [path, mounted] : *found) {
    if (mounted) {
      auto done = co_await run({"umount", path}, unmount_deadline);
      if (!done && done.error().code == errc::timeout) done = co_await run({"umount", "-f", path}, unmount_deadline);
      if (!done || done->code != 0) {
        if (out)
          out = fail(errc::unavailable,
                     fmt::format("UnmountVolume.TearDown failed for volume \"{}\" : unmount failed: {}\nUnmounting "
                                 "arguments: {}\nOutput: {}",
                                 path.substr(path.find_last_of('/') + 1), ended(done), path,
                                 done ? done->output : std::string()));
        continue;
      }
    }
    (void)co_await reactor::offload([path] { return ::rmdir(path.c_str()); });
  }
  co_return out;
}

}  // namespace kedge::node
