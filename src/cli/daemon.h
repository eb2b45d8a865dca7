// daemon.h: what `kedge server` and `kedge agent` have in common as processes.
#pragma once

#include <functional>

#include "cli/options.h"
#include "reactor/cores.h"
#include "reactor/signal.h"

namespace kedge::cli {

reactor::io_backend io_backend_of(std::string_view name);

// Runs the loops with `main` on the first, until it is done; its value is the process's exit code.
int run_on(reactor::cores& cores, std::function<task<int>()> main);

// SIGTERM, SIGINT and SIGHUP as something to wait for. The first asks for an orderly end; a second ends the process
// with 1.
result<reactor::signal_waiter> end_signals();
task<void> stop_on_signal(reactor::signal_waiter& signals, reactor::event& stop);

// This process becomes another one, of the same program with the same arguments and environment. Comes back when that
// fails, with `code`. After run_on().
int begin_anew(int code);

// sd_notify(READY=1), when systemd asked for it.
void notify_ready();
void notify_stopping();

// Gives back what only the start needed: freed heap, and the pages of programs and libraries that aren't used again
// (they are read from the file when they are). Blocking, for milliseconds: on the offload pool.
void release_startup_memory();

// As many descriptors as the hard limit allows: each connection and watch needs one.
void raise_descriptor_limit();

}  // namespace kedge::cli
