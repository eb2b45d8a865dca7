// HTTP/2 between our client and our server over TLS, and what hostile frames get.
#include "support.h"
#include "support/stands_still.h"

using namespace kedge;
using namespace kedge::test;
using net::http::client;
using net::http::exchange;
using net::http::response;

namespace {

const pem_pair& pem() {
  static const pem_pair p = make_certificate("localhost");
  return p;
}

net::http::target to(const reactor::endpoint& at) {
  net::http::target t;
  t.at = at;
  auto c = net::tls_client_context::make({.ca_pem = pem().certificate, .alpn = {"h2", "http/1.1"}});
  REQUIRE(c.has_value());
  static std::shared_ptr<net::tls_client_context> shared = *c;  // one identity: connections are shared by it
  t.tls = shared;
  return t;
}

task<void> echo(exchange& e) {
  CHECK(e.request().http == net::http::version::http2);
  auto body = co_await e.read_all();
  response head;
  head.headers.add("X-Method", e.request().method);
  head.headers.add("X-Query", e.request().query);
  if (!body) {
    head.status = 413;
    (void)co_await e.respond(head, body.error().message);
    co_return;
  }
  (void)co_await e.respond(head, *body);
}

// Frames by hand.
std::string frame(int type, int flags, std::uint32_t id, std::string_view payload) {
  std::string out;
  append_be32(out, static_cast<std::uint32_t>(payload.size()) << 8 | static_cast<std::uint32_t>(type));
  out += static_cast<char>(flags);
  append_be32(out, id);
  out += payload;
  return out;
}
const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, "");
// GET https /, :authority "a" — all but the last from HPACK's static table.
const std::string get_headers =
    "\x82\x87\x84\x41\x01"
    "a";

// Sends the bytes over TLS with h2, reads until the end or until it is quiet; gives the GOAWAY's code, or -1 without.
task<int> goaway_of(reactor::endpoint at, std::string bytes_to_send) {
  client c;
  auto s = co_await c.connect(to(at));
  REQUIRE(s.has_value());
  (void)co_await reactor::with_deadline((*s)->send(as_bytes(bytes_to_send)),
                                        reactor::loop::current().now() + std::chrono::seconds(2));
  std::string got;
  for (;;) {
    auto b = co_await reactor::with_deadline((*s)->receive(),
                                             reactor::loop::current().now() + std::chrono::milliseconds(200));
    if (!b || b->empty()) break;
    got += as_text(b->view());
  }
  int code = -1;
  for (std::size_t at_byte = 0; at_byte + 9 <= got.size();) {
    auto* p = as_bytes(got).data() + at_byte;
    auto size = load_be32(p) >> 8;
    if (static_cast<int>(p[3]) == 7 && size >= 8) code = static_cast<int>(load_be32(p + 13));
    at_byte += 9 + size;
  }
  co_return code;
}

}  // namespace

TEST_CASE("many exchanges at once over one HTTP/2 connection") {
  on_each_backend([]() -> task<void> {
    running_server s(echo, with_tls(pem(), true));
    client c;
    auto first = co_await c.fetch({.to = to(s.at()), .path = "/x?y=z"});
    REQUIRE_MESSAGE(first.has_value(), first.error().message);
    CHECK(first->headers.get("x-query") == "y=z");
    reactor::scope all;
    int good = 0;
    for (int i = 0; i < 100; ++i)
      all.spawn([](client& k, net::http::target t, int n, int& count) -> task<void> {
        std::string body(static_cast<std::size_t>(n) * 1000, static_cast<char>('a' + n % 26));
        auto r = co_await k.fetch({.to = std::move(t), .method = "POST", .path = "/", .body = body});
        CHECK_MESSAGE(r.has_value(), r.error().message);
        if (r && r->status == 200 && r->body == body) ++count;
      }(c, to(s.at()), i, good));
    co_await all.join();
    CHECK(good == 100);
    CHECK(s.get().count().connections_total == 1);
  });
}

TEST_CASE("a large answer, HEAD, an empty answer, a large body refused") {
  on_each_backend([]() -> task<void> {
    std::string big(5'000'000, 'b');
    running_server s(
        [&](exchange& e) -> task<void> {
          response head;
          if (e.request().path == "/none") {
            head.status = 204;
            (void)co_await e.respond(head, std::span<const bytes>());
          } else if (e.request().method == "POST") {
            co_await echo(e);
          } else {
            CHECK((co_await e.respond(head, big)).has_value());
          }
        },
        with_tls(pem(), true));
    client c;
    auto r = co_await c.fetch({.to = to(s.at()), .path = "/"});
    REQUIRE_MESSAGE(r.has_value(), r.error().message);
    CHECK(r->body == big);
    r = co_await c.fetch({.to = to(s.at()), .method = "HEAD", .path = "/"});
    REQUIRE(r.has_value());
    CHECK(r->headers.get("content-length") == "5000000");
    CHECK(r->body.empty());
    r = co_await c.fetch({.to = to(s.at()), .path = "/none"});
    REQUIRE(r.has_value());
    CHECK(r->status == 204);
    r = co_await c.fetch({.to = to(s.at()), .method = "POST", .path = "/", .body = std::string(4'000'000, 'x')});
    REQUIRE_MESSAGE(r.has_value(), r.error().message);
    CHECK(r->status == 413);
    CHECK(s.get().count().connections_total == 1);
  });
}

