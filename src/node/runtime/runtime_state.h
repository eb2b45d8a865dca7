// runtime_state.h: what is known of the container runtime at one moment.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kedge::node {

struct runtime_image {
  std::vector<std::string> names;  // digests first, then tags
  std::uint64_t size_bytes = 0;
  friend bool operator==(const runtime_image&, const runtime_image&) = default;
};

struct runtime_condition {
  bool ready = false;
  std::string reason, message;  // of the runtime, when it is not
};

// What pods of a RuntimeClass get of the runtime; "" is the default one's.
struct runtime_handler {
  std::string name;
  bool recursive_read_only = false, user_namespaces = false;
  friend bool operator==(const runtime_handler&, const runtime_handler&) = default;
};

struct runtime_state {
  // Why the runtime doesn't answer; empty when it does, and only then the rest counts.
  std::string error = "container runtime status check may not have completed yet";
  std::string name, version;  // "containerd", "1.6.20"
  runtime_condition runtime, network;
  std::vector<runtime_image> images;
  std::vector<runtime_handler> handlers;  // none: it is too old to say

  bool ready() const { return error.empty() && runtime.ready && network.ready; }
};

}  // namespace kedge::node
