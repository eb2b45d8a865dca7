// system_info.h: what the machine is and has, as the kubelet reports it.
//
// Everything is read from /proc, /sys and /etc under a root path, so that a test can bring its own machine. Reading
// blocks (statfs of a remote disk can hang): on a reactor through offload.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"

namespace kedge::node {

struct system_info {
  // capacity
  int cpus = 0;  // online
  std::uint64_t memory_bytes = 0;
  std::uint64_t swap_bytes = 0;
  std::uint64_t storage_bytes = 0;                   // of the file system that holds the data folder
  std::map<std::uint64_t, std::uint64_t> hugepages;  // page size → bytes set aside for it

  // state
  std::uint64_t storage_available_bytes = 0;

  // identity
  std::string machine_id, system_uuid, boot_id;
  std::string kernel_version, os_image;
  std::string architecture;  // as Go names it: amd64, arm64
  std::string hostname;      // lower-case
};

struct system_paths {
  std::string root;           // before /proc, /sys, /etc; empty: this machine
  std::string storage = "/";  // a path on the file system whose size is the ephemeral storage
};

// Fails only where no node can be described without it: memory, storage.
result<system_info> read_system_info(const system_paths& paths);

// The address that the default route's interface has (v4 first, then v6 when there is one); without a default route,
// the first global address of the first interface that is up. errc::not_found when the machine has none: say --node-ip
// then.
result<std::vector<std::string>> default_addresses();

// The same addresses with the family of the first cluster range in front: that one is the node's first, as the pods'.
std::vector<std::string> order_addresses(std::vector<std::string> addresses,
                                         const std::vector<std::string>& cluster_cidrs);

// The interface that /proc/net/route names for destination 0.0.0.0 with the lowest metric; empty without one.
std::string default_route_interface(std::string_view proc_net_route);
// The same for /proc/net/ipv6_route.
std::string default_route_interface_v6(std::string_view proc_net_ipv6_route);

// How many CPUs a list as in /sys/devices/system/cpu/online ("0-3,8") names; 0 when it is malformed.
int count_cpus(std::string_view list);

// resource.Quantity's canonical text of a count of bytes in binary SI: 25276510208 → "24684092Ki".
std::string binary_quantity(std::uint64_t bytes);

}  // namespace kedge::node
