// heap.h: where the daemon's memory comes from.
#pragma once

namespace kedge::cli {

// Gives the heap what the calling thread keeps at hand of it: some microseconds, on the thread that did much and rests
// now.
void release_thread_heap() noexcept;

// Gives the system what the heap keeps free. Blocking, for milliseconds: on the offload pool.
void release_free_heap() noexcept;

}  // namespace kedge::cli
