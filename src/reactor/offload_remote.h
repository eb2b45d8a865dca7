// offload_remote.h: what only waits for other machines, and blocks meanwhile (a library that knows no other way to
// connect), runs on the threads that look names up: files and hashes wait for none of it.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "reactor/sync.h"

namespace kedge::reactor {

// As offload_post of offload.h. Whoever posts bounds how long `f` waits.
bool offload_post_remote(std::move_only_function<void()> f);

// As offload() of offload.h, on real threads in every world.
template <typename F, typename R = std::invoke_result_t<F>>
task<result<R>> offload_remote(F f) {
  struct shared {
    std::optional<R> value;
    event done;
  };
  auto state = std::make_shared<shared>();
  bool accepted = offload_post_remote([f = std::move(f), state, mail = loop::current().mail()]() mutable {
    auto value = std::make_shared<R>(f());
    mail->post([state = std::move(state), value = std::move(value)] {
      state->value.emplace(std::move(*value));
      state->done.set();
    });
  });
  if (!accepted) co_return fail(errc::exhausted, "too much waits for other machines already");
  co_await state->done.wait();
  co_return std::move(*state->value);
}

}  // namespace kedge::reactor
