// block_pool.h: memory blocks of one size, kept for reuse by their thread: what a request needs for a moment and an
// idle connection not at all.
#pragma once

#include <cstdlib>
#include <memory>

#include "reactor/buffer.h"

namespace kedge::net {

template <std::size_t Size, std::size_t Keep>
class block_pool {
 public:
  struct give_back {
    void operator()(std::byte* p) const noexcept { block_pool::put(p); }
  };
  using block = std::unique_ptr<std::byte, give_back>;
  static block take() { return block(raw()); }
  // The block as a received buffer.
  static reactor::buffer take_buffer() { return reactor::buffer(raw(), Size, owner()); }

 private:
  struct kept {
    std::byte* blocks[Keep];
    std::size_t count = 0;
    ~kept() {
      while (count) std::free(blocks[--count]);
    }
  };
  static kept& mine() noexcept {
    thread_local kept k;
    return k;
  }
  static std::byte* raw() {
    auto& k = mine();
    if (k.count) return k.blocks[--k.count];
    auto* p = static_cast<std::byte*>(std::malloc(Size));
    if (!p) std::abort();
    return p;
  }
  static void put(std::byte* p) noexcept {
    auto& k = mine();
    if (k.count < Keep)
      k.blocks[k.count++] = p;
    else
      std::free(p);
  }
  struct pool_owner final : reactor::buffer_owner {
    void give_back(std::byte* p, unsigned) noexcept override { put(p); }
  };
  static pool_owner& owner() noexcept {
    static pool_owner o;
    return o;
  }
};

}  // namespace kedge::net
