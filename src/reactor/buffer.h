// buffer.h: received bytes on loan. A buffer goes back to its owner (the kernel's buffer ring, a pool, the heap) when
// it ends, so that an idle connection holds none. Move-only; must not outlive its owner (the loop's backend).
#pragma once

#include <cstdlib>
#include <utility>

#include "base/bytes.h"

namespace kedge::reactor {

class buffer_owner {
 public:
  virtual void give_back(std::byte* data, unsigned id) noexcept = 0;

 protected:
  ~buffer_owner() = default;
};

class buffer {
 public:
  buffer() noexcept = default;
  // `data` of `size` bytes, valid until `owner.give_back(data, id)`.
  buffer(std::byte* data, std::size_t size, buffer_owner& owner, unsigned id = 0) noexcept
      : data_(data), size_(size), owner_(&owner), id_(id) {}
  buffer(buffer&& o) noexcept
      : data_(std::exchange(o.data_, nullptr)),
        offset_(std::exchange(o.offset_, 0)),
        size_(std::exchange(o.size_, 0)),
        owner_(std::exchange(o.owner_, nullptr)),
        id_(o.id_) {}
  buffer& operator=(buffer&& o) noexcept {
    if (this != &o) {
      release();
      data_ = std::exchange(o.data_, nullptr);
      offset_ = std::exchange(o.offset_, 0);
      size_ = std::exchange(o.size_, 0);
      owner_ = std::exchange(o.owner_, nullptr);
      id_ = o.id_;
    }
    return *this;
  }
  ~buffer() { release(); }

  // Heap memory; give_back frees it.
  static buffer allocate(std::size_t capacity);

  bool empty() const noexcept { return size_ == 0; }
  std::size_t size() const noexcept { return size_; }
  bytes view() const noexcept { return {data_ + offset_, size_}; }
  mutable_bytes writable() noexcept { return {data_ + offset_, size_}; }
  void consume(std::size_t n) noexcept {
    offset_ += n;
    size_ -= n;
  }
  void truncate(std::size_t n) noexcept { size_ = n < size_ ? n : size_; }
  void release() noexcept {
    if (owner_) std::exchange(owner_, nullptr)->give_back(std::exchange(data_, nullptr), id_);
    size_ = offset_ = 0;
  }

 private:
  std::byte* data_ = nullptr;
  std::size_t offset_ = 0;
  std::size_t size_ = 0;
  buffer_owner* owner_ = nullptr;
  unsigned id_ = 0;
};

}  // namespace kedge::reactor
