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

// Size classes of 64 bytes up to 2 KiB; larger frames (rare) come from the heap each time.
constexpr std::size_t class_bytes = 64;
constexpr std::size_t class_count = 32;

struct free_lists {
  struct node {
    node* next;
  };
  node* heads[class_count] = {};
  std::size_t counts[class_count] = {};
  ~free_lists() {
    for (auto& h : heads)
      while (h) std::free(std::exchange(h, h->next));
  }
};
thread_local free_lists frames;

}  // namespace

void* allocate_frame(std::size_t size) {
#ifndef KEDGE_PLAIN_FRAMES
  auto c = (size - 1) / class_bytes;
  if (c < class_count) {
    if (auto* n = frames.heads[c]) {
      frames.heads[c] = n->next;
      --frames.counts[c];
      return n;
    }
    size = (c + 1) * class_bytes;
  }
#endif
  auto* p = std::malloc(size);
  if (!p) std::abort();
  return p;
}

void free_frame(void* frame, [[maybe_unused]] std::size_t size) noexcept {
#ifndef KEDGE_PLAIN_FRAMES
  auto c = (size - 1) / class_bytes;
  if (c < class_count && frames.counts[c] < free_frames_max) {
    auto* n = new (frame) free_lists::node{frames.heads[c]};
    frames.heads[c] = n;
    ++frames.counts[c];
    return;
  }
#endif
  std::free(frame);
}

}  // namespace kedge::reactor
