// cri_messages.h: the answers of the container runtime interface (k8s.io/cri-api runtime.v1) that the node reads. The
// field numbers are those of its published api.proto; fields that the node doesn't use are passed over.
#pragma once

#include <string_view>
#include <vector>

#include "base/error.h"
#include "node/runtime/runtime_state.h"

namespace kedge::node {

struct cri_version {
  std::string runtime_name, runtime_version, api_version;
};

struct cri_status {
  runtime_condition runtime, network;  // not ready when the runtime doesn't mention them
  std::vector<runtime_handler> handlers;
};

struct cri_filesystem {
  std::string mountpoint;
  std::uint64_t used_bytes = 0, inodes_used = 0;
};

// All: errc::protocol when the bytes are no such message.
result<cri_version> decode_version_response(std::string_view message);
result<cri_status> decode_status_response(std::string_view message);
result<std::vector<runtime_image>> decode_list_images_response(std::string_view message);
result<std::vector<cri_filesystem>> decode_image_fs_info_response(std::string_view message);
result<bool> decode_uses_systemd(std::string_view message);  // of a RuntimeConfigResponse

}  // namespace kedge::node
