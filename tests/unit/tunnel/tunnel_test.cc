// Both ends over real sockets: streams as streams, back pressure, refusals, lost sessions, two cores.
#include <algorithm>
#include <atomic>

#include "net/http/client.h"
#include "net/websocket/websocket.h"
#include "reactor/cores.h"
#include "support.h"
#include "tunnel/client.h"
#include "tunnel/dial.h"
#include "tunnel/server.h"

using namespace kedge;
using namespace kedge::test;
using namespace std::chrono_literals;

namespace {

// Echoes, one connection after another beside each other.
class echo_server {
 public:
  echo_server() : listener_(std::move(*reactor::os_network().listen({"127.0.0.1", 0}))) {
    scope_.spawn([](echo_server& e) -> task<void> {
      for (;;) {
        auto s = co_await e.listener_->accept();
        if (!s) co_return;
        ++e.accepted;
        e.scope_.spawn(echo(std::move(*s)));
      }
    }(*this));
  }
  ~echo_server() { scope_.cancel(); }
  std::string at() const { return listener_->local().text(); }
  int accepted = 0;

 private:
  static task<void> echo(std::unique_ptr<reactor::stream> s) {
    for (;;) {
      auto b = co_await s->receive();
      if (!b || b->empty()) co_return;
      if (!co_await s->send(b->view())) co_return;
    }
  }
  std::unique_ptr<reactor::listener> listener_;
  reactor::scope scope_;
};

task<std::string> read_exactly(reactor::stream& s, std::size_t n) {
  std::string got;
  while (got.size() < n) {
    auto b = co_await s.receive();
    if (!b || b->empty()) co_return got + "<end>";
    got += as_text(b->view());
  }
  co_return got;
}

template <typename F>
task<bool> eventually(F condition) {
  auto until = reactor::loop::current().now() + 10s;
  while (!condition()) {
    if (reactor::loop::current().now() > until) co_return false;
    co_await reactor::sleep_for(5ms);
  }
  co_return true;
}

// A server and one client on this loop.
struct pair_of_ends {
  tunnel::server server{{&reactor::loop::current()}};
  pem_pair pem = make_certificate("localhost");
  running_server http;
  std::vector<std::string> states;
  std::unique_ptr<tunnel::client> client;
  reactor::scope scope;

  static net::http::server_options listening(bool tls, const pem_pair& p) {
    return tls ? with_tls(p) : net::http::server_options();
  }
  explicit pair_of_ends(bool tls, tunnel::client_options o = {})
      : http([this](net::http::exchange& e) -> task<void> { co_await server.serve(e, "edge-1"); },
             listening(tls, pem)) {
    if (tls) o.tls = [this] { return *net::tls_client_context::make({.ca_pem = pem.certificate}); };
    if (!o.allow)
      o.allow = [](std::string_view, std::string_view address) { return address.find("forbidden") == address.npos; };
    o.on_state = [this](const std::string&, tunnel::server_state s) { states.emplace_back(name_of(s)); };
    o.retry_interval = 20ms;
    o.debounce = 30ms;
    client = std::make_unique<tunnel::client>(std::move(o));
    client->set_servers({http.at().text()});
    scope.spawn(client->run());
  }
  ~pair_of_ends() { scope.cancel(); }
  task<void> open() {
    auto here = [this] { return server.has_session("edge-1"); };
    bool there = co_await eventually(here);
    REQUIRE(there);
  }
};

}  // namespace

TEST_CASE("streams through a tunnel, over TCP and TLS") {
  for (bool tls : {false, true}) {
    on_each_backend([&]() -> task<void> {
      pair_of_ends p(tls);
      echo_server echo;
      co_await p.open();
      auto s = co_await p.server.dial("edge-1", "tcp", echo.at());
      REQUIRE(s.has_value());
      CHECK((*s)->peer().text() == echo.at());
      for (std::size_t size : {1, 100, 4096, 65536, 3'000'000}) {
        std::string text(size, 'a');
        for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 31 + i / 256);
        reactor::scope beside;
        beside.spawn([](reactor::stream& to, const std::string& t) -> task<void> {
          bytes parts[] = {as_bytes(t).first(t.size() / 3), as_bytes(t).subspan(t.size() / 3)};
          auto sent = co_await to.send(parts);
          CHECK(sent.has_value());
        }(**s, text));
        auto got = co_await read_exactly(**s, size);
        CHECK((got == text));  // not printed when it differs
      }
      auto other = co_await p.server.dial("edge-1", "tcp", echo.at());
      REQUIRE(other.has_value());
      (void)co_await (*other)->send(as_bytes("one"));
      CHECK(co_await read_exactly(**other, 3) == "one");
      CHECK(p.client->servers().at(0).streams == 2);
      other->reset();
      auto one = [&] { return p.client->servers().at(0).streams == 1; };
      CHECK(co_await eventually(one));
    });
  }
}

