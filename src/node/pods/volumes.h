// volumes.h: a pod's volumes: what is in them, where they are, and how containers see them.
//
//   spec.volumes ─▶ gather_volumes (asks the API for what they name) ─▶ values ─▶ make_volumes (blocking) ─▶ folders,
//   files, tmpfs
//
// Done again every now and then for what changes: files that are the same are not written.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/time.h"
#include "node/pods/cluster.h"
#include "node/pods/configs.h"
#include "node/pods/files.h"
#include "node/pods/pod_certificates.h"
#include "node/pods/volume_mounter.h"

namespace kedge::node {

struct pod_volume {
  enum class content : unsigned char { host_path, folder, files, claim, mounted, image };
  std::string name;
  content kind = content::folder;
  std::string path;  // where it is on the node
  std::string host_path_type;
  bool must_exist = false;  // whatever its type is
  bool in_memory = false;
  std::uint64_t size_bytes = 0;  // of one in memory; 0: no limit of its own
  std::vector<volume_file> files;
  bool read_only = false;
  bool is_device = false;         // a block volume
  volume_to_mount to_mount = {};  // of one that others serve: `path` is known when it is mounted
};
using pod_volumes = std::vector<pod_volume>;

// Tokens that a pod has been given, by what was asked for; asked for again when 80 % of their life is over.
struct issued_token {
  std::string token;
  wall_time renew_at{};
};
struct issued_credentials {
  std::map<std::string, issued_token> tokens;
  pod_certificates certificates;
};

struct volume_problem {
  std::string volume;  // as messages name it
  error why;
  bool unprocessed = false;  // its claim doesn't say what it is
  std::string step = "MountVolume.SetUp failed";
};
// The first volume that can't be had. `since`: when the pod was last heard of (pod_cluster::config_map).
task<std::expected<pod_volumes, volume_problem>> gather_volumes(json::value pod, time_point since,
                                                                std::vector<std::string> ips,
                                                                const pod_settings& settings, pod_cluster& cluster,
                                                                issued_credentials& issued);
// Blocking. True when anything was written.
std::expected<bool, volume_problem> make_volumes(const pod_volumes& volumes, const ownership& who);

ownership ownership_of(const json::value& pod);

// What can be had of mounts on this node.
struct mount_abilities {
  bool recursive_read_only = false;  // of the pod's runtime
  bool selinux = false;              // of the kernel
};
// Whether a volumeMount is read-only with all that is below it; an error where it has to be and can't.
result<bool> is_recursively_read_only(const json::value& mount, bool runtime_can);

// A container's mounts. Those with a subPath need mount_subpath first, which goes into `subpaths`.
struct subpath_mount {
  std::string volume, inside, target;
};
result<std::vector<container_mount>> mounts_of(const json::value& container, const pod_volumes& volumes,
                                               const variables& env, const std::string& pod_folder, mount_abilities can,
                                               std::vector<subpath_mount>& subpaths);

// A container's block volumes.
result<std::vector<container_device>> devices_of(const json::value& container, const pod_volumes& volumes);

}  // namespace kedge::node
