#include "cli/daemon.h"

#include <link.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "cli/heap.h"
#include "crypto/files.h"

namespace kedge::cli {

namespace {

// sd_notify(3)'s protocol: a datagram to a socket that the environment names. libsystemd would do the same, and bring
// six libraries for the rest of it. Nobody is told why it failed: there is nobody to tell but the service manager.
void notify(std::string_view state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un to{.sun_family = AF_UNIX};
  auto size = path ? std::strlen(path) : 0;
  if (size < 2 || size >= sizeof to.sun_path || (path[0] != '/' && path[0] != '@')) return;
  std::memcpy(to.sun_path, path, size);
  if (path[0] == '@') to.sun_path[0] = 0;  // an abstract name
  int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size);
  (void)::sendto(fd, state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&to), length);
  ::close(fd);
}

using program_header = ElfW(Phdr);

// Relocations wrote to what isn't writable now.
bool has_text_relocations(const dl_phdr_info& object, const program_header& dynamic) {
  const auto* entry = reinterpret_cast<const ElfW(Dyn)*>(object.dlpi_addr + dynamic.p_vaddr);
  for (; entry->d_tag != DT_NULL; ++entry)
    if (entry->d_tag == DT_TEXTREL || (entry->d_tag == DT_FLAGS && (entry->d_un.d_val & DF_TEXTREL) != 0)) return true;
  return false;
}

// Lets go of the code and the constants of the program or of a library: of the segments to which nothing was ever
// written, so that the file has what they hold.
int release_object(dl_phdr_info* object, std::size_t, void*) {
  const std::string_view name = object->dlpi_name;
  if (!name.empty() && !name.contains('/')) return 0;  // the kernel's
  const std::span headers(object->dlpi_phdr, object->dlpi_phnum);
  for (const program_header& h : headers)
    if (h.p_type == PT_DYNAMIC && has_text_relocations(*object, h)) return 0;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  for (const program_header& h : headers) {
    if (h.p_type != PT_LOAD || (h.p_flags & PF_W) != 0) continue;
    const std::uintptr_t begin = (object->dlpi_addr + h.p_vaddr) / page * page;
    const std::uintptr_t end = (object->dlpi_addr + h.p_vaddr + h.p_memsz) / page * page;
    if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
  return 0;
}

}  // namespace

reactor::io_backend io_backend_of(std::string_view name) {
  if (name == "io_uring") return reactor::io_backend::io_uring;
  if (name == "epoll") return reactor::io_backend::epoll;
  return reactor::io_backend::automatic;
}

int run_on(reactor::cores& cores, std::function<task<int>()> main) {
  ::signal(SIGPIPE, SIG_IGN);
  raise_descriptor_limit();
  int code = 1;
  cores[0].post([&] {
    cores[0].spawn([](reactor::cores& all, std::function<task<int>()> run, int& out) -> task<void> {
      out = co_await run();
      all.stop();
    }(cores, std::move(main), code));
  });
  cores.run();
  return code;
}

int begin_anew(int code) {
  auto words = crypto::read_file("/proc/self/cmdline");
  if (!words) {
    log::error("beginning anew: {}", words.error().message);
    return code;
  }
  std::vector<char*> arguments;
  // Each ends with a NUL; the last one of a text that was cut off, with the string.
  for (std::size_t at = 0; at < words->size(); ++at) {
    arguments.push_back(words->data() + at);
    at = std::min(words->find('\0', at), words->size());
  }
  arguments.push_back(nullptr);
  log::info("beginning anew, as process {} still", ::getpid());
  sigset_t none;
  ::sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
  ::execv("/proc/self/exe", arguments.data());
  log::error("beginning anew: {}", std::strerror(errno));
  return code;
}

result<reactor::signal_waiter> end_signals() { return reactor::signal_waiter::make({SIGTERM, SIGINT, SIGHUP}); }

task<void> stop_on_signal(reactor::signal_waiter& signals, reactor::event& stop) {
  for (;;) {
    auto n = co_await signals.next();
    if (!n) {
      log::error("{}", n.error().message);
      stop.set();
      co_return;
    }
    if (*n == SIGHUP) continue;  // a lost terminal; nothing is re-read
    if (stop.is_set()) {
      log::warning("second signal: ending at once");
      ::_exit(1);
    }
    log::info("received {}: draining and shutting down", *n == SIGTERM ? "SIGTERM" : "SIGINT");
    notify_stopping();
    stop.set();
  }
}

void notify_ready() { notify("READY=1"); }
void notify_stopping() { notify("STOPPING=1"); }

void release_startup_memory() {
  release_free_heap();
  ::dl_iterate_phdr(release_object, nullptr);
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
}

}  // namespace kedge::cli
