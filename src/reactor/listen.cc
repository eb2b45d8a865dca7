#include "reactor/listen.h"

#include <cerrno>

#include "reactor/loop.h"

namespace kedge::reactor {

task<result<std::unique_ptr<listener>>> listen_when_free(network& on, endpoint at, listen_options options,
                                                         duration most) {
  for (auto end = loop::current().now() + most;;) {
    auto l = on.listen(at, options);
    if (l || l.error().os_error != EADDRINUSE || loop::current().now() >= end) co_return l;
    co_await sleep_for(std::chrono::milliseconds(10));
  }
}

task<result<std::unique_ptr<listener>>> listen_first(network& on, endpoint at, listen_options options, duration most) {
  auto alone = options;
  alone.reuse_port = false;
  // Who shares nothing gets the port only when nobody has it.
  KEDGE_CO_TRY(auto free, co_await listen_when_free(on, at, alone, most));
  free = nullptr;
  co_return on.listen(at, options);
}

}  // namespace kedge::reactor