TEST_CASE("a refused or forbidden target fails that stream alone") {
  on_each_backend([]() -> task<void> {
    pair_of_ends p(false);
    echo_server echo;
    co_await p.open();
    auto good = co_await p.server.dial("edge-1", "tcp", echo.at());
    std::string closed_port;
    {
      auto l = reactor::os_network().listen({"127.0.0.1", 0});
      closed_port = (*l)->local().text();
    }
    for (auto [address, word] :
         {std::pair(closed_port, "refused"), std::pair(std::string("forbidden:1"), "not allowed")}) {
      auto s = co_await p.server.dial("edge-1", "tcp", address);
      REQUIRE(s.has_value());
      auto b = co_await (*s)->receive();
      REQUIRE_FALSE(b.has_value());
      CHECK(b.error().code == errc::refused);
      CAPTURE(b.error().message);
      CHECK(b.error().message.find(word) != std::string::npos);
      CHECK_FALSE((co_await (*s)->send(as_bytes("x"))).has_value());
    }
    (void)co_await (*good)->send(as_bytes("still here"));
    CHECK(co_await read_exactly(**good, 10) == "still here");
    auto nobody = co_await p.server.dial("edge-2", "tcp", echo.at());
    REQUIRE_FALSE(nobody.has_value());
    CHECK(nobody.error().message.starts_with("failed to find Session for client"));
  });
}

TEST_CASE("the end of the target's connection is a clean end behind all that it sent") {
  on_each_backend([]() -> task<void> {
    pair_of_ends p(true);
    co_await p.open();
    auto l = reactor::os_network().listen({"127.0.0.1", 0});
    reactor::scope target;
    target.spawn([](reactor::listener& at) -> task<void> {
      auto s = co_await at.accept();
      std::string much(1'000'000, 'z');
      (void)co_await (*s)->send(as_bytes(much));
    }(**l));
    auto s = co_await p.server.dial("edge-1", "tcp", (*l)->local().text());
    auto got = co_await read_exactly(**s, 1'000'001);
    CHECK(got.size() == 1'000'000 + 5);
    CHECK(got.ends_with("z<end>"));
  });
}

TEST_CASE("a reader that stops holds up its own stream only") {
  on_each_backend([]() -> task<void> {
    pair_of_ends p(true);
    echo_server echo;
    co_await p.open();
    auto slow = co_await p.server.dial("edge-1", "tcp", echo.at());
    auto quick = co_await p.server.dial("edge-1", "tcp", echo.at());
    constexpr std::size_t total =
        128 * 1024 * 1024;  // more than the kernel's buffers on the way hold, whatever they grew to
    std::size_t sent = 0;
    reactor::scope beside;
    beside.spawn([](reactor::stream& s, std::size_t& n) -> task<void> {
      std::string piece(128 * 1024, 'p');
      for (; n < total; n += piece.size())
        if (!co_await s.send(as_bytes(piece))) co_return;
    }(**slow, sent));
    std::size_t before = 1;
    while (sent != before) {
      before = sent;
      co_await reactor::sleep_for(200ms);
    }
    CHECK(sent < total);  // it waits: buffers and sockets are full
    (void)co_await (*quick)->send(as_bytes("quick"));
    CHECK(co_await read_exactly(**quick, 5) == "quick");
    std::size_t read = 0;
    while (read < total) {
      auto b = co_await (*slow)->receive();
      REQUIRE_MESSAGE(b.has_value(), b.error().message << " after " << read);
      read += b->size();
    }
    CHECK(read == total);
  });
}

TEST_CASE("dropping a stream in the middle of a send leaves the others whole") {
  on_each_backend([]() -> task<void> {
    pair_of_ends p(true);
    echo_server echo;
    co_await p.open();
    auto quick = co_await p.server.dial("edge-1", "tcp", echo.at());
    for (int i = 0; i < 20; ++i) {
      auto s = co_await p.server.dial("edge-1", "tcp", echo.at());
      std::string much(8'000'000, 'm');
      auto part = as_bytes(much);
      auto cut = co_await reactor::with_deadline((*s)->send({&part, 1}),
                                                 reactor::loop::current().now() + std::chrono::milliseconds(i));
      if (!cut) CHECK(cut.error().code == errc::timeout);
    }
    (void)co_await (*quick)->send(as_bytes("quick"));
    CHECK(co_await read_exactly(**quick, 5) == "quick");
  });
}

