// names_test.cc: names that nobody answers for hold up nobody but those who ask for them. This program's getaddrinfo
// stands in front of the system's.
#include <dlfcn.h>
#include <netdb.h>

#include <condition_variable>
#include <mutex>
#include <string_view>

#include "reactor/offload.h"
#include "reactor_backends.h"

using namespace kedge;
using namespace kedge::reactor;
using namespace std::chrono_literals;

namespace {

std::mutex door;
std::condition_variable opened;
bool silent = false;  // the name servers

}  // namespace

extern "C" int getaddrinfo(const char* name, const char* service, const addrinfo* hints, addrinfo** out) {
  if (name && std::string_view(name).ends_with(".silent")) {
    std::unique_lock lock(door);
    opened.wait(lock, [] { return !silent; });
    return EAI_AGAIN;
  }
  static auto* real = reinterpret_cast<decltype(&getaddrinfo)>(::dlsym(RTLD_NEXT, "getaddrinfo"));
  return real(name, service, hints, out);
}

TEST_CASE("names that nobody answers for are given up in time, and hold up neither files nor hashes") {
  on_every_backend([]() -> task<void> {
    {
      std::lock_guard lock(door);
      silent = true;
    }
    std::vector<error> said;
    scope asking;
    for (int i = 0; i < 16; ++i)
      asking.spawn([](int n, std::vector<error>& out) -> task<void> {
        auto r = co_await resolve("db" + std::to_string(n) + ".silent", 1s);
        REQUIRE(!r.has_value());
        out.push_back(r.error());
      }(i, said));
    co_await yield();
    for (int i = 0; i < 8; ++i) {
      auto done = co_await offload([i] { return i; });
      REQUIRE(done.has_value());
      CHECK(*done == i);
    }
    CHECK(said.empty());  // all of that took less than one name's time
    co_await asking.join();
    CHECK(said.size() == 16);
    for (auto& e : said) {
      CHECK(e.code == errc::timeout);
      CHECK(e.message.ends_with(".silent: the name servers don't answer"));
    }
    {
      std::lock_guard lock(door);
      silent = false;
    }
    opened.notify_all();
    auto later = co_await resolve("db.silent");
    REQUIRE(!later.has_value());
    CHECK(later.error().code == errc::not_found);
    CHECK(co_await resolve("127.0.0.1") == std::vector<std::string>{"127.0.0.1"});
  });
}
