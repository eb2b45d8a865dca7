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

namespace detail {

enum class threads : unsigned char { pool, remote };  // those of offload_post, or of offload_post_remote

// Runs `job` there and ends when it ran; the job itself ends on this loop. errc::exhausted when too much waits there
// already.
task<result<void>> run_apart(threads where, std::move_only_function<void()> job);

// Its code is there once for a type of value, not for each of some hundred jobs.
template <typename R>
task<result<R>> value_of(threads where, std::move_only_function<R()> f) {
  auto value = std::make_shared<std::optional<R>>();  // the job's, too: who waits may be dropped
  KEDGE_CO_CHECK(co_await run_apart(where, [value, f = std::move(f)]() mutable {
    value->emplace(f());
    f = nullptr;  // what it held goes here, the value there
  }));
  co_return std::move(**value);
}

}  // namespace detail

// Runs `f` on the pool and gives its value on this loop. Dropping the task abandons the answer; `f` owns what it uses,
// since it runs to its end all the same. errc::exhausted when too much waits already.
template <typename F, typename R = std::invoke_result_t<F>>
task<result<R>> offload(F f) {
  return detail::value_of<R>(detail::threads::pool, std::move(f));
}

// How long a name is looked up for one who asks: longer than two attempts at each of two servers by the resolver's
// default.
inline constexpr std::chrono::seconds name_time_max{25};
// getaddrinfo: the addresses of `host` (an address passes through), in the resolver's order, never empty. errc::timeout
// when the name servers don't answer for so long; the look-up goes on, for whoever asks again.
task<result<std::vector<std::string>>> resolve(std::string host, duration patience = name_time_max);

}  // namespace kedge::reactor
