// task.h: task<T>, one conversation as a coroutine.
//
// A task is lazy: it runs when it is awaited (or spawned into a scope, scope.h), on the loop of its awaiter, and is
// owned by exactly that one. Dropping a task cancels it: its frame is destroyed where it waits, which destroys what it
// awaits, down to the timer or socket wait that takes itself out of its queue. So: no view or iterator into something
// that may change lives across co_await, and a destructor in a coroutine is all the clean-up that cancellation gets.
//
// A task must not be dropped while it runs (from something that it called): ask with an event and let the owner drop
// it.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "base/error.h"
#include "reactor/activity.h"
#include "reactor/list.h"

namespace kedge::reactor {

// What a loop resumes: it lives in the frame of the coroutine that waits, in at most one queue.
struct waiter : list_hook {
  std::coroutine_handle<> handle;
  const activity* of = activity::running();  // for whom it waits; may be gone when it is resumed
};

// Coroutine frames come from per-thread free lists by size: a conversation allocates and frees many of the same few
// sizes.
void* allocate_frame(std::size_t size);
void free_frame(void* frame, std::size_t size) noexcept;

template <typename T>
class task;

namespace detail {

struct task_promise_base {
  std::coroutine_handle<> continuation = std::noop_coroutine();

  static void* operator new(std::size_t size) { return allocate_frame(size); }
  static void operator delete(void* frame, std::size_t size) noexcept { free_frame(frame, size); }

  struct final_awaiter {
    bool await_ready() const noexcept { return false; }
    template <typename P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> h) const noexcept {
      return h.promise().continuation;
    }
    void await_resume() const noexcept {}
  };
  std::suspend_always initial_suspend() const noexcept { return {}; }
  final_awaiter final_suspend() const noexcept { return {}; }
  [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
};

template <typename T>
struct task_promise : task_promise_base {
  std::optional<T> value;
  task<T> get_return_object() noexcept;
  template <typename U>
  void return_value(U&& v) {
    value.emplace(std::forward<U>(v));
  }
  T take() {
    kedge_assert(value.has_value());
    return std::move(*value);
  }
};

template <>
struct task_promise<void> : task_promise_base {
  task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void take() const noexcept {}
};

}  // namespace detail

template <typename T = void>
class [[nodiscard]] task {
 public:
  using promise_type = detail::task_promise<T>;
  using value_type = T;

  task() noexcept = default;
  task(task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  task& operator=(task&& other) noexcept {
    if (this != &other) {
      drop();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~task() { drop(); }

  explicit operator bool() const noexcept { return static_cast<bool>(handle_); }
  void drop() noexcept {
    if (handle_) std::exchange(handle_, nullptr).destroy();
  }

  struct awaiter {
    std::coroutine_handle<promise_type> handle;
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiting) const noexcept {
      handle.promise().continuation = awaiting;
      return handle;
    }
    T await_resume() const { return handle.promise().take(); }
  };
  // The task stays the owner; the frame goes when the task goes (at the end of the full expression for a temporary).
  awaiter operator co_await() const& noexcept {
    kedge_assert(handle_);
    return {handle_};
  }

 private:
  friend promise_type;
  explicit task(std::coroutine_handle<promise_type> h) noexcept : handle_(h) {}
  std::coroutine_handle<promise_type> handle_;
};

namespace detail {
template <typename T>
task<T> task_promise<T>::get_return_object() noexcept {
  return task<T>(std::coroutine_handle<task_promise>::from_promise(*this));
}
inline task<void> task_promise<void>::get_return_object() noexcept {
  return task<void>(std::coroutine_handle<task_promise>::from_promise(*this));
}
}  // namespace detail

}  // namespace kedge::reactor

namespace kedge {
using reactor::task;
}