TEST_CASE("a tunnel to a server that is no longer listed goes with its last stream") {
  on_each_backend([]() -> task<void> {
    pair_of_ends p(true);
    echo_server echo;
    co_await p.open();
    auto s = co_await p.server.dial("edge-1", "tcp", echo.at());
    REQUIRE(s.has_value());
    p.client->set_servers({"127.0.0.1:1"});
    auto known = [&] { return p.client->servers().size() == 2; };  // the new list is in force
    CHECK(co_await eventually(known));
    (void)co_await (*s)->send(as_bytes("still"));
    CHECK(co_await read_exactly(**s, 5) == "still");
    s->reset();
    auto none = [&] { return !p.server.has_session("edge-1"); };
    CHECK(co_await eventually(none));
    CHECK(p.client->servers().size() == 1);
  });
}

TEST_CASE("when the session goes its streams fail, and the client comes back") {
  on_each_backend([]() -> task<void> {
    pair_of_ends p(true, {.leave_max = 10ms});
    echo_server echo;
    co_await p.open();
    auto ok = [&] { return p.states == std::vector<std::string>{"ok"}; };
    CHECK(co_await eventually(ok));
    auto s = co_await p.server.dial("edge-1", "tcp", echo.at());
    (void)co_await (*s)->send(as_bytes("x"));
    CHECK(co_await read_exactly(**s, 1) == "x");
    auto key = p.server.sessions().at(0).key;
    p.client->set_servers({"127.0.0.1:1"});
    auto none = [&] { return !p.server.has_session("edge-1"); };
    CHECK(co_await eventually(none));
    auto b = co_await (*s)->receive();
    REQUIRE_FALSE(b.has_value());
    CHECK(b.error().code == errc::closed);
    auto failed = [&] { return p.client->servers().at(0).state == tunnel::server_state::failed; };
    CHECK(co_await eventually(failed));
    CHECK(p.client->servers().at(0).server == "127.0.0.1:1");
    p.client->set_servers({p.http.at().text()});
    co_await p.open();
    CHECK(p.server.sessions().at(0).key != key);
  });
}

TEST_CASE("a server that stops says so: its client knows that it leaves, and tries again") {
  on_each_backend([]() -> task<void> {
    for (bool tls : {false, true}) {
      pair_of_ends p(tls);
      echo_server echo;
      co_await p.open();
      auto s = co_await p.server.dial("edge-1", "tcp", echo.at());
      REQUIRE(s.has_value());
      (void)co_await (*s)->send(as_bytes("x"));
      CHECK(co_await read_exactly(**s, 1) == "x");
      p.server.close();
      // Streams end at once, no new ones are opened, and the session goes when the client has answered.
      auto b = co_await (*s)->receive();
      REQUIRE_FALSE(b.has_value());
      CHECK(b.error().code == errc::closed);
      CHECK_FALSE((co_await (*s)->send(as_bytes("x"))).has_value());
      CHECK_FALSE((co_await p.server.dial("edge-1", "tcp", echo.at())).has_value());
      auto none = [&] { return !p.server.has_session("edge-1"); };
      CHECK(co_await eventually(none));
      // Then it is refused (503), and that is a failure.
      auto tried = [&] { return p.states == std::vector<std::string>{"ok", "leaving", "failed"}; };
      CHECK(co_await eventually(tried));
      CHECK(p.client->servers().at(0).attempts > 0);
    }
  });
}

