// What an HTTP/1.1 server must take, refuse and say (RFC 9112), over real sockets.
#include <sys/resource.h>

#include <map>

#include "net/http/h1_parser.h"
#include "support.h"

using namespace kedge;
using namespace kedge::test;
using net::http::exchange;
using net::http::response;

namespace {

// Answers with what it understood: "GET /path?q host=a body=…".
task<void> report(exchange& e) {
  auto body = co_await e.read_all();
  response head;
  if (!body) head.status = body.error().code == errc::too_large ? 413 : 400;
  auto& r = e.request();
  (void)co_await e.respond(head, r.method + " " + r.path + "|" + r.query + " host=" + r.authority +
                                     " body=" + (body ? *body : "<" + body.error().message + ">"));
}

}  // namespace

TEST_CASE("requests as they come, and their answers") {
  struct row {
    std::string what;
    std::string request;
    int status;            // of the first answer; 0: the connection is closed without one
    const char* contains;  // in all that comes back
    bool stays_open = false;
  };
  const row rows[] = {
      {"simple", "GET /a?b=c HTTP/1.1\r\nHost: h:1\r\n\r\n", 200, "GET /a|b=c host=h:1 body=", true},
      {"asks to close", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 200, "Connection: close"},
      {"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", 200, "Connection: close"},
      {"HTTP/1.0 keep-alive", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, "Connection: keep-alive", true},
      {"absolute form", "GET http://other/x?y HTTP/1.1\r\nHost: h\r\n\r\n", 200, "GET /x|y host=other", true},
      {"length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", 200, "body=hello", true},
      {"chunked",
       "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n",
       200, "body=abcde", true},
      {"pipelined",
       "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nxGET /2 HTTP/1.1\r\nHost: h\r\nConnection: "
       "close\r\n\r\n",
       200, "GET /2|"},
      {"pipelined behind chunks",
       "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nGET /2 HTTP/1.1\r\nHost: "
       "h\r\nConnection: close\r\n\r\n",
       200, "GET /2|"},
      {"HEAD", "HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 200, "Content-Length:"},
      {"expect", "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok", 200, "body=ok",
       true},
      {"no host", "GET / HTTP/1.1\r\n\r\n", 400, ""},
      {"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, ""},
      {"host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, ""},
      {"host with userinfo", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, ""},
      {"length and chunked",
       "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, ""},
      {"chunked and length",
       "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400, ""},
      {"two lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400, ""},
      {"length list", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nhello", 400, ""},
      {"negative length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -5\r\n\r\nhello", 400, ""},
      {"length with sign", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello", 400, ""},
      {"length overflows", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400, ""},
      {"length in hex", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x5\r\n\r\nhello", 400, ""},
      {"gzip, chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, ""},
      {"chunked, identity", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400,
       ""},
      {"chunked twice",
       "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
       ""},
      {"chunked in 1.0", "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, ""},
      {"space before colon", "GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400, ""},
      {"folded header", "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", 400, ""},
      {"bare CR in a value", "GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n", 400, ""},
      {"NUL in a value", std::string("GET / HTTP/1.1\r\nHost: h\r\nA: b\0c\r\n\r\n", 35), 400, ""},
      {"bare LF", "GET / HTTP/1.1\nHost: h\n\n", 505, ""},
      {"bad name", "GET / HTTP/1.1\r\nHost: h\r\nA(: b\r\n\r\n", 400, ""},
      {"empty name", "GET / HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n", 400, ""},
      {"space in the target", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", 400, ""},
      {"control in the target", "GET /a\x01 HTTP/1.1\r\nHost: h\r\n\r\n", 400, ""},
      {"fragment", "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", 400, ""},
      {"chunk size not hex", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nabc\r\n0\r\n\r\n",
       400, ""},
      {"chunk size overflows", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
       400, ""},
      {"chunk without its line end",
       "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400, ""},
      {"huge extension",
       "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;" + std::string(9000, 'e') +
           "\r\nx\r\n0\r\n\r\n",
       400, ""},
      {"large header", "GET / HTTP/1.1\r\nHost: h\r\nA: " + std::string(70000, 'a') + "\r\n\r\n", 431, ""},
      {"many headers",
       [] {
         std::string s = "GET / HTTP/1.1\r\nHost: h\r\n";
         for (int i = 0; i < 300; ++i) s += "A: b\r\n";
         return s + "\r\n";
       }(),
       431, ""},
      {"large target", "GET /" + std::string(70000, 'a') + " HTTP/1.1\r\nHost: h\r\n\r\n", 414, ""},
      {"unknown method", "FOO / HTTP/1.1\r\nHost: h\r\n\r\n", 501, ""},
      {"HTTP/2.0", "GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505, ""},
      {"HTTP/1.2", "GET / HTTP/1.2\r\nHost: h\r\n\r\n", 505, ""},
      {"HTTP/0.9", "GET /\r\n\r\n", 505, ""},
      {"TLS to a plain port", "\x16\x03\x01\x02\x01\x01\xfc\x03", 501, ""},
      {"body too large by length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4000000\r\n\r\n", 413,
       "Connection: close"},
      {"half a request", "GET / HTTP/1.1\r\nHo", 0, ""},
  };
  on_each_backend([&]() -> task<void> {
    net::http::server_options o;
    o.connections.header_timeout =
        std::chrono::milliseconds(1000);  // for "half a request" alone; the others arrive in time
    o.connections.body_timeout = std::chrono::milliseconds(1000);
    running_server s(report, std::move(o));
    for (auto& r : rows) {
      CAPTURE(r.what);
      auto got = co_await raw_exchange(s.at(), r.request, std::chrono::milliseconds(r.stays_open ? 100 : 3000));
      CAPTURE(got.substr(0, 400));
      if (r.status == 0)
        CHECK(got.empty());
      else if (got.starts_with("HTTP/1.1 100 Continue\r\n\r\n"))
        CHECK(got.substr(25 + 9, 3) == std::to_string(r.status));
      else
        CHECK(got.substr(0, 12) == "HTTP/1.1 " + std::to_string(r.status));
      CHECK(got.find(r.contains) != std::string::npos);
      CHECK(got.ends_with("<open>") == r.stays_open);
      if (r.status >= 400)
        CHECK(got.find("HTTP/1.1 200") == std::string::npos);  // nothing behind it was taken for a request
    }
    CHECK(s.get().count().connections == 0);
  });
}

TEST_CASE("a request in single bytes is the same request") {
  std::string text = "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n";
  net::http::h1_parser p(net::http::h1_parser::side::request);
  std::string body;
  for (auto& c : text) {
    auto used = p.feed({reinterpret_cast<std::byte*>(&c), 1});
    REQUIRE(used.has_value());
    if (used->body) body += c;
  }
  CHECK(p.complete());
  CHECK(body == "abc");
  CHECK(p.head().target == "/p");
  CHECK(p.head().headers.get("host") == "h");
  CHECK(p.trailers().get("a") == "b");
}

TEST_CASE("a handler that doesn't answer, that stops half-way, that echoes line breaks") {
  on_each_backend([]() -> task<void> {
    running_server s([](exchange& e) -> task<void> {
      response head;
      if (e.request().path == "/half") {
        (void)co_await e.start(head);
        (void)co_await e.write("half");
      } else if (e.request().path == "/split") {
        head.headers.add("X-Echo", "a\r\nSet-Cookie: evil=1\r\n\r\n<html>");
        head.headers.add("Content-Length", "1");  // the server's own is used
        (void)co_await e.respond(head, "body");
      }
    });
    auto get = [&](std::string path) { return raw_exchange(s.at(), "GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n"); };
    CHECK((co_await get("/none")).starts_with("HTTP/1.1 500 "));
    auto half = co_await get("/half");
    CHECK(half.find("half") != std::string::npos);
    CHECK(half.find("\r\n0\r\n") == std::string::npos);
    CHECK_FALSE(half.ends_with("<open>"));
    auto split = co_await get("/split");
    CHECK(split.find("\r\nSet-Cookie") == std::string::npos);
    CHECK(split.find("Content-Length: 4\r\n") != std::string::npos);
  });
}

TEST_CASE("more connections than allowed are refused, and the server goes on") {
  on_each_backend([]() -> task<void> {
    net::http::server_options o;
    o.connections_max = 5;
    running_server s(report, std::move(o));
    std::vector<std::unique_ptr<reactor::stream>> held;
    for (int i = 0; i < 8; ++i) {
      auto c = co_await reactor::os_network().connect(s.at());
      REQUIRE(c.has_value());
      (void)co_await (*c)->send(as_bytes("G"));  // each has begun to ask
      held.push_back(std::move(*c));
      while (s.get().count().connections_total + s.get().count().connections_refused < held.size())
        co_await reactor::sleep_for(std::chrono::milliseconds(1));
    }
    CHECK(s.get().count().connections == 5);
    CHECK(s.get().count().connections_refused == 3);
    CHECK(s.get().count().connections_evicted == 0);
    held.clear();
    while (s.get().count().connections > 0) co_await reactor::sleep_for(std::chrono::milliseconds(1));
    CHECK((co_await raw_exchange(s.at(), "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))
              .starts_with("HTTP/1.1 200"));
  });
}

TEST_CASE("when connections become few, quiet ones of whoever has most make room") {
  on_each_backend([]() -> task<void> {
    net::http::server_options o;
    constexpr std::size_t most = 640;
    o.connections_max = most;
    running_server s(
        [](exchange& e) -> task<void> {
          e.connection().owner = std::hash<std::string_view>{}(e.request().headers.get("X-User"));
          co_await report(e);
        },
        std::move(o));
    std::map<std::string, std::vector<std::unique_ptr<reactor::stream>>> held;
    auto come = [&](std::string who) -> task<bool> {
      auto c = co_await reactor::os_network().connect(s.at());
      REQUIRE(c.has_value());
      if (!co_await (*c)->send(as_bytes("GET / HTTP/1.1\r\nHost: h\r\nX-User: " + who + "\r\n\r\n"))) co_return false;
      auto answer = co_await (*c)->receive();
      if (!answer || answer->empty()) co_return false;
      held[who].push_back(std::move(*c));
      co_return true;
    };
    // Nodes were here first, and are quiet for longest.
    for (int i = 0; i < 100; ++i) CHECK(co_await come("node"));
    for (std::size_t i = 100; i < most - 11; ++i) CHECK(co_await come("mallory"));
    CHECK(s.get().count().connections_evicted == 0);
    int served = 0;
    for (int i = 0; i < 60; ++i) {
      served += co_await come("another");
      co_await reactor::sleep_for(net::make_room_pause / 4);
    }
    CHECK(served == 60);
    CHECK(s.get().count().connections_evicted > 0);
    CHECK(s.get().count().connections <= most);
    auto ended = [](auto& streams) -> task<int> {
      int n = 0;
      for (auto& c : streams) {
        // Alive: it answers.
        if (!co_await c->send(as_bytes("GET / HTTP/1.1\r\nHost: h\r\n\r\n"))) {
          ++n;
          continue;
        }
        auto answer = co_await c->receive();
        n += !answer || answer->empty();
      }
      co_return n;
    };
    CHECK(co_await ended(held["node"]) == 0);
    CHECK(co_await ended(held["another"]) == 0);
    CHECK(co_await ended(held["mallory"]) > 0);
  });
}

TEST_CASE("a body must be there in time, however steadily it drips") {
  on_each_backend([]() -> task<void> {
    net::http::server_options o;
    o.connections.body_whole_timeout = std::chrono::milliseconds(200);
    std::string seen;
    running_server s(
        [&](exchange& e) -> task<void> {
          if (e.request().path == "/patient") e.body_deadline(time_point::max());
          auto all = co_await e.read_all();
          seen = all ? *all : all.error().code == errc::timeout ? "late" : "failed";
          (void)co_await e.respond({.status = all ? 200 : 408}, "");
        },
        std::move(o));
    auto drip = [&](std::string path) -> task<std::string> {
      auto c = co_await reactor::os_network().connect(s.at());
      REQUIRE(c.has_value());
      (void)co_await (*c)->send(as_bytes("POST " + path + " HTTP/1.1\r\nHost: h\r\nContent-Length: 40\r\n\r\n"));
      for (int i = 0; i < 40; ++i) {
        if (!co_await (*c)->send(as_bytes("x"))) break;
        co_await reactor::sleep_for(std::chrono::milliseconds(10));
        if (seen == "late") break;
      }
      auto answer = co_await (*c)->receive();
      co_return answer ? std::string(as_text(answer->view())) : "";
    };
    CHECK((co_await drip("/")).starts_with("HTTP/1.1 408"));
    CHECK(seen == "late");
    seen.clear();
    CHECK((co_await drip("/patient")).starts_with("HTTP/1.1 200"));
    CHECK(seen == std::string(40, 'x'));
  });
}

TEST_CASE("slow readers and slow writers lose their connection") {
  on_each_backend([]() -> task<void> {
    net::http::server_options o;
    o.connections.header_timeout = std::chrono::milliseconds(50);
    o.connections.write_timeout = std::chrono::milliseconds(50);
    bool gave_up = false;
    running_server s(
        [&](exchange& e) -> task<void> {
          std::string big(20'000'000, 'x');
          gave_up = !co_await e.respond({}, big);
        },
        std::move(o));
    auto begin = reactor::loop::current().now();
    CHECK(co_await raw_exchange(s.at(), "G", std::chrono::seconds(5)) == "");  // slowloris
    CHECK(reactor::loop::current().now() - begin < std::chrono::milliseconds(4500));
    auto c = co_await reactor::os_network().connect(s.at());
    REQUIRE(c.has_value());
    (void)co_await (*c)->send(as_bytes("GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
    for (int i = 0; i < 5000 && s.get().count().connections > 0; ++i)
      co_await reactor::sleep_for(std::chrono::milliseconds(1));
    CHECK(s.get().count().connections == 0);
  });
}

TEST_CASE("a server that leaves closes behind the next answer, and a quiet connection with a word") {
  on_each_backend([]() -> task<void> {
    running_server s([](exchange& e) -> task<void> { (void)co_await e.respond({}, std::string_view("ok")); });
    const std::string request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    auto connect = [&]() -> task<std::unique_ptr<reactor::stream>> {
      auto c = co_await reactor::os_network().connect(s.at());
      REQUIRE(c.has_value());
      co_return std::move(*c);
    };
    auto ask = [&](reactor::stream& c) -> task<std::string> {
      CHECK((co_await c.send(as_bytes(request))).has_value());
      auto b = co_await c.receive();
      co_return b ? std::string(as_text(b->view())) : "";
    };
    auto ends = [](reactor::stream& c) -> task<bool> {
      auto b = co_await c.receive();
      co_return b && b->empty();  // not reset
    };
    auto busy = co_await connect(), quiet = co_await connect();
    for (auto* c : {busy.get(), quiet.get()}) CHECK((co_await ask(*c)).find("Connection: close") == std::string::npos);
    s.get().leave(0);
    CHECK((co_await ask(*busy)).find("Connection: close") != std::string::npos);
    CHECK((co_await ends(*busy)));
    auto late = co_await connect();
    CHECK((co_await ask(*late)).find("Connection: close") != std::string::npos);
    reactor::scope draining;
    bool drained = false;
    draining.spawn([](net::http::server& x, bool& done) -> task<void> {
      done = co_await x.drain(0, reactor::loop::current().now() + std::chrono::seconds(3));
    }(s.get(), drained));
    CHECK((co_await ends(*quiet)));
    quiet.reset();
    late.reset();
    co_await draining.join();
    CHECK(drained);
  });
}