TEST_CASE("HTTP/2 streams both ways with trailers") {
  on_each_backend([]() -> task<void> {
    running_server s(
        [](exchange& e) -> task<void> {
          (void)co_await e.start({});
          for (;;) {
            auto piece = co_await e.read();
            if (!piece || piece->empty()) break;
            (void)co_await e.write(as_text(piece->view()));
          }
          net::http::headers trailers;
          trailers.add("X-Sum", "42");
          CHECK((co_await e.finish(trailers)).has_value());
        },
        with_tls(pem(), true));
    client c;
    auto x = co_await c.open({.to = to(s.at()), .method = "PUT", .path = "/", .streams = true});
    REQUIRE(x.has_value());
    for (auto* text : {"one ", "two ", "three"}) {
      bytes part = as_bytes(std::string_view(text));
      CHECK((co_await (*x)->write({&part, 1})).has_value());
      auto piece = co_await (*x)->read();
      REQUIRE(piece.has_value());
      CHECK(as_text(piece->view()) == text);
    }
    CHECK((co_await (*x)->finish()).has_value());
    auto rest = co_await (*x)->read_all();
    REQUIRE_MESSAGE(rest.has_value(), rest.error().message);
    CHECK(rest->empty());
    CHECK((*x)->trailers().get("x-sum") == "42");
  });
}

TEST_CASE("a reset drops the HTTP/2 handler, a handler that gives up resets") {
  on_each_backend([]() -> task<void> {
    bool dropped = false, waiting = false;
    struct note {
      bool& flag;
      ~note() { flag = true; }
    };
    running_server s(
        [&](exchange& e) -> task<void> {
          if (e.request().path == "/half") {
            (void)co_await e.start({});
            (void)co_await e.write("half");
            co_return;
          }
          note n{dropped};
          waiting = true;
          co_await reactor::sleep_for(std::chrono::hours(1));
        },
        with_tls(pem(), true));
    client c;
    {
      auto x = co_await c.open({.to = to(s.at()), .path = "/"});
      REQUIRE(x.has_value());
      while (!waiting) co_await reactor::sleep_for(std::chrono::milliseconds(1));
    }
    for (int i = 0; i < 1000 && !dropped; ++i) co_await reactor::sleep_for(std::chrono::milliseconds(1));
    CHECK(dropped);
    auto r = co_await c.fetch({.to = to(s.at()), .path = "/half"});
    CHECK_FALSE(r.has_value());
  });
}

TEST_CASE("back pressure: a client that doesn't read stops the writer") {
  on_each_backend([]() -> task<void> {
    std::size_t written = 0;
    running_server s(
        [&](exchange& e) -> task<void> {
          (void)co_await e.start({});
          std::string piece(64 * 1024, 'p');
          for (int i = 0; i < 200; ++i) {
            if (!co_await e.write(piece)) co_return;
            written += piece.size();
          }
          (void)co_await e.finish();
        },
        with_tls(pem(), true));
    client c;
    auto x = co_await c.open({.to = to(s.at()), .path = "/"});
    REQUIRE(x.has_value());
    REQUIRE((co_await (*x)->head()).has_value());
    // It begins, and stands still.
    CHECK(co_await tests::stands_still(written));
    CHECK(written <= 512 * 1024);  // the stream's window and what is under way
    auto all = co_await (*x)->read_all();
    REQUIRE_MESSAGE(all.has_value(), all.error().message);
    CHECK(all->size() == 200 * 64 * 1024);
  });
}