TEST_CASE("a peer that doesn't answer the farewell, or doesn't read, is not waited for") {
  on_each_backend([]() -> task<void> {
    for (bool reads : {true, false}) {
      CAPTURE(reads);
      tunnel::server server({&reactor::loop::current()});
      running_server http([&](net::http::exchange& e) -> task<void> { co_await server.serve(e, "edge-1"); });
      net::http::client client;
      auto raw = co_await net::websocket::connect(client, {.to = {.at = http.at()}, .path = "/"});
      REQUIRE(raw.has_value());
      auto peer = (*raw)->release();
      auto here = [&] { return server.has_session("edge-1"); };
      CHECK(co_await eventually(here));
      std::string told;
      reactor::scope beside;
      if (reads) {
        beside.spawn([](reactor::stream& from, std::string& all) -> task<void> {
          for (;;) {
            auto b = co_await from.receive();
            if (!b || b->empty()) co_return;
            all += as_text(b->view());
          }
        }(*peer, told));
      } else {
        // More than the sockets take: the link's output is backed up.
        auto s = co_await server.dial("edge-1", "tcp", "127.0.0.1:1");
        REQUIRE(s.has_value());
        std::string piece(1024 * 1024, 'p');
        while (co_await reactor::with_deadline((*s)->send(as_bytes(piece)), reactor::loop::current().now() + 200ms)) {}
      }
      server.close();
      auto none = [&] { return !server.has_session("edge-1"); };
      CHECK(co_await eventually(none));
      // A close frame with 1001, and nothing behind it.
      if (reads) CHECK(told == std::string("\x88\x02\x03\xe9", 4));
    }
  });
}

TEST_CASE("pings keep a session, their absence ends it") {
  on_each_backend([]() -> task<void> {
    // A server that wants to hear something every 500 ms, and clients that ping every 30 ms and never.
    tunnel::server server({&reactor::loop::current()}, {.silence_timeout = 500ms});
    running_server http([&](net::http::exchange& e) -> task<void> {
      co_await server.serve(e, std::string(e.request().path.substr(1)));
    });
    tunnel::client lively(
        {.path = "/lively", .session = {.ping_interval = 30ms, .silence_timeout = 1s}, .retry_interval = 1h});
    tunnel::client silent(
        {.path = "/silent", .session = {.ping_interval = 0ms, .silence_timeout = 1h}, .retry_interval = 1h});
    reactor::scope scope;
    for (auto* c : {&lively, &silent}) {
      c->set_servers({http.at().text()});
      scope.spawn(c->run());
    }
    auto both = [&] { return server.has_session("lively") && server.has_session("silent"); };
    CHECK(co_await eventually(both));
    CHECK(co_await eventually([&] { return !server.has_session("silent"); }));
    CHECK(server.has_session("lively"));
    CHECK(lively.servers().at(0).round_trip > 0ns);
    CHECK(co_await eventually([&] { return silent.servers().at(0).state == tunnel::server_state::failed; }));
  });
}

TEST_CASE("a node that misses pings stays, and is known as one that may be dead, until it is heard again") {
  on_each_backend([]() -> task<void> {
    tunnel::server server({&reactor::loop::current()}, {.suspect_after = 1200ms, .silence_timeout = 1h});
    running_server http([&](net::http::exchange& e) -> task<void> {
      co_await server.serve(e, std::string(e.request().path.substr(1)));
    });
    tunnel::client lively(
        {.path = "/lively", .session = {.ping_interval = 500ms, .silence_timeout = 1h}, .retry_interval = 1h});
    tunnel::client silent(
        {.path = "/silent", .session = {.ping_interval = 0ms, .silence_timeout = 1h}, .retry_interval = 1h});
    reactor::scope scope;
    for (auto* c : {&lively, &silent}) {
      c->set_servers({http.at().text()});
      scope.spawn(c->run());
    }
    auto is = [&](std::string_view node, bool wanted) {
      auto all = server.sessions_of(node);
      return all.size() == 1 && all[0].lively == wanted;
    };
    auto both = [&] { return is("lively", true) && is("silent", true); };
    CHECK(co_await eventually(both));
    CHECK(co_await eventually([&] { return is("silent", false); }));
    CHECK(is("lively", true));
    server.doubt(server.sessions_of("lively")[0]);
    CHECK(co_await eventually([&] { return is("lively", false); }));
    CHECK(co_await eventually([&] { return is("lively", true); }));
    CHECK(is("silent", false));
    echo_server echo;
    auto s = co_await server.dial_through(server.sessions_of("silent")[0], "tcp", echo.at());  // as a last resort
    CHECK(s.has_value());
  });
}

TEST_CASE("a server that leaves pings unanswered is suspect before it is given up") {
  on_each_backend([]() -> task<void> {
    bool answer = true;
    running_server http([&](net::http::exchange& e) -> task<void> {
      auto c = co_await net::websocket::accept(e, {});
      while (answer && co_await reactor::with_deadline((*c)->receive(), reactor::loop::current().now() + 20ms)) {}
      co_await reactor::sleep_for(1h);
    });
    std::vector<std::string> states;
    tunnel::client c({.on_state = [&](const std::string&, tunnel::server_state s) { states.emplace_back(name_of(s)); },
                      .session = {.ping_interval = 10ms, .suspect_after = 100ms, .silence_timeout = 1h},
                      .retry_interval = 1h});
    c.set_servers({http.at().text()});
    reactor::scope scope;
    scope.spawn(c.run());
    auto suspected = [&] { return states == std::vector<std::string>{"ok", "failed"}; };
    CHECK(co_await eventually(suspected));
    CHECK(c.servers().at(0).attempts == 0);  // the session still stands
  });
}

