#include "store/settled.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "base/assert.h"

namespace kedge::store {

// Begins at a multiple of its size, so that an object's address tells its chunk.
struct settled_chunk {
  // Bytes of the objects that live, and one more while objects are put in: sizes are multiples of 8.
  std::atomic<std::uint32_t> live{1};
  std::uint32_t used = sizeof(settled_chunk);
};

namespace {

std::uint32_t room_of(const object& o) noexcept {
  return static_cast<std::uint32_t>((object_access::size_of(o) + 7) / 8 * 8);
}

settled_chunk& chunk_of(const object& o) noexcept {
  auto at = reinterpret_cast<std::uintptr_t>(&o);
  return *reinterpret_cast<settled_chunk*>(at & ~std::uintptr_t(settled_chunk_bytes - 1));
}

void drop(settled_chunk& c, std::uint32_t bytes) noexcept {
  // Release: what was read of the object came before; acquire: whoever frees the chunk comes after all of them.
  if (c.live.fetch_sub(bytes, std::memory_order_acq_rel) == bytes) std::free(&c);
}

}  // namespace

object_ref settled_heap::copy(const object& o) {
  auto room = room_of(o);
  if (open_ && open_->used + room > settled_chunk_bytes) close();
  if (!open_) {
    auto* memory = std::aligned_alloc(settled_chunk_bytes, settled_chunk_bytes);
    kedge_assert(memory != nullptr);
    open_ = new (memory) settled_chunk;
  }
  auto* at = reinterpret_cast<char*>(open_) + open_->used;
  open_->used += room;
  // Whoever drops objects of this chunk meanwhile leaves the one that says that it is open: nothing is ordered by this.
  open_->live.fetch_add(room, std::memory_order_relaxed);
  return object_access::copy_to(at, o);
}

bool settled_heap::would_help(const object& o) const noexcept {
  if (room_of(o) > settled_object_max) return false;
  if (!object_access::is_settled(o)) return true;
  auto& c = chunk_of(o);
  return &c != open_ && c.live.load(std::memory_order_relaxed) < settled_chunk_bytes / 2;
}

void settled_heap::close() noexcept {
  if (auto* c = std::exchange(open_, nullptr)) drop(*c, 1);
}

void release_settled(const object& o) noexcept { drop(chunk_of(o), room_of(o)); }

}  // namespace kedge::store
