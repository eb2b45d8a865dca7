// limits.h: the network's bounds and cadences.
#pragma once

#include <cstddef>

#include "base/time.h"

namespace kedge::node {

using namespace std::chrono_literals;

namespace netlink {
// The kernel answers within the call; only a lock that another holds (a long nft transaction) makes it late.
inline constexpr duration answer_timeout = 20s;
// The kernel's own datagrams are at most 32 KB (NLMSG_GOODSIZE of a dump).
inline constexpr std::size_t receive_bytes = 64 * 1024;
// Telling all takes microseconds, a change of links milliseconds: some turns find a gap between changes.
inline constexpr int list_turns_max = 50;
// One transaction of service rules: some 300 bytes an endpoint; 60,000 endpoints.
inline constexpr std::size_t transaction_bytes_max = 32 * 1024 * 1024;
}  // namespace netlink

// Addresses of interfaces change and other programs flush tables: all is looked at this often. A failure is tried again
// sooner.
inline constexpr duration network_look_interval = 30s;
inline constexpr duration network_retry = 2s;
// A table of Services' rules that another program flushed is noticed after this.
inline constexpr duration services_look_interval = 5s;
// The kernel loads a module within a second; only a disk that hangs makes it late, and the node begins without it.
inline constexpr duration modprobe_timeout = 10s;
inline constexpr std::size_t modprobe_output_max = 4096;  // a line or two
// A balancer asks once in some seconds, from a few addresses.
inline constexpr std::size_t health_port_connections_max = 64;
// Changes that come together are applied together; a pod's first packet to a new node waits no longer than this.
inline constexpr duration network_settle = 20ms;

}  // namespace kedge::node