TEST_CASE("HTTP over TLS over a tunnel") {
  on_each_backend([]() -> task<void> {
    pair_of_ends p(true);
    auto pem = make_certificate("localhost");
    running_server kubelet(
        [](net::http::exchange& e) -> task<void> {
          (void)co_await e.respond({.status = 200}, "path " + e.request().path);
        },
        with_tls(pem));
    co_await p.open();
    auto raw = co_await p.server.dial("edge-1", "tcp", kubelet.at().text());
    REQUIRE(raw.has_value());
    auto tls = co_await net::tls_connect(std::move(*raw), *net::tls_client_context::make({.ca_pem = pem.certificate}),
                                         "127.0.0.1");
    REQUIRE(tls.has_value());
    (void)co_await (*tls)->send(as_bytes("GET /healthz HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n"));
    auto got = co_await read_exactly(**tls, 1'000'000);
    CHECK(got.find("path /healthz") != std::string::npos);
  });
}

TEST_CASE("a dial from another core") {
  auto made = reactor::cores::make(2, reactor::io_backend::automatic);
  REQUIRE(made.has_value());
  auto& cores = **made;
  tunnel::server server({&cores[0], &cores[1]});
  std::atomic<bool> passed = false;
  auto work = [](reactor::cores& all, tunnel::server& srv, std::atomic<bool>& good) -> task<void> {
    {
      echo_server echo;
      running_server http([&](net::http::exchange& e) -> task<void> { co_await srv.serve(e, "edge-1"); });
      tunnel::client client({.allow = [](std::string_view, std::string_view) { return true; }});
      client.set_servers({http.at().text()});
      reactor::scope scope;
      scope.spawn(client.run());
      auto at = echo.at();
      auto there = [&]() -> task<std::string> {
        auto listed = [&] { return srv.has_session("edge-1"); };
        if (!co_await eventually(listed)) co_return "no session on the other core";
        auto s = co_await srv.dial("edge-1", "tcp", at);
        if (!s) co_return s.error().message;
        std::string text(2'000'000, 'q');
        reactor::scope beside;
        beside.spawn([](reactor::stream& to, const std::string& t) -> task<void> {
          (void)co_await to.send(as_bytes(t));
        }(**s, text));
        // Dropped receives lose nothing.
        std::string got;
        while (got.size() < text.size()) {
          auto b = co_await reactor::with_deadline((*s)->receive(), reactor::loop::current().now() + 50us);
          if (!b && b.error().code == errc::timeout) continue;
          if (!b || b->empty()) co_return "ended after " + std::to_string(got.size());
          got += as_text(b->view());
        }
        if (got != text) co_return "other bytes";
        (*s)->close();
        auto after = co_await (*s)->receive();
        co_return after ? "receives after close" : "good";
      };
      auto r = co_await reactor::with_deadline(
          [](reactor::loop& l, std::function<task<std::string>()> f) -> task<result<std::string>> {
            co_return co_await reactor::call_on(l, f);
          }(all[1], there),
          reactor::loop::current().now() + 20s);
      CHECK(r.value_or("too late") == "good");
      good = r && *r == "good";
      auto gone = [&] { return client.servers().at(0).streams == 0; };
      CHECK(co_await eventually(gone));
    }
    all.stop();
  };
  cores[0].post([&] { cores[0].spawn(work(cores, server, passed)); });
  cores.run();
  CHECK(passed);
}

