// offload.h: what must block (fsync, scrypt, a long encoding) runs on a small pool of threads and answers through the
// loop's mailbox. Names wait for servers elsewhere, half a minute each when these are dead: they have threads of their
// own, so that files and hashes wait for none of them.
#pragma once

#include <functional>
#include <memory>

#include "reactor/sync.h"

namespace kedge::reactor {

// Runs `f` on the pool (started at first use, offload_threads_max threads). From any thread. Bounded: beyond
// offload_queue_max waiting jobs it returns false and drops `f`.
bool offload_post(std::move_only_function<void()> f);

// Runs `f` on the pool and gives its value on this loop. Dropping the task abandons the answer; `f` owns what it uses,
// since it runs to its end all the same. errc::exhausted when too much waits already.
template <typename F, typename R = std::invoke_result_t<F>>
task<result<R>> offload(F f) {
  struct shared {
    std::optional<R> value;
    event done;
  };
  auto state = std::make_shared<shared>();
  auto& home = loop::current();
  // The mailbox, not the loop: nobody waits for a job whose asker was dropped, not even the loop's end.
  bool accepted = home.io().offload([f = std::move(f), state, mail = home.mail()]() mutable {
    auto value = std::make_shared<R>(f());
    mail->post([state = std::move(state), value = std::move(value)] {
      state->value.emplace(std::move(*value));
      state->done.set();
    });
  });
  if (!accepted) co_return fail(errc::exhausted, "too many blocking operations wait already");
  co_await state->done.wait();
  co_return std::move(*state->value);
}

// How long a name is looked up for one who asks: longer than two attempts at each of two servers by the resolver's
// default.
inline constexpr std::chrono::seconds name_time_max{25};
// getaddrinfo: the addresses of `host` (an address passes through), in the resolver's order, never empty. errc::timeout
// when the name servers don't answer for so long; the look-up goes on, for whoever asks again.
task<result<std::vector<std::string>>> resolve(std::string host, duration patience = name_time_max);

}  // namespace kedge::reactor