TEST_CASE("hostile frames end the connection, not the server") {
  on_each_backend([]() -> task<void> {
    running_server s(
        [](exchange& e) -> task<void> {
          co_await reactor::sleep_for(std::chrono::milliseconds(5));
          (void)co_await e.respond({}, std::string_view("ok"));
        },
        with_tls(pem(), true));
    std::string rapid = preface, pings = preface, settings = preface,
                empty_data = preface + frame(1, 4, 1, get_headers);
    std::string overflows = preface, late_data = preface,
                late_headers = preface;  // streams that the server has to reset
    for (std::uint32_t i = 0; i < 2000; ++i) {
      rapid += frame(1, 5, 2 * i + 1, get_headers) + frame(3, 0, 2 * i + 1, std::string("\0\0\0\x08", 4));
      overflows += frame(1, 5, 2 * i + 1, get_headers) + frame(8, 0, 2 * i + 1, "\x7f\xff\xff\xff");
      late_data += frame(1, 5, 2 * i + 1, get_headers) + frame(0, 0, 2 * i + 1, "x");
      late_headers += frame(1, 5, 2 * i + 1, get_headers) + frame(1, 5, 2 * i + 1, get_headers);
      pings += frame(6, 0, 0, "12345678");
      settings += frame(4, 0, 0, "");
      empty_data += frame(0, 0, 1, "");
    }
    struct row {
      std::string what;
      std::string bytes;
      int code;
    };
    const row rows[] = {
        {"rapid reset", rapid, 11},
        {"resets made by window overflows", overflows, 11},
        {"late data", late_data, 5},
        {"late headers", late_headers, 5},
        {"ping flood", pings, 11},
        {"settings flood", settings, 11},
        {"empty data flood", empty_data, 11},
        {"headers on stream 0", preface + frame(1, 5, 0, get_headers), 1},
        {"an even stream", preface + frame(1, 5, 2, get_headers), 1},
        {"bad HPACK", preface + frame(1, 5, 1, "\xff\xff\xff\xff\xff\xff"), 9},
        {"frame too large", preface + frame(0, 0, 1, std::string(20000, 'x')), 6},
        {"data on an idle stream", preface + frame(0, 0, 1, "x"), 1},
        {"settings with a stream", preface + frame(4, 0, 1, ""), 1},
        {"window update of 0", preface + frame(8, 0, 0, std::string(4, '\0')), 1},
        {"window overflow", preface + frame(8, 0, 0, "\x7f\xff\xff\xff"), 3},
        {"continuation alone", preface + frame(9, 4, 1, get_headers), 1},
        {"ping of a wrong size", preface + frame(6, 0, 0, "1234"), 6},
    };
    for (auto& r : rows) {
      CAPTURE(r.what);
      CHECK((co_await goaway_of(s.at(), r.bytes)) == r.code);
    }
    CHECK((co_await goaway_of(s.at(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n")) == 1);
    client c;
    auto alive = co_await c.fetch({.to = to(s.at()), .path = "/"});
    REQUIRE_MESSAGE(alive.has_value(), alive.error().message);
    CHECK(alive->body == "ok");
  });
}

TEST_CASE("a server that leaves answers everybody, once more") {
  on_each_backend([]() -> task<void> {
    running_server s([](exchange& e) -> task<void> { (void)co_await e.respond({}, std::string_view("ok")); },
                     with_tls(pem(), true));
    client c;
    for (int i = 0; i < 2; ++i) CHECK((co_await c.fetch({.to = to(s.at()), .path = "/"})).has_value());
    CHECK(s.get().count().connections_total == 1);
    s.get().leave(0);
    // The client goes to a new connection, and nothing is lost on the way.
    for (int i = 0; i < 3; ++i) {
      auto got = co_await c.fetch({.to = to(s.at()), .path = "/"});
      REQUIRE_MESSAGE(got.has_value(), got.error().message);
      CHECK(got->body == "ok");
    }
    CHECK(s.get().count().connections_total >= 2);
    CHECK((co_await s.get().drain(0, reactor::loop::current().now() + std::chrono::seconds(3))));
    CHECK(s.get().count().connections == 0);
  });
}

TEST_CASE("draining lets exchanges end and then the connection") {
  on_each_backend([]() -> task<void> {
    for (bool h2 : {false, true}) {
      CAPTURE(h2);
      running_server s(
          [](exchange& e) -> task<void> {
            co_await reactor::sleep_for(std::chrono::milliseconds(50));
            (void)co_await e.respond({}, std::string_view("done"));
          },
          with_tls(pem(), h2));
      client c;
      auto warm = co_await c.fetch({.to = to(s.at()), .path = "/"});
      REQUIRE(warm.has_value());
      auto x = co_await c.open({.to = to(s.at()), .path = "/"});
      REQUIRE(x.has_value());
      while (s.get().count().exchanges == 0) co_await reactor::sleep_for(std::chrono::milliseconds(1));
      CHECK((co_await s.get().drain(0, reactor::loop::current().now() + std::chrono::seconds(3))));
      auto body = co_await (*x)->read_all();
      REQUIRE_MESSAGE(body.has_value(), body.error().message);
      CHECK(*body == "done");
      CHECK(s.get().count().connections == 0);
    }
  });
}