TEST_CASE("a node whose credentials were renewed has a new tunnel before the old one goes, and loses no stream") {
  on_each_backend([]() -> task<void> {
    for (bool tls : {false, true}) {
      pair_of_ends p(tls, {.replaced_quiet = 30ms});
      echo_server echo;
      co_await p.open();
      auto ok = [&] { return p.states == std::vector<std::string>{"ok"}; };
      CHECK(co_await eventually(ok));
      auto held = co_await p.server.dial("edge-1", "tcp", echo.at());
      REQUIRE(held.has_value());
      (void)co_await (*held)->send(as_bytes("x"));
      CHECK(co_await read_exactly(**held, 1) == "x");
      const auto first = p.server.sessions().at(0).key;
      p.client->renew();
      auto two = [&] { return p.server.sessions().size() == 2; };
      CHECK(co_await eventually(two));
      CHECK(p.server.sessions().at(0).key != first);  // the newest gets what is new
      auto next = co_await p.server.dial("edge-1", "tcp", echo.at());
      REQUIRE(next.has_value());
      (void)co_await (*next)->send(as_bytes("y"));
      CHECK(co_await read_exactly(**next, 1) == "y");
      auto both = [&] { return p.client->servers().at(0).streams == 2; };
      CHECK(co_await eventually(both));
      (void)co_await (*held)->send(as_bytes("z"));
      CHECK(co_await read_exactly(**held, 1) == "z");
      held->reset();
      auto one = [&] { return p.server.sessions().size() == 1; };
      CHECK(co_await eventually(one));
      CHECK(p.server.sessions().at(0).key != first);
      (void)co_await (*next)->send(as_bytes("w"));
      CHECK(co_await read_exactly(**next, 1) == "w");
      CHECK(ok());  // nobody took the server for failed or leaving
    }
  });
}

TEST_CASE("streams go on while credentials are renewed again and again, and old tunnels are bounded") {
  on_each_backend([]() -> task<void> {
    pair_of_ends p(true, {.replaced_quiet = 20ms});
    echo_server echo;
    co_await p.open();
    bool over = false;
    int answered = 0, failed = 0;
    reactor::scope asking;
    for (int i = 0; i < 4; ++i)
      asking.spawn([](pair_of_ends& ends, std::string to, bool& end, int& good, int& bad) -> task<void> {
        while (!end) {
          auto s = co_await ends.server.dial("edge-1", "tcp", to);
          bool here = s && co_await (*s)->send(as_bytes("ping")) && co_await read_exactly(**s, 4) == "ping";
          ++(here ? good : bad);
        }
      }(p, echo.at(), over, answered, failed));
    std::vector<std::unique_ptr<reactor::stream>> held;  // one through each tunnel: none of these can go by itself
    for (int round = 0; round < 8; ++round) {
      auto s = co_await p.server.dial("edge-1", "tcp", echo.at());
      REQUIRE(s.has_value());
      held.push_back(std::move(*s));
      const auto newest = p.server.sessions().at(0).key;
      p.client->renew();
      auto replaced = [&] { return p.server.sessions().at(0).key != newest; };
      CHECK(co_await eventually(replaced));
      auto more = [&, until = answered + 5] { return answered >= until; };
      CHECK(co_await eventually(more));
    }
    over = true;
    co_await asking.join();
    CHECK(failed == 0);
    auto bounded = [&] { return p.server.sessions().size() <= 1 + tunnel::replaced_max; };
    CHECK(co_await eventually(bounded));
    held.clear();
    auto one = [&] { return p.server.sessions().size() == 1; };
    CHECK(co_await eventually(one));
    CHECK(p.states == std::vector<std::string>{"ok"});
  });
}

TEST_CASE("a server that doesn't take the renewed credentials yet keeps the tunnel that stands") {
  on_each_backend([]() -> task<void> {
    tunnel::server server({&reactor::loop::current()});
    bool refuses = false;
    int refused = 0;
    running_server http([&](net::http::exchange& e) -> task<void> {
      if (!refuses) co_return co_await server.serve(e, "edge-1");
      ++refused;
      (void)co_await e.respond({.status = 401}, "Unauthorized\n");
    });
    std::vector<std::string> states;
    tunnel::client client({.on_state = [&](auto&, tunnel::server_state s) { states.emplace_back(name_of(s)); },
                           .retry_interval = 20ms,
                           .replaced_quiet = 20ms});
    client.set_servers({http.at().text()});
    reactor::scope scope;
    scope.spawn(client.run());
    auto here = [&] { return server.has_session("edge-1"); };
    CHECK(co_await eventually(here));
    const auto first = server.sessions().at(0).key;
    refuses = true;
    client.renew();
    auto twice = [&] { return refused >= 2; };
    CHECK(co_await eventually(twice));
    CHECK(server.sessions().size() == 1);
    CHECK(server.sessions().at(0).key == first);
    client.renew();  // while one is tried for
    refuses = false;
    auto replaced = [&] { return server.sessions().size() == 1 && server.sessions().at(0).key != first; };
    CHECK(co_await eventually(replaced));
    CHECK(states == std::vector<std::string>{"ok"});
    scope.cancel();
  });
}
