// limits.h: the bounds of this room, with the reason for each number.
#pragma once

#include <cstddef>

namespace kedge::api {

// Audit events that wait for the disk: beyond this the newest are dropped and counted; requests never wait for the log.
inline constexpr std::size_t audit_queue_max = 16'384;
// Bytes handed to one write: bounds the memory of a turn of the writer.
inline constexpr std::size_t audit_batch_max_bytes = 1024 * 1024;

}  // namespace kedge::api
