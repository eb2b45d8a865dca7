// log.h: warnings, into the fifo "log" of the bundle, which containerd reads into its own log.
#pragma once

#include <string_view>

namespace kedge::shim {

// The folder of the fifo. Until it is called, and where nobody reads the fifo, warnings are dropped.
void open_log(std::string_view bundle);
void log(std::string_view message);

}  // namespace kedge::shim
