// limits.h: bounds of what registers with a node.
#pragma once

#include <cstddef>

#include "base/time.h"

namespace kedge::node {

using namespace std::chrono_literals;

// A look is one folder's listing; the kubelet hears of files by inotify and looks at what it heard each second.
inline constexpr duration plugin_folder_interval = 1s;
inline constexpr duration plugin_answer_time = 10s;  // dialTimeoutDuration
inline constexpr duration plugin_retry_first = 500ms, plugin_retry_most = 2min;
inline constexpr std::size_t plugin_answer_bytes_max = 64 * 1024;
inline constexpr std::size_t plugin_versions_max = 64;
// What a container gets of one device plugin: kept in memory and in the checkpoint, and compared entry by entry.
inline constexpr std::size_t allocation_bytes_max = 64 * 1024;
inline constexpr std::size_t plugin_files_max = 1000;  // in the folder: a node has a dozen plugins

}  // namespace kedge::node
