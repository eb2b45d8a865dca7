#include "reactor/scope.h"

#include "reactor/loop.h"

namespace kedge::reactor {

struct scope::child_promise : list_hook {
  scope* owner = nullptr;
  task<void> work;  // owned here, so that destroying the child destroys what it runs

  child_promise(scope& s, task<void>& t) noexcept : owner(&s), work(std::move(t)) {}
  static void* operator new(std::size_t size) { return allocate_frame(size); }
  static void operator delete(void* frame, std::size_t size) noexcept { free_frame(frame, size); }

  std::coroutine_handle<child_promise> get_return_object() noexcept {
    return std::coroutine_handle<child_promise>::from_promise(*this);
  }
  std::suspend_always initial_suspend() const noexcept { return {}; }
  struct last {
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<child_promise> h) const noexcept {
      auto* parent = h.promise().owner;
      h.destroy();
      parent->ended();
    }
    void await_resume() const noexcept {}
  };
  last final_suspend() const noexcept { return {}; }
  void return_void() const noexcept {}
  [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
};

struct scope::child {
  using promise_type = child_promise;
  std::coroutine_handle<child_promise> handle;
  child(std::coroutine_handle<child_promise> h) noexcept : handle(h) {}

  static child run(scope& s, task<void>& t);
};

namespace {
struct own_promise {  // gives the coroutine its own promise
  task<void>* work = nullptr;
  bool await_ready() const noexcept { return false; }
  template <typename P>
  bool await_suspend(std::coroutine_handle<P> h) noexcept {
    work = &h.promise().work;
    return false;
  }
  task<void>& await_resume() const noexcept { return *work; }
};
}  // namespace

scope::child scope::child::run(scope&, task<void>&) {
  auto& work = co_await own_promise{};
  co_await work;
}

void scope::spawn(task<void> t) {
  auto c = child::run(*this, t);
  children_.push_back(c.handle.promise());
  ++size_;
  const auto* before = activity::running_;
  c.handle.resume();
  activity::running_ = before;  // the child's may be another
}

void scope::ended() noexcept {
  --size_;
  if (size_ == 0)
    while (!joining_.empty()) loop::current().schedule(joining_.front());
}

void scope::cancel() noexcept {
  while (!children_.empty()) {
    auto& p = children_.front();
    --size_;
    std::coroutine_handle<child_promise>::from_promise(p).destroy();  // unlinks itself
  }
  if (!joining_.empty())
    while (!joining_.empty()) loop::current().schedule(joining_.front());
}

void scope::join_awaiter::await_suspend(std::coroutine_handle<> h) noexcept {
  handle = h;
  owner.joining_.push_back(*this);
}

}  // namespace kedge::reactor
