#include <signal.h>
#include <unistd.h>

#include <semaphore>
#include <string>

#include "base/strings.h"
#include "reactor/limits.h"
#include "reactor/listen.h"
#include "reactor/offload.h"
#include "reactor/offload_end.h"
#include "reactor/process.h"
#include "reactor/stream.h"
#include "reactor_backends.h"
#include "support/stands_still.h"

using namespace kedge;
using namespace kedge::reactor;
using namespace std::chrono_literals;

namespace {

struct pair {
  std::unique_ptr<stream> client, server;
};

task<pair> connected() {
  auto l = os_network().listen({"127.0.0.1", 0});
  REQUIRE(l.has_value());
  auto c = co_await os_network().connect((*l)->local());
  REQUIRE(c.has_value());
  auto s = co_await (*l)->accept();
  REQUIRE(s.has_value());
  co_return pair{std::move(*c), std::move(*s)};
}

task<std::string> read_to_end(stream& s) {
  std::string all;
  for (;;) {
    auto b = co_await s.receive();
    REQUIRE(b.has_value());
    if (b->empty()) co_return all;
    all += as_text(b->view());
  }
}

}  // namespace

TEST_CASE("what one end sends arrives at the other, however large, and ends cleanly") {
  on_every_backend([]() -> task<void> {
    auto p = co_await connected();
    std::string big(5'000'000, 'x');
    for (std::size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>(i * 31 >> 3);
    scope s;
    s.spawn([](stream& out, const std::string& data) -> task<void> {
      bytes parts[] = {as_bytes(std::string_view(data).substr(0, 10)), bytes(),
                       as_bytes(std::string_view(data).substr(10))};
      auto r = co_await out.send(parts);
      CHECK(r.has_value());
      CHECK((co_await out.finish()).has_value());
    }(*p.client, big));
    auto got = co_await read_to_end(*p.server);
    CHECK(got == big);
    CHECK(p.server->peer() == p.client->local());
  });
}

TEST_CASE("a receiver that does not read holds its sender back") {
  on_every_backend([]() -> task<void> {
    auto p = co_await connected();
    std::size_t sent = 0;
    scope s;
    s.spawn([](stream& out, std::size_t& n) -> task<void> {
      std::string part(64 * 1024, 'y');
      for (;;) {
        if (!co_await out.send(as_bytes(part))) co_return;
        n += part.size();
      }
    }(*p.client, sent));
    CHECK(co_await tests::stands_still(sent));
    CHECK(sent < 64 * 1024 * 1024);  // held by the kernel's buffers and a few of ours, not by memory
  });
}

TEST_CASE("closing ends a receive that waits; a vanished peer ends it too") {
  on_every_backend([]() -> task<void> {
    auto p = co_await connected();
    scope s;
    errc seen = errc::internal;
    s.spawn([](stream& in, errc& out) -> task<void> {
      auto r = co_await in.receive();
      REQUIRE_FALSE(r.has_value());
      out = r.error().code;
    }(*p.server, seen));
    co_await sleep_for(1ms);
    p.server->close();
    co_await s.join();
    CHECK(seen == errc::closed);
    auto end = co_await p.client->receive();
    CHECK((!end.has_value() || end->empty()));
  });
}

TEST_CASE("a dropped receive loses no bytes") {
  on_every_backend([]() -> task<void> {
    auto p = co_await connected();
    {
      scope s;
      s.spawn([](stream& in) -> task<void> { co_await in.receive(); }(*p.server));
      co_await sleep_for(1ms);
    }
    CHECK((co_await p.client->send(as_bytes("hello"))).has_value());
    co_await sleep_for(2ms);
    auto b = co_await p.server->receive();
    REQUIRE(b.has_value());
    CHECK(as_text(b->view()) == "hello");
  });
}

TEST_CASE("many connections at once use more buffers than the ring has") {
  on_every_backend([]() -> task<void> {
    std::vector<pair> pairs;
    std::vector<buffer> held;
    for (unsigned i = 0; i < receive_ring_buffers + 20; ++i) {
      pairs.push_back(co_await connected());
      CHECK((co_await pairs.back().client->send(as_bytes("data"))).has_value());
      auto b = co_await with_deadline(pairs.back().server->receive(), loop::current().now() + 5s);
      REQUIRE(b.has_value());
      CHECK(as_text(b->view()) == "data");
      held.push_back(std::move(*b));
    }
  });
}

TEST_CASE("connecting to nobody fails with refused") {
  on_every_backend([]() -> task<void> {
    auto l = os_network().listen({"127.0.0.1", 0});
    auto at = (*l)->local();
    l->reset();
    auto c = co_await os_network().connect(at);
    REQUIRE_FALSE(c.has_value());
    CHECK(c.error().code == errc::refused);
  });
}

TEST_CASE("a port that is let go of in a moment is waited for, one that is kept is not for ever") {
  on_every_backend([]() -> task<void> {
    auto held = os_network().listen({"127.0.0.1", 0});
    REQUIRE(held.has_value());
    auto at = (*held)->local();
    scope s;
    s.spawn([](std::unique_ptr<listener> l) -> task<void> {
      co_await sleep_for(50ms);
      l = nullptr;
    }(std::move(*held)));
    auto got = co_await listen_when_free(os_network(), at);
    REQUIRE_MESSAGE(got.has_value(), got.error().message);
    CHECK((*got)->local() == at);
    auto second = co_await listen_when_free(os_network(), at, {}, 50ms);
    REQUIRE(!second);
    CHECK(second.error().os_error == EADDRINUSE);
  });
}

TEST_CASE("the first of several listeners at a port finds out who else shares it, also who is about to end") {
  on_every_backend([]() -> task<void> {
    endpoint at{"127.0.0.1", 0};
    {
      auto probe = os_network().listen(at);
      REQUIRE(probe.has_value());
      at = (*probe)->local();
    }
    constexpr listen_options shared{.reuse_port = true};
    auto a = co_await listen_first(os_network(), at, shared), b = os_network().listen(at, shared);
    REQUIRE_MESSAGE(a.has_value(), a.error().message);
    REQUIRE_MESSAGE(b.has_value(), b.error().message);
    for (int i = 0; i < 2; ++i) {
      auto second = co_await listen_first(os_network(), at, shared, 20ms);
      REQUIRE_FALSE(second.has_value());
      CHECK(second.error().os_error == EADDRINUSE);
      *a = nullptr;  // the other one is there yet
    }
    scope s;
    s.spawn([](std::unique_ptr<listener> last) -> task<void> {
      co_await sleep_for(50ms);
      last = nullptr;
    }(std::move(*b)));
    auto again = co_await listen_first(os_network(), at, shared);
    REQUIRE_MESSAGE(again.has_value(), again.error().message);
    // What connects gets to those of now.
    auto c = co_await os_network().connect(at);
    REQUIRE(c.has_value());
    auto taken = co_await (*again)->accept();
    CHECK(taken.has_value());
  });
}

TEST_CASE("unix sockets carry the same streams") {
  on_every_backend([]() -> task<void> {
    auto path = "/tmp/kedge-reactor-test-" + std::to_string(getpid()) + ".sock";
    auto l = os_network().listen(endpoint::unix_path(path));
    REQUIRE(l.has_value());
    auto c = co_await os_network().connect(endpoint::unix_path(path));
    REQUIRE(c.has_value());
    auto s = co_await (*l)->accept();
    REQUIRE(s.has_value());
    CHECK((co_await (*c)->send(as_bytes("over unix"))).has_value());
    auto b = co_await (*s)->receive();
    CHECK(as_text(b->view()) == "over unix");
    unlink(path.c_str());
  });
}

TEST_CASE("endpoints read and print as address:port") {
  CHECK(parse_endpoint("10.0.0.1:6443").value() == endpoint{"10.0.0.1", 6443});
  CHECK(parse_endpoint("[::1]:80").value().text() == "[::1]:80");
  for (auto bad : {"10.0.0.1", "host:80", "10.0.0.1:65536", ":80", "[::1]"}) CHECK_FALSE(parse_endpoint(bad));
}

TEST_CASE("a child process's output and exit code come back") {
  on_every_backend([]() -> task<void> {
    auto p = process::spawn({.argv = {"sh", "-c", "echo out; echo err >&2; exit 3"}, .capture_output = true});
    REQUIRE(p.has_value());
    CHECK((co_await p->output(1000)).value() == "out\nerr\n");
    CHECK((co_await p->wait()).value() == 3);
    auto sleeper = process::spawn({.argv = {"sleep", "1000"}});
    REQUIRE(sleeper.has_value());
    sleeper->signal(SIGTERM);
    CHECK((co_await sleeper->wait()).value() == 128 + SIGTERM);
    CHECK_FALSE(process::spawn({.argv = {"/nonexistent/program"}}));
  });
}

TEST_CASE("the pool's rest is waited for, and not for ever") {
  static std::binary_semaphore go{0};
  REQUIRE(offload_post([] { go.acquire(); }));
  CHECK_FALSE(offload_rest(std::chrono::milliseconds(1)));
  go.release();
  CHECK(offload_rest(std::chrono::minutes(1)));
}

TEST_CASE("offloaded work answers on the loop, also when its caller is gone") {
  on_every_backend([]() -> task<void> {
    CHECK((co_await offload([] { return 6 * 7; })).value() == 42);
    {
      scope s;
      s.spawn([]() -> task<void> {
        co_await offload([] {
          usleep(2'000);
          return 1;
        });
      }());
    }
    co_await sleep_for(5ms);
    CHECK((co_await resolve("127.0.0.1")).value() == std::vector<std::string>{"127.0.0.1"});
    CHECK((co_await resolve("localhost")).value().size() >= 1);
  });
}
