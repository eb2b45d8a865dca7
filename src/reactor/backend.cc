#include "base/log.h"
#include "reactor/backends.h"

namespace kedge::reactor {

result<std::unique_ptr<backend>> make_backend(io_backend which) {
  if (which == io_backend::epoll) return make_epoll_backend();
  auto uring = make_uring_backend();
  if (uring || which == io_backend::io_uring) return uring;
  log::info("io_uring is not available ({}); using epoll", uring.error().message);
  return make_epoll_backend();
}

}  // namespace kedge::reactor
