// backends.h: the constructors of the two operating-system backends. Internal to the reactor.
#pragma once

#include "reactor/loop.h"

namespace kedge::reactor {

result<std::unique_ptr<backend>> make_uring_backend();
result<std::unique_ptr<backend>> make_epoll_backend();

}  // namespace kedge::reactor
