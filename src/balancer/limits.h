// limits.h: the balancer's times and bounds. (K3s) marks those that K3s's agents keep too.
#pragma once

#include <chrono>
#include <cstddef>

namespace kedge::balancer {

inline constexpr std::chrono::seconds dial_timeout{10};    // (K3s)
inline constexpr std::chrono::seconds health_interval{1};  // (K3s) the tunnels' states are applied this often
inline constexpr std::chrono::seconds preferred_for{60};   // (K3s) without a dial, then merely healthy
// A server that hasn't accepted by then may be a black hole: the next one is tried beside it.
inline constexpr std::chrono::milliseconds hedge_after{500};
// A server that took a client's bytes and never says one is half dead; a TLS server answers a hello in milliseconds.
inline constexpr std::chrono::seconds first_answer_timeout{10};
// A client that waited this long in vain and leaves tells the same: many give up before those ten seconds, and a busy
// server may well take two.
inline constexpr std::chrono::seconds client_patience{5};
inline constexpr std::chrono::seconds probe_interval{5};  // (K3s's etcd balancer)
inline constexpr std::chrono::seconds probe_timeout{2};
inline constexpr unsigned probe_failures = 2;  // one lost packet is no verdict
// Slow is relative: so many times the fastest, but never below what a satellite link takes.
inline constexpr unsigned slow_factor = 4;
inline constexpr std::chrono::milliseconds slow_floor{300};
inline constexpr unsigned slow_measures = 3;
// An agent's own server takes over when it was well for this long; doubled for each failure seen, up to the last.
inline constexpr std::chrono::seconds settle_time{5};
inline constexpr std::chrono::seconds settle_max{300};
inline constexpr std::chrono::minutes forgive_after{10};
// A connection to a server that is no longer to be used goes when nobody waits for an answer and no byte came for
// quiet_time; if the server has left the list or says that it stops, at the latest after move_max, which is longer than
// a server takes to stop.
inline constexpr std::chrono::milliseconds quiet_time{500};
inline constexpr int quiet_checks = 5;  // in a quiet_time
inline constexpr std::chrono::seconds move_max{10};
// Between two complaints that no server can be reached.
inline constexpr std::chrono::seconds complaint_interval{10};
// Clients are the agent's own few components; what a runaway one may cost in descriptors.
inline constexpr std::size_t connections_max = 4096;
// The list of servers that a file or an API answer may name.
inline constexpr std::size_t servers_max = 256;
inline constexpr std::size_t state_file_max_bytes = 64 * 1024;

}  // namespace kedge::balancer
