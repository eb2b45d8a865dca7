// cores.h: the process's loops, one a core, and calls between them.
#pragma once

#include <thread>
#include <vector>

#include "reactor/offload.h"
#include "reactor/sync.h"

namespace kedge::reactor {

// Loop 0 runs on the thread that calls run(); the others have threads of their own. Background loops are for work that
// may take long: nobody's requests come to them, and the kernel shares the processors between them and the others.
class cores {
 public:
  // `count` >= 1. Fails as make_backend does.
  static result<std::unique_ptr<cores>> make(std::size_t count, io_backend which, std::size_t background = 0);
  ~cores();

  // Those that serve.
  std::size_t size() const noexcept { return serving_; }
  loop& operator[](std::size_t i) noexcept { return *loops_[i]; }
  std::size_t backgrounds() const noexcept { return loops_.size() - serving_; }
  loop& background(std::size_t i) noexcept { return *loops_[serving_ + i]; }
  // Runs every loop until stop(); then ends them, the first last.
  void run();
  void stop() noexcept;  // from any thread

 private:
  cores() = default;
  std::size_t serving_ = 0;
  std::vector<std::unique_ptr<loop>> loops_;  // the background ones last
  std::vector<std::thread> threads_;
};

namespace detail {
// Its code is there once for a type of answer, not for each callable.
template <typename T>
task<T> call_on(loop& target, std::move_only_function<task<T>()> f) {
  auto& home = loop::current();
  if (&target == &home) co_return co_await f();
  struct shared {
    std::optional<T> value;
    event done;
  };
  auto state = std::make_shared<shared>();
  target.post([f = std::move(f), state, &home, &target]() mutable {
    target.spawn([](std::move_only_function<task<T>()> callee, std::shared_ptr<shared> s, loop& h) -> task<void> {
      auto value = std::make_shared<T>(co_await callee());
      h.post([s = std::move(s), value = std::move(value)] {
        s->value.emplace(std::move(*value));
        s->done.set();
      });
    }(std::move(f), std::move(state), home));
  });
  co_await state->done.wait();
  co_return std::move(*state->value);
}
}  // namespace detail

// Runs f() (a callable that gives task<T>) on `target` and gives its value here. When the two are the same it is a
// plain call. Dropping the caller does not stop the callee: it ends by its own deadline and its answer is dropped.
template <typename F, typename Task = std::invoke_result_t<F>>
Task call_on(loop& target, F f) {
  return detail::call_on<typename Task::value_type>(target, std::move(f));
}

}  // namespace kedge::reactor
