// limits.h: the bounds of the shim, and why they are where they are.
#pragma once

#include <cstddef>

namespace kedge::shim {

// ttrpc's own limit of a message: larger ones are read past and refused (its PROTOCOL.md).
inline constexpr std::size_t message_bytes_max = 4 * 1024 * 1024;
// containerd has one connection for each container of a pod, `ctr` and debuggers a few; more are closed at once.
inline constexpr std::size_t connections_max = 512;
// Calls that run at once on one connection. A Wait stays open as long as its process lives, so each container and each
// exec has one or two.
inline constexpr std::size_t calls_max = 4096;
// Answers that a client doesn't read: the connection is closed beyond.
inline constexpr std::size_t unsent_bytes_max = 2 * message_bytes_max;
// Execs of one container that exist at once (started or not): what a pod's process limit would refuse anyway.
inline constexpr std::size_t execs_max = 4096;
// Events that wait for a containerd that doesn't answer; the Go shim's number. The oldest is dropped beyond.
inline constexpr std::size_t events_max = 2048;
// Of what a runtime printed or logged, this much is read for the error's message.
inline constexpr std::size_t output_bytes_max = 64 * 1024;
// The configuration of a container: runc reads no larger one in practice, containerd sends it in one message.
inline constexpr std::size_t config_bytes_max = message_bytes_max;
// One read of a terminal; its own buffer in the kernel is as large.
inline constexpr std::size_t copy_bytes = 4096;

inline constexpr int answer_timeout_ms = 5'000;     // of containerd, to an event
inline constexpr int publish_pause_least_ms = 100;  // between attempts to publish
inline constexpr int publish_pause_most_ms = 5'000;
inline constexpr int last_events_ms = 5'000;           // a shim that ends waits this long for its events to be taken
inline constexpr int fifo_reader_timeout_ms = 30'000;  // the Go shim's, for whoever reads a container's output
inline constexpr int fifo_poll_least_ms = 1;           // a reader is there before us, almost always
inline constexpr int fifo_poll_most_ms = 100;
inline constexpr int logger_grace_ms = 12'000;  // for a logging program to write what it has; the Go shim's
// For a reader to take what lies in a fifo when its process is deleted: containerd's client closes its end then,
// whether it has read or not. Where nobody reads (a task that was left alone) no more is waited.
inline constexpr int unread_ms = 200;
inline constexpr int drain_ms = 10'000;  // for output to be read when its process is deleted; the Go shim's

}  // namespace kedge::shim
