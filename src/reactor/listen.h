// listen.h: a port that a process which was killed still holds for some moments.
#pragma once

#include "reactor/stream.h"
#include "reactor/task.h"

namespace kedge::reactor {

// The kernel takes some milliseconds, on a busy machine a hundred times as many; another program stays.
inline constexpr duration listen_wait = std::chrono::seconds(2);

// As network::listen(), but waits for an address that is in use: what io_uring had begun for a process ends behind its
// back, so its sockets may be there after it was reaped. Who is started again at once would end with EADDRINUSE
// otherwise.
task<result<std::unique_ptr<listener>>> listen_when_free(network& on, endpoint at, listen_options options = {},
                                                         duration most = listen_wait);

// As listen_when_free(), of several cores' listeners (options.reuse_port) the first: nobody else's may be there, not
// even one that shares the port likewise and is about to end. The kernel would give that a share of the connections.
task<result<std::unique_ptr<listener>>> listen_first(network& on, endpoint at, listen_options options,
                                                     duration most = listen_wait);

}  // namespace kedge::reactor
