// limits.h: the bounds of connections, HTTP, websockets and gRPC.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace kedge::net {

// --- TLS
// The handshake takes two round trips; ten seconds is what Go's http.Server users set, and lets a lossy 2G link
// through.
inline constexpr std::chrono::seconds tls_handshake_timeout{10};
// Plaintext of one record (RFC 8446 §5.1).
inline constexpr std::size_t tls_record_max_bytes = 16 * 1024;
// Plaintext encrypted before one write to the socket: fewer system calls for large answers, and what a slow reader
// costs us.
inline constexpr std::size_t tls_batch_max_bytes = 4 * tls_record_max_bytes;
// Writes of one core that wait for the end of its turn: enough that a reader with many connections stays awake over
// them, few enough that it reads the first while we are at the next (measured: 8 is the best for GET, 16 and more
// slower than none).
inline constexpr std::size_t late_writes_max = 8;
// Doubled up to this while one turn goes on: an event to a thousand watchers wakes the readers a quarter as often.
inline constexpr std::size_t late_writes_burst_max = 32;
// What is larger keeps its reader busy by itself, and goes out at once.
inline constexpr std::size_t late_write_max_bytes = 8 * 1024;
// Records under one key before there is a new one: of AES-GCM's 2^24.5 (RFC 8446 §5.5).
inline constexpr std::uint64_t tls_key_records_max = std::uint64_t(1) << 24;
// Cipher contexts that a thread keeps with a key in them, 1.2 KB each: two for each connection that is busy.
inline constexpr std::size_t tls_keyed_contexts = 64;
// The longest message after a handshake: a ticket with all that it may hold (RFC 8446 §4.6.1).
inline constexpr std::size_t tls_message_max_bytes = 131'338;
// Records in a row that say nothing, new keys and empty ones, before that is an attack (OpenSSL's bound).
inline constexpr unsigned tls_silent_records_max = 32;
// Ticket keys: a new one each period, the one before is still taken. Go rotates daily and keeps seven; ours is stricter
// since a resumed session carries the client's certificate.
inline constexpr std::chrono::hours tls_ticket_key_period{12};
// A client's chain beyond this is refused: leaf, and a few intermediates.
inline constexpr int tls_chain_max = 8;

// --- HTTP/1.1 and 2, both
// All header bytes of one message. kube-apiserver takes 1 MiB; nothing that it serves needs more than a few KiB, and
// every connection may hold this much.
inline constexpr std::size_t header_max_bytes = 64 * 1024;
inline constexpr std::size_t header_fields_max = 256;
// kube-apiserver's MaxRequestBodyBytes: 3 MiB.
inline constexpr std::uint64_t request_body_max_bytes = 3 * 1024 * 1024;
// One piece that exchange::read gives out.
inline constexpr std::size_t body_piece_max_bytes = 64 * 1024;
// From the first byte of a head (or from the connection's start) to its end: against slowloris.
inline constexpr std::chrono::seconds header_timeout{10};
// A keep-alive connection without a request. kube-apiserver's IdleTimeout is 90 s; clients reuse within that.
inline constexpr std::chrono::seconds idle_timeout{90};
// Between two pieces of a body that a handler waits for.
inline constexpr std::chrono::seconds body_timeout{30};
// From the end of a head to the end of the body, unless the handler has more patience: kube-apiserver's time for a
// whole request.
inline constexpr std::chrono::seconds body_whole_timeout{60};
// A peer that takes nothing for this long (for each MiB in one write) is gone.
inline constexpr std::chrono::seconds write_timeout{60};
// After an answer that leaves the request's body unread: that much is read and dropped, so that the peer sees the
// answer rather than a reset.
inline constexpr std::size_t linger_max_bytes = 256 * 1024;
inline constexpr std::chrono::seconds linger_timeout{2};
// A connection that has begun when a server ends gets so long to be accepted: its last step takes a round trip.
inline constexpr std::chrono::milliseconds last_arrivals{50};
// A client that was told that its idle connection ends gets this long to end it, so that a request on its way isn't
// reset.
inline constexpr std::chrono::milliseconds farewell_timeout{250};

// --- the server
inline constexpr std::size_t connections_max = 20'000;
// The last part of them is for who comes while the server makes room: quiet connections of whoever has most are ended,
// so many at a time and so often at most. Who holds all connections can't keep others out, unless he asks something on
// each of them.
inline constexpr std::size_t connections_spare_part = 64;
inline constexpr std::chrono::milliseconds make_room_pause{100};
// What a new connection is taken to add to a core's load until that shows it (reactor/turn_meter.h), and for how long:
// many that come at once are spread.
inline constexpr double connection_load = 0.03;
inline constexpr std::chrono::milliseconds connection_load_time{1'000};
// Descriptors that stay free for files, databases and child processes.
inline constexpr std::size_t descriptors_reserved = 256;
// After "out of descriptors" from accept.
inline constexpr std::chrono::milliseconds accept_pause{50};

// --- HTTP/2
inline constexpr std::uint32_t h2_streams_max = 250;  // Go's default, kube-apiserver's too
inline constexpr std::uint32_t h2_stream_window_bytes = 256 * 1024;
inline constexpr std::uint32_t h2_connection_window_bytes = 1024 * 1024;
// Output held for one stream before exchange::write waits.
inline constexpr std::size_t h2_stream_output_max_bytes = 64 * 1024;
// Resets that the peer sends or makes us send in one window, beyond which the connection ends (CVE-2023-44487,
// CVE-2025-8671); an honest watch client cancels a few.
inline constexpr unsigned h2_resets_max = 500;
inline constexpr std::chrono::seconds h2_resets_window{30};
// Frames that cost us an answer (PING, SETTINGS) in one window.
inline constexpr unsigned h2_control_frames_max = 1000;
// Bytes that wait for the socket before input is no longer read: bounds what a peer that never reads makes us keep.
inline constexpr std::size_t h2_output_max_bytes = 512 * 1024;

// --- the client
inline constexpr std::chrono::seconds connect_timeout{10};
inline constexpr std::size_t pool_idle_per_target_max = 8;
inline constexpr std::chrono::seconds pool_idle_timeout{60};              // below the server's 90 s
inline constexpr std::size_t response_body_max_bytes = 64 * 1024 * 1024;  // read_all of an answer

// --- websocket
inline constexpr std::size_t websocket_message_max_bytes = 1024 * 1024;
inline constexpr std::size_t websocket_piece_max_bytes = 64 * 1024;
inline constexpr std::chrono::seconds websocket_close_timeout{5};

// --- gRPC
inline constexpr std::size_t grpc_message_max_bytes = 16 * 1024 * 1024;  // containerd's and the kubelet's limit

}  // namespace kedge::net
