// heap.h: where the daemon's memory comes from.
#pragma once

namespace kedge::cli {

// Gives the system what the heap keeps free. Blocking, for milliseconds: on the offload pool.
void release_free_heap() noexcept;

}  // namespace kedge::cli
