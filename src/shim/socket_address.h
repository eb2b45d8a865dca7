// socket_address.h: where the shim of a group of containers listens.
#pragma once

#include <string>
#include <string_view>

#include "base/descriptor.h"
#include "base/error.h"

namespace kedge::shim {

inline constexpr std::string_view socket_scheme = "unix://";
// Where shims' sockets are, of every containerd: their names differ by its address, the namespace and the group.
inline constexpr std::string_view socket_folder = "/run/containerd/s";

// The path, by a hash, as short as a socket's must be.
std::string socket_path(std::string_view containerd_address, std::string_view space, std::string_view group);

// Whether somebody listens there.
bool is_listened_at(const std::string& path);

// A socket that listens there, for its owner alone; errc::already_exists when somebody does. One that a dead shim left
// is taken away.
result<descriptor> listen_at(const std::string& path);

// Takes away what a shim that crashed left at its path, its socket and consoles beside it, and then what others left:
// one that dies before containerd has reached it has nobody who would clean up after it. A shim that ended well left
// nothing, and nothing else is looked at.
void remove_dead_socket(const std::string& path);

}  // namespace kedge::shim
