// serve.cc: the shim of a pod, as long as it has containers: loop, server, service and publisher put together.

#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "shim/arguments.h"
#include "shim/limits.h"
#include "shim/log.h"
#include "shim/publisher.h"
#include "shim/server.h"
#include "shim/service.h"

namespace kedge::shim {

namespace {

constexpr int socket_fd = 3;

// What a call needed is given back after it: a shim rests nearly always.
void keep_heap_small() {
  ::mallopt(M_TRIM_THRESHOLD, 4096);
  ::mallopt(M_TOP_PAD, 4096);
  ::mallopt(M_MMAP_THRESHOLD, 64 * 1024);
}

std::string own_path() {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket_fd, reinterpret_cast<sockaddr*>(&address), &size) < 0 || address.sun_family != AF_UNIX)
    return {};
  return address.sun_path;
}

// The last events are told first. A container that is created meanwhile keeps us; a signal doesn't wait for any.
task<void> end(loop& l, publisher& p, const service& s, bool& ending, bool asked) {
  if (!co_await p.flush(now_ms() + last_events_ms)) log("the last events were not taken by containerd");
  if (asked && !s.is_idle())
    ending = false;
  else
    l.stop();
}

std::string variable(const char* name) {
  auto* value = std::getenv(name);
  return value ? value : "";
}

}  // namespace

int serve(const arguments& a) {
  keep_heap_small();
  auto path = own_path();
  if (path.empty()) {
    std::fprintf(stderr,
                 "containerd-shim-kedge-v2: descriptor 3 is no socket; containerd runs this program, with `start`\n");
    return 1;
  }
  ::fcntl(socket_fd, F_SETFD, FD_CLOEXEC);
  // Containers' processes are left to us when the runtime that began them has ended.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  // Its bundle goes before it does, if others of the pod are left.
  char here[PATH_MAX];
  if (::getcwd(here, sizeof here)) open_log(here);
  (void)!::chdir("/");

  loop l;
  publisher events(l, {.space = a.space,
                       .ttrpc_address = variable("TTRPC_ADDRESS"),
                       .address = a.address,
                       .program = a.publish_binary});
  bool ending = false;
  service* all = nullptr;
  auto shut_down = [&](bool asked) {
    if (!std::exchange(ending, true)) detach(end(l, events, *all, ending, asked));
  };
  service tasks(l, events, {.space = a.space, .socket_path = path}, [&] { shut_down(true); });
  all = &tasks;
  {
    server s(l, descriptor(socket_fd),
             [&](const ttrpc::request& r, reply answer) { tasks.call(r, std::move(answer)); });
    l.run([&] { shut_down(false); });
    ::unlink(path.c_str());
  }
  // Without destructors: calls may still wait, and nothing of them is on disk.
  ::_exit(0);
}

}  // namespace kedge::shim
