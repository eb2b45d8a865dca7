#include "reactor/buffer.h"

#include <new>

namespace kedge::reactor {

namespace {
class heap_owner final : public buffer_owner {
 public:
  void give_back(std::byte* data, unsigned) noexcept override { std::free(data); }
};
heap_owner heap;
}  // namespace

buffer buffer::allocate(std::size_t capacity) {
  auto* p = static_cast<std::byte*>(std::malloc(capacity ? capacity : 1));
  if (!p) std::abort();
  return buffer(p, capacity, heap);
}

}  // namespace kedge::reactor
