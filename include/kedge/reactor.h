// kedge/reactor.h: an event loop a core, and coroutines on it. Everything else in include/kedge stands on this.
//
//   kedge::task<T>            lazy; owned by one awaiter or one scope. Dropping it cancels it where it waits.
//   reactor::scope            runs tasks beside each other; its end is theirs. Nothing runs without one.
//   reactor::loop             one core's loop (io_uring, else epoll): loop.run_until(task), or cores.h for one a core
//   reactor::event, semaphore with_deadline(task, when), with_stop(task, event): waiting, in bounded time
//   reactor::stream, listener, network; os_network(): connections. A program that takes a network runs in a simulated
//   one too kedge::result<T>          a value or an error (code and text); nothing here throws, and
//   nothing may be thrown through it: what leaves a callback ends the process
//
// What belongs to a loop is used on its thread alone. loop::post() is how another thread hands it work.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "base/time.h"
#include "reactor/cores.h"
#include "reactor/loop.h"
#include "reactor/offload.h"
#include "reactor/scope.h"
#include "reactor/stream.h"
#include "reactor/sync.h"
#include "reactor/task.h"
