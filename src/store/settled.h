// settled.h: where objects lie that have stood for a while. For store/ only.
//
// An object is allocated when it is written, between versions that are soon replaced: what is left of a burst lies
// scattered, and the heap can give back hardly a page of what lay between. So objects that outlive the history of their
// making are copied, one after the other without a gap, into chunks that hold nothing else. A chunk goes with the last
// of its objects; those of a chunk that is more than half empty are copied once more.
#pragma once

#include <chrono>
#include <cstddef>

#include "store/object.h"

namespace kedge::store {

// A chunk, a power of two; what is larger than an eighth of it would leave too much of one empty.
inline constexpr std::size_t settled_chunk_bytes = 64 * 1024;
inline constexpr std::size_t settled_object_max = settled_chunk_bytes / 8;
// How often the engine looks for objects to put together, how many it looks at then, and how many of them it moves
// before others may run: 10 us each, with their indexes. All that there is is gone over at most this often.
inline constexpr std::chrono::seconds settling_interval{1};
inline constexpr std::size_t settling_looks_max = 8192;
inline constexpr std::size_t settling_step_objects = 32, settling_step_looks = 256;
inline constexpr std::chrono::seconds settling_pass{30};

class settled_heap {
 public:
  settled_heap() = default;
  settled_heap(const settled_heap&) = delete;
  settled_heap& operator=(const settled_heap&) = delete;
  ~settled_heap() { close(); }

  // The same version in a chunk. One thread at a time; what it gives may be dropped on any, also after this has gone.
  object_ref copy(const object& o);
  // Whether a copy would save memory: it lies in no chunk, or in one that is more than half empty. Large ones stay
  // where they are.
  bool would_help(const object& o) const noexcept;

 private:
  void close() noexcept;
  struct settled_chunk* open_ = nullptr;
};

// Of an object that lies in a chunk.
void release_settled(const object& o) noexcept;

}  // namespace kedge::store
