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

}  // namespace kedge::reactor
