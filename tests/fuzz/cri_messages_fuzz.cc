// The container runtime's answers, whatever bytes they are: each decoder gives a value or an error.
#include <cstddef>
#include <cstdint>

#include "node/runtime/cri_messages.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view message(reinterpret_cast<const char*>(data), size);
  (void)kedge::node::decode_version_response(message);
  (void)kedge::node::decode_status_response(message);
  (void)kedge::node::decode_list_images_response(message);
  (void)kedge::node::decode_image_fs_info_response(message);
  return 0;
}
