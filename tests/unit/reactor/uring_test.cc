// uring_test.cc: what the kernel may say to io_uring's calls, put into its mouth: this program's functions stand in
// front of the library's.
#include <dlfcn.h>
#include <liburing.h>

#include <atomic>
#include <cerrno>

#include "reactor/stream.h"
#include "reactor_backends.h"

using namespace kedge;
using namespace kedge::reactor;

namespace {

std::atomic<int> refusals{0};  // to come
std::atomic<int> refused{0};
std::atomic<int> with{0};

template <typename F, typename... A>
int through(const char* name, A... arguments) {
  if (refusals.load() > 0) {
    --refusals;
    ++refused;
    return with.load();
  }
  static auto* real = reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name));
  return real(arguments...);
}

}  // namespace

extern "C" {
int io_uring_submit(io_uring* ring) { return through<int(io_uring*)>("io_uring_submit", ring); }
int io_uring_submit_and_wait(io_uring* ring, unsigned n) {
  return through<int(io_uring*, unsigned)>("io_uring_submit_and_wait", ring, n);
}
int io_uring_submit_and_get_events(io_uring* ring) {
  return through<int(io_uring*)>("io_uring_submit_and_get_events", ring);
}
int io_uring_submit_and_wait_timeout(io_uring* ring, io_uring_cqe** cqe, unsigned n, __kernel_timespec* ts,
                                     sigset_t* mask) {
  return through<int(io_uring*, io_uring_cqe**, unsigned, __kernel_timespec*, sigset_t*)>(
      "io_uring_submit_and_wait_timeout", ring, cqe, n, ts, mask);
}
}

TEST_CASE("a kernel without memory for submissions is asked again, and nothing of what was asked is lost") {
  if (!make_backend(io_backend::io_uring)) return;
  for (int code : {-EAGAIN, -ENOMEM, -EBUSY}) {
    CAPTURE(code);
    loop l(*make_backend(io_backend::io_uring));
    refused = 0;
    with = code;
    l.run_until([]() -> task<void> {
      auto listener = os_network().listen({"127.0.0.1", 0});
      REQUIRE(listener.has_value());
      // More connections than the queue has entries: whoever finds it full submits, and is refused.
      constexpr std::size_t count = 600;
      std::vector<std::unique_ptr<stream>> ends;
      for (std::size_t i = 0; i < count; ++i) {
        auto c = co_await os_network().connect((*listener)->local());
        REQUIRE(c.has_value());
        auto s = co_await (*listener)->accept();
        REQUIRE(s.has_value());
        ends.push_back(std::move(*c));
        ends.push_back(std::move(*s));
      }
      std::size_t heard = 0;
      scope readers;
      refusals = 20;
      for (std::size_t i = 0; i < ends.size(); i += 2)
        readers.spawn([](stream& from, std::size_t& n) -> task<void> {
          auto b = co_await from.receive();
          if (b && b->size() == 1) ++n;
        }(*ends[i], heard));
      co_await yield();
      refusals = 20;
      for (std::size_t i = 1; i < ends.size(); i += 2) {
        bytes one[] = {as_bytes(std::string_view("x"))};
        CHECK((co_await ends[i]->send(one)).has_value());
      }
      co_await readers.join();
      CHECK(heard == count);
      refusals = 3;  // and while all of it is closed
      ends.clear();
    }());
    CHECK(refused >= 20);
    refusals = 0;
  }
}
