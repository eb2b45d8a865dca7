// offload_remote.h: what only waits for other machines, and blocks meanwhile (a library that knows no other way to
// connect), runs on the threads that look names up: files and hashes wait for none of it.
#pragma once

#include <functional>
#include <type_traits>
#include <utility>

#include "reactor/offload.h"

namespace kedge::reactor {

// As offload_post of offload.h. Whoever posts bounds how long `f` waits.
bool offload_post_remote(std::move_only_function<void()> f);

// As offload() of offload.h, on real threads in every world.
template <typename F, typename R = std::invoke_result_t<F>>
task<result<R>> offload_remote(F f) {
  return detail::value_of<R>(detail::threads::remote, std::move(f));
}

}  // namespace kedge::reactor
