// csi_messages.h: the messages of a CSI driver's node service (container-storage-interface spec 1.x, csi.v1.Node) that
// a node sends and reads. The field numbers are those of the published csi.proto.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace kedge::node {

using csi_texts = std::map<std::string, std::string>;

struct csi_node_info {
  std::string id;
  std::int64_t volumes_max = 0;  // 0: it doesn't say
  csi_texts topology;
};

// What of the node service a driver has beyond publishing.
struct csi_capabilities {
  bool stage = false, stats = false, expand = false, single_node_multi_writer = false, mount_group = false;
};

struct csi_access {
  std::string access_mode;  // Kubernetes' name: ReadWriteOnce …
  bool block = false;
  std::string fs_type;
  std::vector<std::string> mount_flags;
  std::optional<std::int64_t> group;  // whom the driver gives the volume
};

// Of NodeStageVolume and NodePublishVolume.
struct csi_request {
  std::string volume_id, staging_path, target_path;
  csi_texts publish_context, volume_context, secrets;
  csi_access access;
  bool read_only = false;
};

struct csi_expansion {
  std::string volume_id, volume_path, staging_path;
  std::int64_t bytes = 0;
  csi_access access;
  csi_texts secrets;
};

// Bytes or inodes of a volume.
struct csi_usage {
  std::int64_t available = 0, total = 0, used = 0;
};
struct csi_stats {
  std::optional<csi_usage> bytes, inodes;
};

std::string encode_stage(const csi_request& r, const csi_capabilities& has);
std::string encode_publish(const csi_request& r, const csi_capabilities& has);
std::string encode_unstage(std::string_view volume_id, std::string_view staging_path);
std::string encode_unpublish(std::string_view volume_id, std::string_view target_path);
std::string encode_expand(const csi_expansion& e, const csi_capabilities& has);
std::string encode_stats_request(std::string_view volume_id, std::string_view volume_path);

// All: errc::protocol when the bytes are no such message.
result<csi_node_info> decode_node_info(std::string_view message);
result<csi_capabilities> decode_capabilities(std::string_view message);
result<csi_stats> decode_stats(std::string_view message);

}  // namespace kedge::node
