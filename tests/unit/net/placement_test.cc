#include "reactor/cores.h"
#include "support.h"

namespace kedge::test {
namespace {

using namespace std::chrono_literals;

// A server on two cores, and a client on the first that holds connections.
struct two_cores {
  std::unique_ptr<reactor::cores> cores;
  function_handler handler{[](net::http::exchange& e) -> task<void> { (void)co_await e.respond({}, "ok"); }};
  std::unique_ptr<net::http::server> server;

  explicit two_cores(reactor::io_backend which) {
    auto made = reactor::cores::make(2, which);
    REQUIRE(made.has_value());
    cores = *std::move(made);
  }
  // Runs `client` on core 0 once both listen.
  void run(std::function<task<void>(two_cores&)> client) {
    (*cores)[0].post([&] {
      (*cores)[0].spawn([](two_cores& t, std::function<task<void>(two_cores&)> f) -> task<void> {
        // Both listen at one port, which the first chooses.
        net::http::server_options o{.listen = {{"127.0.0.1", 0}}};
        {
          auto probe = reactor::os_network().listen({"127.0.0.1", 0});
          REQUIRE(probe.has_value());
          o.listen[0].port = (*probe)->local().port;
        }
        t.server = std::make_unique<net::http::server>(t.handler, std::move(o), 2);
        for (std::size_t i = 0; i < 2; ++i)
          co_await reactor::call_on((*t.cores)[i], [&t, i]() -> task<bool> {
            reactor::loop::current().spawn(
                [](two_cores& s, std::size_t core) -> task<void> { (void)co_await s.server->run(core); }(t, i));
            co_await t.server->ready(i).wait();
            co_return true;
          });
        co_await f(t);
        t.cores->stop();
      }(*this, std::move(client)));
    });
    cores->run();
    server.reset();
  }
  task<std::unique_ptr<reactor::stream>> connect() {
    auto c = co_await reactor::os_network().connect(server->listening(0).at(0));
    REQUIRE(c.has_value());
    co_return *std::move(c);
  }
  // Also answers, so that it is known to stand.
  task<void> ask(reactor::stream& s) {
    (void)co_await s.send(as_bytes("GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
    auto a = co_await s.receive();
    CHECK((a && !a->empty()));
  }
};

}  // namespace

TEST_CASE("connections that come at once are spread evenly over the cores") {
  for (auto which : {reactor::io_backend::automatic, reactor::io_backend::epoll}) {
    two_cores t(which);
    t.run([](two_cores& w) -> task<void> {
      std::vector<std::unique_ptr<reactor::stream>> held;
      for (int i = 0; i < 24; ++i) held.push_back(co_await w.connect());
      for (auto& c : held) co_await w.ask(*c);
      CHECK(w.server->count(0).connections + w.server->count(1).connections == 24);
      CHECK(w.server->count(0).connections >= 9);
      CHECK(w.server->count(1).connections >= 9);
    });
  }
}

TEST_CASE("a busy core gets fewer connections, and one that stands still none") {
  for (auto which : {reactor::io_backend::automatic, reactor::io_backend::epoll}) {
    two_cores t(which);
    t.run([](two_cores& w) -> task<void> {
      // Core 1 works without a break.
      std::atomic<bool> done = false;
      (*w.cores)[1].post([&] {
        (*w.cores)[1].spawn([](std::atomic<bool>& end) -> task<void> {
          while (!end) {
            for (auto began = monotonic_clock::now(); monotonic_clock::now() - began < 5ms;) continue;
            co_await reactor::yield();
          }
        }(done));
      });
      while ((*w.cores)[1].turns().load() < 0.7) co_await reactor::sleep_for(10ms);
      std::vector<std::unique_ptr<reactor::stream>> held;
      for (int i = 0; i < 12; ++i) held.push_back(co_await w.connect());
      for (auto& c : held) co_await w.ask(*c);
      CHECK(w.server->count(0).connections >= 10);
      done = true;
    });
  }
}

TEST_CASE("a loop's load is what it does, and is forgotten when it does nothing") {
  auto b = reactor::make_backend(reactor::io_backend::automatic);
  reactor::loop l(*std::move(b));
  l.run_until([]() -> task<void> {
    auto& turns = reactor::loop::current().turns();
    for (auto began = monotonic_clock::now(); monotonic_clock::now() - began < 2s;) {
      for (auto step = monotonic_clock::now(); monotonic_clock::now() - step < 5ms;) continue;
      co_await reactor::yield();
    }
    CHECK(turns.load() > 0.8);
    co_await reactor::sleep_for(3s);
    CHECK(turns.load() < 0.05);
    // Within one turn, too.
    for (auto began = monotonic_clock::now(); monotonic_clock::now() - began < 1s;) continue;
    CHECK(turns.load() > 0.5);
  }());
}

}  // namespace kedge::test
