// arena.h: where an evaluation's values live. What is made in an arena stays until the arena ends; nothing is freed in
// between. One evaluation at a time uses it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "cel/limits.h"

namespace kedge::cel {

class arena {
 public:
  arena() = default;
  arena(const arena&) = delete;
  arena& operator=(const arena&) = delete;
  ~arena();

  // Never null. Beyond memory_max_bytes `full()` becomes true, and whoever runs an expression ends it; what is asked
  // for until then is given, so it must be bounded by the caller's own data.
  void* allocate(std::size_t size, std::size_t alignment);
  bool full() const noexcept { return used_ > memory_max_bytes || comparisons_ > comparisons_max || cut_; }
  // What was asked for is not given (it would be too large): full from now on.
  void refuse() noexcept { used_ = memory_max_bytes + 1; }
  // An element was compared.
  void compared() {
    ++comparisons_;
    worked(work_of_comparison);
  }
  // So many steps were done.
  void worked(std::size_t steps) {
    work_ += steps;
    if (work_ > part_ && when_a_part_is_done_ != at_part::go_on) [[unlikely]]
      end_part();
  }

  // What happens when a part's worth of work is done (paced.h): nothing, or whoever runs an expression ends it, as if
  // the arena were full, or in_parts::pause().
  enum class at_part : unsigned char { go_on, cut, pause };
  void count_parts(at_part what, std::size_t part = part_work) noexcept {
    when_a_part_is_done_ = what;
    part_ = part;
    work_ = 0;
    cut_ = false;
  }
  // What was run last was ended so, and means nothing.
  bool was_cut() const noexcept { return cut_; }

  // Whether so many bytes more would still be within the bound: to be asked before something large is made.
  bool has_room(std::size_t bytes) const noexcept {
    return bytes <= memory_max_bytes && used_ <= memory_max_bytes - bytes;
  }

  // An object, destroyed with the arena.
  template <typename T, typename... Args>
  T* make(Args&&... args) {
    T* made = new (allocate(sizeof(T), alignof(T))) T(std::forward<Args>(args)...);
    if constexpr (!std::is_trivially_destructible_v<T>)
      ends_.push_back({made, [](void* p) { static_cast<T*>(p)->~T(); }});
    return made;
  }
  // Uninitialised space for n of a trivial type.
  template <typename T>
  T* space(std::size_t n) {
    static_assert(std::is_trivially_destructible_v<T>);
    return static_cast<T*>(allocate(n * sizeof(T), alignof(T)));
  }
  std::string_view copy(std::string_view text);

 private:
  void end_part();

  struct end {
    void* object;
    void (*destroy)(void*);
  };
  // Most rules of custom resources need no more than this, and so allocate nothing.
  alignas(std::max_align_t) std::byte first_[1024];
  std::byte* next_ = first_;
  std::size_t left_ = sizeof(first_);
  std::size_t used_ = 0;
  std::size_t comparisons_ = 0, work_ = 0, part_ = part_work;
  at_part when_a_part_is_done_ = at_part::go_on;
  bool cut_ = false;
  std::vector<std::unique_ptr<std::byte[]>> blocks_;
  std::vector<end> ends_;
};

}  // namespace kedge::cel
