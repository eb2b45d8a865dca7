// The client against the server, over TCP, TLS and unix sockets.
#include "support.h"

using namespace kedge;
using namespace kedge::test;
using net::http::client;
using net::http::exchange;
using net::http::response;

namespace {

task<void> echo(exchange& e) {
  auto body = co_await e.read_all();
  response head;
  head.headers.add("X-Method", e.request().method);
  head.headers.add("X-Query", e.request().query);
  if (!body) {
    head.status = body.error().code == errc::too_large ? 413 : 400;
    (void)co_await e.respond(head, body.error().message);
    co_return;
  }
  (void)co_await e.respond(head, *body);
}

net::http::target to(const reactor::endpoint& at) {
  net::http::target t;
  t.at = at;
  return t;
}

}  // namespace

TEST_CASE("a request and its answer, again on the same connection") {
  on_each_backend([]() -> task<void> {
    running_server s(echo);
    client c;
    for (int i = 0; i < 3; ++i) {
      auto r =
          co_await c.fetch({.to = to(s.at()), .method = "POST", .path = "/a?b=1", .body = std::string(100'000, 'x')});
      REQUIRE_MESSAGE(r.has_value(), r.error().message);
      CHECK(r->status == 200);
      CHECK(r->headers.get("x-query") == "b=1");
      CHECK(r->body == std::string(100'000, 'x'));
    }
    CHECK(s.get().count().connections_total == 1);
  });
}

// Of one piece, of several records, and more than a socket takes at once; several requests in one turn.
TEST_CASE("bodies arrive whole and in order, whatever their size, over TLS too") {
  const auto pem = make_certificate("server");
  on_each_backend([&]() -> task<void> {
    auto context = net::tls_client_context::make({.ca_pem = pem.certificate});
    REQUIRE(context.has_value());
    for (bool tls : {false, true}) {
      running_server s(echo, tls ? with_tls(pem) : net::http::server_options());
      client c;
      auto where = to(s.at());
      if (tls) where.tls = *context;
      reactor::scope asking;
      for (std::size_t size : {0, 1, 1'700, 8'192, 16'385, 100'000, 2'900'000}) {
        std::string body(size, '\0');
        for (std::size_t i = 0; i < size; ++i) body[i] = static_cast<char>('a' + i * 31 % 23);
        asking.spawn([](client& by, net::http::target at, std::string sent) -> task<void> {
          for (int again = 0; again < 2; ++again) {
            auto r = co_await by.fetch({.to = at, .method = "POST", .path = "/", .body = sent});
            REQUIRE_MESSAGE(r.has_value(), r.error().message);
            CHECK(r->status == 200);
            CHECK(r->body == sent);
          }
        }(c, where, std::move(body)));
      }
      co_await asking.join();
    }
  });
}

TEST_CASE("a body that streams both ways, in chunks with trailers") {
  on_each_backend([]() -> task<void> {
    running_server s([](exchange& e) -> task<void> {
      (void)co_await e.start({});
      for (;;) {
        auto piece = co_await e.read();
        if (!piece || piece->empty()) break;
        (void)co_await e.write(as_text(piece->view()));
      }
      net::http::headers trailers;
      trailers.add("X-Sum", "42");
      (void)co_await e.finish(trailers);
    });
    client c;
    auto x = co_await c.open({.to = to(s.at()), .method = "PUT", .path = "/", .streams = true});
    REQUIRE(x.has_value());
    std::string got;
    for (auto* text : {"one ", "two ", "three"}) {
      bytes part = as_bytes(std::string_view(text));
      CHECK((co_await (*x)->write({&part, 1})).has_value());
      auto piece = co_await (*x)->read();  // each comes back before the next is sent
      REQUIRE(piece.has_value());
      got += as_text(piece->view());
    }
    CHECK((co_await (*x)->finish()).has_value());
    auto rest = co_await (*x)->read_all();
    REQUIRE_MESSAGE(rest.has_value(), rest.error().message);
    CHECK(got + *rest == "one two three");
    CHECK((*x)->trailers().get("x-sum") == "42");
  });
}

TEST_CASE("a body over the limit is refused and the connection ends") {
  on_each_backend([]() -> task<void> {
    running_server s(echo);
    client c;
    auto r = co_await c.fetch({.to = to(s.at()), .method = "POST", .path = "/", .body = std::string(4'000'000, 'x')});
    REQUIRE_MESSAGE(r.has_value(), r.error().message);
    CHECK(r->status == 413);
  });
}

TEST_CASE("over a unix socket") {
  on_each_backend([]() -> task<void> {
    net::http::server_options o;
    auto path = "/tmp/kedge-net-test-" + reactor::loop::current().random().hex_text(6) + ".sock";
    o.listen.push_back(reactor::endpoint::unix_path(path));
    running_server s(echo, std::move(o));
    client c;
    auto r = co_await c.fetch({.to = to(reactor::endpoint::unix_path(path)), .path = "/"});
    REQUIRE(r.has_value());
    CHECK(r->headers.get("x-method") == "GET");
    ::remove(path.c_str());
  });
}

TEST_CASE("a dead idle connection is replaced") {
  on_each_backend([]() -> task<void> {
    net::http::server_options o;
    o.connections.idle_timeout = std::chrono::milliseconds(30);
    running_server s(echo, std::move(o));
    client c;
    for (int i = 0; i < 2; ++i) {
      auto r = co_await c.fetch({.to = to(s.at()), .path = "/"});
      REQUIRE_MESSAGE(r.has_value(), r.error().message);
      while (s.get().count().connections > 0)
        co_await reactor::sleep_for(std::chrono::milliseconds(5));  // until the server has ended it
    }
    CHECK(s.get().count().connections_total == 2);
  });
}

TEST_CASE("what may be made twice is sent again when a kept connection ends without an answer") {
  on_each_backend([]() -> task<void> {
    // Answers the first request of each connection, and ends the connection when it has the second.
    auto listener = reactor::os_network().listen({"127.0.0.1", 0});
    REQUIRE(listener.has_value());
    std::vector<std::string> asked;
    reactor::scope serving;
    serving.spawn([](reactor::listener& l, std::vector<std::string>& all) -> task<void> {
      for (;;) {
        auto s = co_await l.accept();
        if (!s) co_return;
        for (int i = 0; i < 2; ++i) {
          std::string text;
          while (!text.ends_with("body") && !(text.starts_with("GET") && text.ends_with("\r\n\r\n"))) {
            auto b = co_await (*s)->receive();
            if (!b || b->empty()) break;
            text += as_text(b->view());
          }
          if (text.empty()) break;
          all.push_back(text.substr(0, text.find(' ')));
          if (i == 0) (void)co_await (*s)->send(as_bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
        }
      }
    }(**listener, asked));
    for (auto [method, twice] :
         {std::pair("GET", true), {"PUT", true}, {"DELETE", true}, {"POST", false}, {"PATCH", false}}) {
      CAPTURE(method);
      client c;
      auto request = [&] {
        return net::http::client_request{.to = to((*listener)->local()),
                                         .method = method,
                                         .path = "/",
                                         .body = std::string_view(method) == "GET" ? "" : "body"};
      };
      auto first = co_await c.fetch(request());
      REQUIRE_MESSAGE(first.has_value(), first.error().message);
      asked.clear();
      auto second = co_await c.fetch(request());
      CHECK(second.has_value() == twice);
      if (second) CHECK(second->body == "ok");
      CHECK(asked == std::vector<std::string>(twice ? 2 : 1, method));
    }
  });
}

TEST_CASE("upgrade hands over the connection, CONNECT too") {
  on_each_backend([]() -> task<void> {
    running_server s([](exchange& e) -> task<void> {
      response head;
      if (e.request().method == "CONNECT") {
        head.status = 200;
      } else {
        head.status = 101;
        head.headers.add("Connection", "Upgrade");
        head.headers.add("Upgrade", "shout");
      }
      auto stream = co_await e.upgrade(head);
      REQUIRE(stream.has_value());
      for (;;) {
        auto b = co_await (*stream)->receive();
        if (!b || b->empty()) break;
        std::string text(as_text(b->view()));
        for (auto& c : text) c = static_cast<char>(std::toupper(c));
        (void)co_await (*stream)->send(as_bytes(text));
      }
    });
    client c;
    for (auto* method : {"GET", "CONNECT"}) {
      net::http::client_request r{.to = to(s.at()), .method = method, .path = *method == 'C' ? "example:80" : "/"};
      if (*method == 'G') {
        r.headers.add("Connection", "Upgrade");
        r.headers.add("Upgrade", "shout");
      }
      auto x = co_await c.open(std::move(r));
      REQUIRE(x.has_value());
      auto head = co_await (*x)->head();
      REQUIRE_MESSAGE(head.has_value(), head.error().message);
      CHECK((*head)->status == (*method == 'C' ? 200 : 101));
      auto stream = (*x)->upgraded();
      REQUIRE(stream.has_value());
      for (auto* text : {"hello", "again"}) {
        CHECK((co_await (*stream)->send(as_bytes(std::string_view(text)))).has_value());
        auto b = co_await (*stream)->receive();
        REQUIRE(b.has_value());
        CHECK(as_text(b->view()) == (text[0] == 'h' ? "HELLO" : "AGAIN"));
      }
    }
  });
}

TEST_CASE("a handler is dropped where it waits when its client goes away") {
  on_each_backend([]() -> task<void> {
    bool dropped = false, waiting = false;
    struct note {
      bool& flag;
      ~note() { flag = true; }
    };
    running_server s([&](exchange&) -> task<void> {
      note n{dropped};
      waiting = true;
      co_await reactor::sleep_for(std::chrono::hours(1));
    });
    {
      client c;
      auto x = co_await c.open({.to = to(s.at()), .path = "/"});
      REQUIRE(x.has_value());
      while (!waiting) co_await reactor::sleep_for(std::chrono::milliseconds(1));
      CHECK_FALSE(dropped);
    }
    for (int i = 0; i < 1000 && !dropped; ++i) co_await reactor::sleep_for(std::chrono::milliseconds(1));
    CHECK(dropped);
  });
}

TEST_CASE("URLs") {
  struct row {
    std::string_view url, host, path;
    int port;
  };
  for (auto& r : std::initializer_list<row>{{"http://a/b?c#d", "a", "/b?c", 80},
                                            {"http://a:81", "a", "/", 81},
                                            {"http://[::1]:6443/x", "::1", "/x", 6443},
                                            {"http://10.0.0.1?q", "10.0.0.1", "/?q", 80},
                                            {"http://u@a/", "", "", 0},
                                            {"ftp://a/", "", "", 0},
                                            {"http://:80/", "", "", 0},
                                            {"http://a:70000/", "", "", 0},
                                            {"http://[::1/", "", "", 0}}) {
    CAPTURE(r.url);
    auto p = net::http::parse_url(r.url, nullptr);
    CHECK(p.has_value() == (r.port != 0));
    if (!p) continue;
    CHECK(p->first.host == r.host);
    CHECK(p->first.at.port == r.port);
    CHECK(p->second == r.path);
  }
}
