#include "cel/arena.h"

#include <algorithm>
#include <cstring>

#include "base/in_parts.h"

namespace kedge::cel {

namespace {
constexpr std::size_t block_bytes = 16 * 1024;
}

arena::~arena() {
  for (auto it = ends_.rbegin(); it != ends_.rend(); ++it) it->destroy(it->object);
}

void arena::end_part() {
  work_ = 0;
  if (when_a_part_is_done_ == at_part::pause) in_parts::pause();
  cut_ = when_a_part_is_done_ == at_part::cut || in_parts::is_dropped();
}

void* arena::allocate(std::size_t size, std::size_t alignment) {
  auto at = reinterpret_cast<std::uintptr_t>(next_);
  const std::size_t skip = (alignment - at % alignment) % alignment;
  if (skip + size > left_) {
    const std::size_t block = std::max(block_bytes, size + alignment);
    blocks_.push_back(std::make_unique_for_overwrite<std::byte[]>(block));
    next_ = blocks_.back().get();
    left_ = block;
    used_ += block;
    return allocate(size, alignment);
  }
  std::byte* made = next_ + skip;
  next_ += skip + size;
  left_ -= skip + size;
  return made;
}

std::string_view arena::copy(std::string_view text) {
  if (text.empty()) return {};
  char* to = space<char>(text.size());
  std::memcpy(to, text.data(), text.size());
  return {to, text.size()};
}

}  // namespace kedge::cel
