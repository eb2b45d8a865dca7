// bundle.h: what the shim leaves in a container's bundle, the folder that containerd made for it, for whoever cleans up
// after a shim that died: another process, `delete` (cleanup.h).
//
//   runtime        the OCI runtime's path        options.json  how it is called; both named as the Go shim's
//   init.pid       written by the runtime        exit          status and time of an init that ended
//   address        where this container's shim listens
#pragma once

#include <string>

#include "base/error.h"
#include "shim/loop.h"
#include "shim/messages.h"

namespace kedge::shim {

result<void> write_runtime(const std::string& bundle, const runtime_options& o);
// The options as they were written; `binary` is the runtime's path. Of a bundle that has none: empty ones.
runtime_options read_runtime(const std::string& bundle);

// A pid as the runtime writes it.
result<int> read_pid(const std::string& file);

void write_exit(const std::string& bundle, const exit_state& e);
result<exit_state> read_exit(const std::string& bundle);

// Whether processes that are not init's children's can outlive it: the pid namespace isn't the container's own.
bool shares_pids(const std::string& bundle);

// The label or annotation that says which containers share a shim; the container's own id without one.
std::string group_of(const std::string& bundle, const std::string& id);

}  // namespace kedge::shim
