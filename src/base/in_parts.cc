#include "base/in_parts.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <cstddef>
#include <utility>

#include "base/assert.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KEDGE_STACKS_ARE_WATCHED 1
#include <sanitizer/common_interface_defs.h>
#endif
#if __has_feature(thread_sanitizer)
#define KEDGE_THREADS_ARE_WATCHED 1
#include <sanitizer/tsan_interface.h>
#endif
#endif

namespace kedge {

namespace {

// As a thread's. Only what is used of it is memory.
constexpr std::size_t stack_bytes = std::size_t{8} << 20;
constexpr std::size_t guard_bytes = std::size_t{64} << 10;

}  // namespace

class in_parts::stack {
 public:
  explicit stack(std::move_only_function<void()> call) : call_(std::move(call)) {
    memory_ = ::mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (memory_ == MAP_FAILED || ::mprotect(memory_, guard_bytes, PROT_NONE) != 0) {
      give_back();
      return;
    }
    kedge_assert(::getcontext(&inside_) == 0);
    inside_.uc_stack.ss_sp = bottom();
    inside_.uc_stack.ss_size = usable;
    inside_.uc_link = &outside_;
    ::makecontext(&inside_, &stack::begin, 0);
#ifdef KEDGE_THREADS_ARE_WATCHED
    its_thread_ = __tsan_create_fiber(0);
#endif
  }
  stack(const stack&) = delete;
  ~stack() {
    dropped_ = true;
    while (begun_ && !ended_) step();
#ifdef KEDGE_THREADS_ARE_WATCHED
    if (its_thread_) __tsan_destroy_fiber(its_thread_);
#endif
    give_back();
  }

  bool step() {
    begun_ = true;
    if (!memory_) {
      call_();
      return ended_ = true;
    }
    auto* before = std::exchange(current_, this);
#ifdef KEDGE_STACKS_ARE_WATCHED
    void* ours = nullptr;
    __sanitizer_start_switch_fiber(&ours, bottom(), usable);
#endif
#ifdef KEDGE_THREADS_ARE_WATCHED
    caller_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(its_thread_, 0);
#endif
    ::swapcontext(&outside_, &inside_);
#ifdef KEDGE_STACKS_ARE_WATCHED
    __sanitizer_finish_switch_fiber(ours, nullptr, nullptr);
#endif
    current_ = before;
    return ended_;
  }

  void pause() {
    leave();
    ::swapcontext(&inside_, &outside_);
    came_back(its_own_);
  }
  bool is_dropped() const noexcept { return dropped_; }
  static stack* current() noexcept { return current_; }

 private:
  static constexpr std::size_t usable = stack_bytes - guard_bytes;
  void give_back() noexcept {
    if (memory_ && memory_ != MAP_FAILED) ::munmap(memory_, stack_bytes);
    memory_ = nullptr;
  }
  void* bottom() const noexcept { return static_cast<std::byte*>(memory_) + guard_bytes; }

  // Where a call begins and ends on two stacks, nobody may take notes of both.
  [[clang::disable_sanitizer_instrumentation]] static void begin() {
    auto* s = current_;
    s->came_back(nullptr);
    s->call_();
    s->ended_ = true;
    s->leave(true);
  }  // goes on in step()

  [[clang::disable_sanitizer_instrumentation]] void leave([[maybe_unused]] bool for_good = false) {
#ifdef KEDGE_STACKS_ARE_WATCHED
    __sanitizer_start_switch_fiber(for_good ? nullptr : &its_own_, caller_bottom_, caller_bytes_);
#endif
#ifdef KEDGE_THREADS_ARE_WATCHED
    __tsan_switch_to_fiber(caller_, 0);
#endif
  }
  void came_back([[maybe_unused]] void* own) {
#ifdef KEDGE_STACKS_ARE_WATCHED
    __sanitizer_finish_switch_fiber(own, &caller_bottom_, &caller_bytes_);
#endif
  }

  static inline thread_local stack* current_ = nullptr;

  std::move_only_function<void()> call_;
  void* memory_ = nullptr;  // null: there was no room, and the call is made as a whole
  ucontext_t outside_{}, inside_{};
  bool begun_ = false, ended_ = false, dropped_ = false;
  // What the sanitizers ask for.
  [[maybe_unused]] void* its_own_ = nullptr;
  [[maybe_unused]] const void* caller_bottom_ = nullptr;
  [[maybe_unused]] std::size_t caller_bytes_ = 0;
  [[maybe_unused]] void* its_thread_ = nullptr;
  [[maybe_unused]] void* caller_ = nullptr;
};

in_parts::in_parts(std::move_only_function<void()> call) : stack_(std::make_unique<stack>(std::move(call))) {}
in_parts::in_parts(in_parts&&) noexcept = default;
in_parts::~in_parts() = default;

bool in_parts::step() { return stack_->step(); }

void in_parts::pause() {
  if (auto* s = stack::current()) s->pause();
}

bool in_parts::is_dropped() noexcept {
  auto* s = stack::current();
  return s && s->is_dropped();
}

}  // namespace kedge
