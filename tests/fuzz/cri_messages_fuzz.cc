// The container runtime's answers, CSI drivers' and plugins', whatever bytes they are: each decoder gives a value or an
// error.
#include <cstddef>
#include <cstdint>

#include "node/plugins/plugin_watcher.h"
#include "node/runtime/cri_messages.h"
#include "node/volumes/csi_layout.h"
#include "node/volumes/csi_messages.h"
#include "node/volumes/image_volumes.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view message(reinterpret_cast<const char*>(data), size);
  (void)kedge::node::decode_version_response(message);
  (void)kedge::node::decode_status_response(message);
  (void)kedge::node::decode_list_images_response(message);
  (void)kedge::node::decode_image_fs_info_response(message);
  (void)kedge::node::decode_plugin_info(message);
  (void)kedge::node::decode_node_info(message);
  (void)kedge::node::decode_capabilities(message);
  (void)kedge::node::decode_stats(message);
  (void)kedge::node::decode_snapshot_mounts(message);
  (void)kedge::node::chain_of_image(message);
  (void)kedge::node::parse_volume_data(message);
  return 0;
}
