// limits.h: DNS' bounds.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace kedge::node::dns {

using namespace std::chrono_literals;

// RFC 1035 §2.3.4, §4.2; what a resolver without EDNS takes, and the most that we send by UDP to any (no fragments: DNS
// flag day 2020).
inline constexpr std::size_t name_bytes_max = 255;
inline constexpr std::size_t label_bytes_max = 63;
inline constexpr std::size_t plain_udp_bytes = 512;
inline constexpr std::size_t udp_bytes_max = 1232;
inline constexpr std::size_t message_bytes_max = 65'535;
// Records of one answer: a headless Service of 1000 pods with SRV and addresses fits TCP.
inline constexpr std::size_t records_max = 4'000;
// CoreDNS' kubernetes plugin; K3s's hosts.
inline constexpr std::uint32_t cluster_ttl = 5;
inline constexpr std::uint32_t hosts_ttl = 60;
// An ExternalName that names another, and so on.
inline constexpr int aliases_max = 8;

// Questions that wait for a resolver outside; more are answered SERVFAIL at once. Each holds a socket.
inline constexpr std::size_t forwards_max = 512;
// A resolver gets this long, then the next is asked; a client waits 5 s by default.
inline constexpr duration upstream_timeout = 2s;
// Datagrams that are no answer to a question, until it is given up: each guesses at its id, of which there are 65,536.
inline constexpr int strangers_max = 16;
inline constexpr std::size_t upstreams_max = 3;  // as resolv.conf
// A connection waits this long for the next question, so many of each resolver; and who is silent is asked this often
// whether it is there again (CoreDNS').
inline constexpr duration upstream_idle = 10s;
inline constexpr std::size_t upstream_idle_max = 4;
inline constexpr duration upstream_check_interval = 500ms;
// What resolvers outside said is kept this long at most (K3s's Corefile), and at least (CoreDNS'), and so many of it.
inline constexpr duration cache_time_max = 30s;
inline constexpr duration cache_time_least = 5s;
inline constexpr std::uint32_t cache_time_unsaid = 5;  // seconds, of an answer without any record
// It serves this much longer when nobody says it anew (CoreDNS' serve_stale), who is waited for and asked again after
// a while as RFC 8767 §5 has it; the client's own patience is 5 s.
inline constexpr duration stale_time_max = 1h;
inline constexpr duration stale_patience = 1800ms;
inline constexpr duration stale_recheck = 5s;
inline constexpr std::size_t cache_entries_max = 4'096;
inline constexpr std::size_t cache_bytes_max = 2 * 1024 * 1024;

// What users configure: a ConfigMap holds 1 MiB at most, and nobody writes as much.
inline constexpr std::size_t corefile_bytes_max = 1024 * 1024;
inline constexpr std::int64_t pattern_bytes_max = 256 * 1024;  // compiled; a name's pattern has some kilobytes
inline constexpr std::size_t template_groups_max = 100;
inline constexpr std::size_t custom_zones_max = 256;
// Of the whole configuration, for each zone that a block is for: words that are read, names with an address, compiled
// patterns, and zones that are asked elsewhere (each of which keeps answers).
inline constexpr std::size_t custom_words_max = 50'000;
inline constexpr std::size_t custom_hosts_max = 10'000;
inline constexpr std::size_t hosts_zones_max = 32;  // of one table: each of its names is looked for in all of them
inline constexpr std::size_t custom_patterns_max = 256;
inline constexpr std::size_t custom_forwards_max = 256;
inline constexpr std::size_t custom_file_bytes_max = 4 * 1024 * 1024;  // of files that lines name, each time
inline constexpr std::size_t custom_cache_bytes_max = 256 * 1024;      // of each
inline constexpr std::size_t custom_problems_max = 20;                 // that are told
inline constexpr std::size_t custom_upstreams_max = 15;                // CoreDNS'
inline constexpr std::uint64_t custom_cache_seconds_max = 3600;
// Of serve_stale, expire and health_check: beyond these they would keep what nobody uses, or ask without end.
inline constexpr duration custom_stale_max = 24h;
// The system's authorities, for resolvers over TLS: a file that changes a few times a year, and takes some
// milliseconds.
inline constexpr duration tls_trust_read_again = 1h;
inline constexpr duration upstream_idle_time_max = 60s;
inline constexpr duration upstream_check_interval_min = 100ms;

inline constexpr std::size_t tcp_connections_max = 128;
inline constexpr duration tcp_idle = 10s;
// Datagrams taken before others of the loop go.
inline constexpr unsigned datagrams_at_once = 64;
inline constexpr duration listen_retry = 5s;

}  // namespace kedge::node::dns
