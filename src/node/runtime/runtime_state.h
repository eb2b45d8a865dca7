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

struct runtime_state {
  // Why the runtime doesn't answer; empty when it does, and only then the rest counts.
  std::string error = "container runtime status check may not have completed yet";
  std::string name, version;  // "containerd", "1.6.20"
  runtime_condition runtime, network;
  std::vector<runtime_image> images;

  bool ready() const { return error.empty() && runtime.ready && network.ready; }
};

}  // namespace kedge::node
