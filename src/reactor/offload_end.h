// offload_end.h: the pools of offload.h at the end of the process.
#pragma once

#include <chrono>

namespace kedge::reactor {

// Waits until no job waits or runs, at most so long, and not at all for what waits for other machines; whether that is
// so. Jobs run to their end, whoever asked for them: while one runs, what the process's exit takes down (OpenSSL's
// tables, static objects) must stay.
bool offload_rest(std::chrono::milliseconds most);

}  // namespace kedge::reactor
