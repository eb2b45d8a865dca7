// limits.h: the tunnel's bounds. Those marked (wire) are remotedialer's, whose other end counts on them.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace kedge::tunnel {

// --- frames
// Three varints of at most ten bytes each need 30; ours need 10 + 10 + 1 + 3 (wire: writers allot 24).
inline constexpr std::size_t frame_header_max_bytes = 24;
inline constexpr std::size_t connect_text_max_bytes = 266;  // (wire) "tcp/" and the longest host:port
inline constexpr std::size_t error_text_max_bytes = 100;    // (wire)
inline constexpr std::size_t client_text_max_bytes = 100;   // (wire)
// Ids in one SyncConnections: far beyond streams_max of any peer; what it may make us hold.
inline constexpr std::size_t sync_body_max_bytes = 512 * 1024;
// Payload of one Data frame that we send: with its headers four whole TLS records, and other streams get their turn.
inline constexpr std::size_t data_payload_max_bytes = 64 * 1024 - 64;
// Data is handed on as it comes, so this only bounds a counter (Go's end has no limit).
inline constexpr std::size_t message_max_bytes = std::size_t(1) << 40;

// --- streams
inline constexpr std::size_t pause_above_bytes = 2 * 1024 * 1024;  // (wire) unread bytes before Pause
inline constexpr std::size_t resume_below_bytes = 256 * 1024;      // (wire)
// A peer that goes on after Pause loses the stream here (Go's end has no limit). An honest one first reads what is
// under way ahead of the Pause and may answer it byte for byte: as much as four sockets' buffers, which systems let
// grow to 32 MiB.
inline constexpr std::size_t receive_hold_max_bytes = 128 * 1024 * 1024;
// Received pieces smaller than this are copied, so that few bytes don't hold a whole receive buffer.
inline constexpr std::size_t copy_below_bytes = 4096;
// What a piece costs beside its bytes.
inline constexpr std::size_t piece_cost_bytes = 64;
// Open streams of one session; kubelets and API servers keep tens. Also the bound of what one peer makes us dial.
inline constexpr std::size_t streams_max = 4096;
// Frames that wait for the socket: answers to what the peer sent. A peer that never reads is cut here.
inline constexpr std::size_t output_max_bytes = 1024 * 1024;

// --- time
inline constexpr std::chrono::seconds ping_interval{5};     // (wire)
inline constexpr std::chrono::seconds silence_timeout{60};  // (wire) since the last ping (server) or pong (client)
inline constexpr std::chrono::seconds sync_interval{60};    // (wire)
inline constexpr std::chrono::seconds dial_timeout{60};     // (wire) the agent's dial of a Connect's target
// Two pings missed (server) or unanswered (client): who has another way shall take it, long before the session is given
// up.
inline constexpr std::chrono::seconds suspect_after{12};
inline constexpr std::chrono::seconds retry_interval{3};  // K3s: between attempts to reach a server
inline constexpr std::chrono::seconds server_set_debounce{3};
// A tunnel to a server that is no longer listed goes when its streams have ended; at the latest after leave_max.
inline constexpr std::chrono::seconds leave_max{10};
inline constexpr std::chrono::milliseconds leave_check{100};
// A tunnel that another one of the same node replaced goes when it had no stream for replaced_quiet, which is longer
// than a round trip of a slow link; a kubectl exec holds it for replaced_max_age at most. More than replaced_max at a
// server are those of credentials that change by the minute: the oldest goes then.
inline constexpr std::chrono::seconds replaced_quiet{2};
inline constexpr std::chrono::hours replaced_max_age{1};
inline constexpr std::size_t replaced_max = 4;
// An end that closes its tunnel says so, and waits this long for the other's word: several round trips of a slow link,
// and no time that anybody who stops would notice.
inline constexpr std::chrono::milliseconds farewell_time{500};
// TCP, TLS and the upgrade's answer. K3s sets none; without it a black hole would hold the attempt for minutes.
inline constexpr std::chrono::seconds handshake_timeout{10};

}  // namespace kedge::tunnel
