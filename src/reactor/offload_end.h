// offload_end.h: the pool of offload.h (not that of names, which nobody has to wait for) at the end of the process.
#pragma once

#include <chrono>

namespace kedge::reactor {

// Waits until no job waits or runs, at most so long; whether that is so. Jobs run to their end, whoever asked for them:
// while one runs, what the process's exit takes down (OpenSSL's tables, static objects) must stay.
bool offload_rest(std::chrono::milliseconds most);

}  // namespace kedge::reactor
