// limits.h: bounds of what is read for pods.
#pragma once

#include <cstddef>

namespace kedge::node {

// An environment that a pod's own container wrote (fileKeyRef): as much as the API lets a ConfigMap be.
inline constexpr std::size_t env_file_bytes_max = 1024 * 1024;

}  // namespace kedge::node
