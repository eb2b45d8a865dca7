#include "reactor/task.h"

#include <cstdlib>
#include <new>

#include "reactor/limits.h"

namespace kedge::reactor {

namespace {

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define KEDGE_PLAIN_FRAMES 1  // so that the sanitizer sees every frame's end
#endif
#endif

// Size classes of 64 bytes up to 2 KiB, and of 1 KiB up to 32 KiB (a write's frames hold those of what it calls);
// larger frames come from the heap each time. The heap's own lists end at 1 KiB, and keep seven of a size.
constexpr std::size_t small_bytes = 64, small_max = 2048;
constexpr std::size_t large_bytes = 1024, large_max = 32 * 1024;
constexpr std::size_t small_count = small_max / small_bytes;
constexpr std::size_t class_count = small_count + (large_max - small_max) / large_bytes;

struct size_class {
  std::size_t index, bytes;
};
constexpr size_class class_of(std::size_t size) {
  if (size <= small_max) {
    auto i = (size - 1) / small_bytes;
    return {i, (i + 1) * small_bytes};
  }
  auto i = (size - small_max - 1) / large_bytes;
  return {small_count + i, small_max + (i + 1) * large_bytes};
}
static_assert(class_of(large_max).index == class_count - 1 && class_of(large_max).bytes == large_max);

struct free_lists {
  struct node {
    node* next;
  };
  node* heads[class_count] = {};
  std::size_t kept_bytes = 0;
  ~free_lists() {
    for (auto& h : heads)
      while (h) std::free(std::exchange(h, h->next));
  }
};
thread_local free_lists frames;

}  // namespace

void* allocate_frame(std::size_t size) {
#ifndef KEDGE_PLAIN_FRAMES
  if (size <= large_max) {
    auto c = class_of(size);
    if (auto* n = frames.heads[c.index]) {
      frames.heads[c.index] = n->next;
      frames.kept_bytes -= c.bytes;
      return n;
    }
    size = c.bytes;
  }
#endif
  auto* p = std::malloc(size);
  if (!p) std::abort();
  return p;
}

void free_frame(void* frame, [[maybe_unused]] std::size_t size) noexcept {
#ifndef KEDGE_PLAIN_FRAMES
  auto c = class_of(size);
  // One of each small size always: who waits frees a frame and takes one of the same size, whatever a burst has left
  // here.
  bool keep = frames.kept_bytes + c.bytes <= free_frames_max_bytes || (size <= small_max && !frames.heads[c.index]);
  if (size <= large_max && keep) {
    frames.heads[c.index] = new (frame) free_lists::node{frames.heads[c.index]};
    frames.kept_bytes += c.bytes;
    return;
  }
#endif
  std::free(frame);
}

}  // namespace kedge::reactor
