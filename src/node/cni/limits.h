// limits.h: bounds of the CNI plugins.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kedge::node::cni {

inline constexpr std::size_t name_bytes_max = 255;     // container ids and networks become file names
inline constexpr std::size_t interface_name_max = 15;  // IFNAMSIZ - 1
inline constexpr std::size_t config_bytes_max =
    4 * 1024 * 1024;  // a pod's configuration is a few KB; a GC names all attachments
// How many addresses of a range are tried for one that is free: a node's is a /24 of 254.
inline constexpr std::uint64_t addresses_tried_max = 65'536;
inline constexpr unsigned veth_names_tried = 8;  // of 2^32

}  // namespace kedge::node::cni
