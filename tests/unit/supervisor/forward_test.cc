// One request passed on, over real sockets: what the target gets, and what the client gets back.
#include "supervisor/forward.h"

#include "supervisor/aggregated_servers.h"

#include "api/answer/gzip.h"
#include "base/strings.h"
#include "net/websocket/websocket.h"
#include "support.h"

using namespace kedge;
using namespace kedge::supervisor;
using namespace kedge::test;
using namespace std::chrono_literals;

namespace {

// A proxy in front of a target; both answer as the test says.
struct chain {
  net::http::request seen;  // by the target
  std::string seen_body;
  running_server target;
  forwarding how;
  net::http::client between, client;
  running_server proxy;

  explicit chain(function_handler::function answer, forwarding f = {})
      : target([this, answer = std::move(answer)](net::http::exchange& e) -> task<void> {
          seen = e.request();
          if (auto body = co_await e.read_all()) seen_body = *std::move(body);
          co_await answer(e);
        }),
        how(std::move(f)),
        proxy([this](net::http::exchange& e) -> task<void> {
          auto f = how;
          if (f.ways.empty()) f.ways = {{.at = target.at()}};
          f.path = e.request().target;
          co_await forward(e, between, std::move(f));
        }) {}
  task<net::http::client_response> ask(net::http::client_request r) {
    r.to = {.at = proxy.at()};
    auto got = co_await client.fetch(std::move(r));
    REQUIRE_MESSAGE(got.has_value(), (got ? "" : got.error().message));
    co_return *std::move(got);
  }
};

function_handler::function say(std::string text, std::string type = "text/plain", int status = 200) {
  return [=](net::http::exchange& e) -> task<void> {
    net::http::response r{.status = status, .headers = {}};
    r.headers.add("Content-Type", type);
    (void)co_await e.respond(r, text);
  };
}

forwarding as_page() { return {.links = proxied_origin{.prefix = "/p", .target = "10.42.0.7:80", .request = {}}}; }

std::string gzipped(std::string_view text) {
  std::string out;
  REQUIRE(api::gzip_writer().add(text, true, out).has_value());
  return out;
}

}  // namespace

TEST_CASE("who the client is, and what is between two hops, stays here") {
  net::http::request r;
  for (auto& [name, value] : std::initializer_list<std::pair<const char*, const char*>>{
           {"Authorization", "Bearer secret"},
           {"X-Remote-User", "root"},
           {"x-remote-extra-a", "b"},
           {"X_Remote_User", "root"},
           {"x_remote-Group", "system:masters"},
           {"X-Remote_Extra_a", "b"},
           {"Impersonate_User", "root"},
           {"Impersonate-User", "root"},
           {"Impersonate-Extra-Scopes", "x"},
           {"Connection", "Upgrade, X-Nominated"},
           {"X-Nominated", "1"},
           {"Upgrade", "websocket"},
           {"Te", "trailers"},
           {"Transfer-Encoding", "chunked"},
           {"Proxy-Authorization", "Basic x"},
           {"Host", "server"},
           {"Content-Length", "3"},
           {"Expect", "100-continue"},
           {"Accept", "*/*"},
           {"Cookie", "a=b"},
           {"X-Forwarded-For", "1.2.3.4"},
           {"X-Forwarded-For", "5.6.7.8"},
           {"Sec-WebSocket-Protocol", "chat, base64url.bearer.authorization.k8s.io.c2VjcmV0"},
           {"Sec-WebSocket-Protocol", " base64url.bearer.authorization.k8s.io.b3RoZXI,  v2 "}})
    r.headers.add(name, value);
  for (bool upgrade : {false, true}) {
    auto out = forwarded_headers(r, "9.9.9.9", upgrade);
    std::string text;
    for (auto& [name, value] : out) text += name + ": " + value + "\n";
    CHECK(text == std::string("Accept: */*\nCookie: a=b\nSec-WebSocket-Protocol: chat,v2\n") +
                      (upgrade ? "Connection: Upgrade\nUpgrade: websocket\n" : "") +
                      "X-Forwarded-For: 1.2.3.4, 5.6.7.8, 9.9.9.9\n");
  }
  net::http::request only;
  only.headers.add("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.c2VjcmV0");
  CHECK_FALSE(forwarded_headers(only, "9.9.9.9", true).has("Sec-WebSocket-Protocol"));
}

TEST_CASE("every method, body and answer passes as it is") {
  on_each_backend([]() -> task<void> {
    chain c([](net::http::exchange& e) -> task<void> {
      net::http::response r{.status = 207, .headers = {}};
      r.headers.add("X-Answer", "yes");
      r.headers.add("Keep-Alive", "timeout=5");
      (void)co_await e.respond(r, "answer to " + e.request().method);
    });
    for (auto* method : {"GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"}) {
      CAPTURE(method);
      auto got =
          co_await c.ask({.method = method, .path = "/x?y=z", .body = std::string(method) == "GET" ? "" : "body"});
      CHECK(got.status == 207);
      CHECK(got.body == "answer to " + std::string(method));
      CHECK(got.headers.get("Content-Length") == std::to_string(got.body.size()));
      CHECK(got.headers.get("X-Answer") == "yes");
      CHECK_FALSE(got.headers.has("Keep-Alive"));
      CHECK(c.seen.method == method);
      CHECK(c.seen.target == "/x?y=z");
      CHECK(c.seen_body == (std::string(method) == "GET" ? "" : "body"));
      if (!c.seen_body.empty()) CHECK(c.seen.content_length == 4);
    }
    auto head = co_await c.ask({.method = "HEAD"});
    CHECK(head.body.empty());
    CHECK(head.headers.get("Content-Length") == "14");
  });
}

TEST_CASE("a page's links and a redirect lead through the proxy, also when the page was compressed") {
  on_each_backend([]() -> task<void> {
    const std::string page = "<a href=\"/rewriteme\">", wanted = "<a href=\"/p/rewriteme\">";
    {
      chain c(say(page, "text/html; charset=utf-8"), as_page());
      auto got = co_await c.ask({.path = "/whole"});
      CHECK(got.body == wanted);
      CHECK(c.seen.headers.get("X-Forwarded-Uri") == "/whole");
      c.how.links.reset();
      got = co_await c.ask({});
      CHECK(got.body == page);
    }
    {
      chain c(say(page, "text/plain"), as_page());
      auto got = co_await c.ask({});
      CHECK(got.body == page);
    }
    std::string large;
    for (int i = 0; i < 20'000; ++i) large += page;
    auto coded = [](std::string body, std::string coding) {
      return [=](net::http::exchange& e) -> task<void> {
        net::http::response r;
        r.headers.add("Content-Type", "text/html");
        r.headers.add("Content-Encoding", coding);
        (void)co_await e.respond(r, body);
      };
    };
    {
      chain c(coded(gzipped(large), "gzip"), as_page());
      auto got = co_await c.ask({});
      CHECK(got.body.size() == 20'000 * wanted.size());
      CHECK(got.body.starts_with(wanted));
      CHECK_FALSE(got.headers.has("Content-Encoding"));
    }
    {
      chain c(coded("brotli", "br"), as_page());  // what isn't understood stays as it is
      auto got = co_await c.ask({});
      CHECK(got.body == "brotli");
      CHECK(got.headers.get("Content-Encoding") == "br");
    }
    {
      chain c(coded("not gzip", "gzip"), as_page());
      auto got = co_await c.client.fetch({.to = {.at = c.proxy.at()}});
      CHECK_FALSE(got.has_value());  // a broken answer, and not a short one
    }
    {
      chain c(
          [](net::http::exchange& e) -> task<void> {
            net::http::response r{.status = 302, .headers = {}};
            r.headers.add("Location", "/login");
            (void)co_await e.respond(r, "");
          },
          as_page());
      auto got = co_await c.ask({});
      CHECK(got.headers.get("Location") == "/p/login");
    }
  });
}

TEST_CASE("bytes come by websocket to a client that asks for one") {
  on_each_backend([]() -> task<void> {
    chain c(say("line 1\nline 2\n"), {.told_as = "pods/log", .bytes_to_websocket = true});
    struct row {
      std::vector<std::string> offered;
      std::string chosen, first, rest;
    };
    for (auto& r :
         {row{{}, "", "", "line 1\nline 2\n"}, row{{"binary.k8s.io"}, "binary.k8s.io", "", "line 1\nline 2\n"},
          row{{"chat", "base64.binary.k8s.io", "binary.k8s.io"},
              "base64.binary.k8s.io",
              "",
              base64(as_bytes("line 1\nline 2\n"))},
          row{{"base64url.bearer.authorization.k8s.io.c2VjcmV0", "binary.k8s.io"},
              "binary.k8s.io",
              "",
              "line 1\nline 2\n"}}) {
      auto socket = co_await net::websocket::connect(
          c.client,
          {.to = {.at = c.proxy.at()}, .path = "/log", .headers = {}, .protocols = r.offered, .settings = {}});
      REQUIRE_MESSAGE(socket.has_value(), (socket ? "" : socket.error().message));
      CHECK((*socket)->protocol == r.chosen);
      auto first = co_await (*socket)->receive_message();
      REQUIRE(first.has_value());
      CHECK(first->data.empty());
      auto rest = co_await (*socket)->receive_message();
      REQUIRE(rest.has_value());
      CHECK(rest->data == r.rest);
      CHECK(rest->kind ==
            (r.chosen.starts_with("base64") ? net::websocket::opcode::text : net::websocket::opcode::binary));
      auto end = co_await (*socket)->receive_message();
      CHECK_FALSE(end.has_value());
      CHECK((*socket)->closed_by_peer().code == net::websocket::close_normal);
      CHECK_FALSE(c.seen.headers.has("Upgrade"));
      CHECK_FALSE(c.seen.headers.has("Sec-WebSocket-Key"));
    }
    net::websocket::rejected why;
    auto refused = co_await net::websocket::connect(
        c.client, {.to = {.at = c.proxy.at()}, .path = "/log", .headers = {}, .protocols = {"chat"}, .settings = {}},
        &why);
    CHECK_FALSE(refused.has_value());
    CHECK(why.status == 403);
    auto plain = co_await c.ask({});
    CHECK(plain.body == "line 1\nline 2\n");
    chain gone(say("no such container", "text/plain", 404), {.told_as = "pods/log", .bytes_to_websocket = true});
    refused = co_await net::websocket::connect(
        gone.client, {.to = {.at = gone.proxy.at()}, .path = "/log", .headers = {}, .protocols = {}, .settings = {}},
        &why);
    CHECK(why.status == 404);
  });
}

TEST_CASE("an early refusal of a body is told, and a target that isn't there too") {
  on_each_backend([]() -> task<void> {
    chain c(say(""));
    c.how.ways = {{.at = {"127.0.0.1", 1}}};
    auto got = co_await c.ask({.method = "POST", .body = "x"});
    CHECK(got.status == 503);
    CHECK(got.body.find("error trying to reach service: ") != std::string::npos);
    // The second way is taken when the first leads nowhere.
    c.how.ways = {{.at = {"127.0.0.1", 1}}, {.at = c.target.at()}};
    got = co_await c.ask({.method = "POST", .body = "x"});
    CHECK(got.status == 200);
    CHECK(c.seen_body == "x");
    function_handler::function early = [](net::http::exchange& e) -> task<void> {
      net::http::response r{.status = 413, .headers = {}};
      r.headers.add("Connection", "close");
      (void)co_await e.respond(r, "too large");
    };
    running_server refusing(early);
    c.how.ways = {{.at = refusing.at()}};
    got = co_await c.ask({.method = "PUT", .body = std::string(4 << 20, 'x')});
    CHECK(got.status == 413);
  });
}

TEST_CASE("an aggregated server is told who asks in fields that its reader can decode") {
  api::user_info who{"ann", "u-1", {"dev", "system:authenticated"}, {{"a/b%C", {"x", "y"}}, {"Plain", {"z"}}}};
  std::vector<std::pair<std::string, std::string>> told;
  for (auto& [name, value] : *remote_headers(who)) told.emplace_back(name, value);
  CHECK(told == std::vector<std::pair<std::string, std::string>>{{"X-Remote-User", "ann"},
                                                                 {"X-Remote-Uid", "u-1"},
                                                                 {"X-Remote-Group", "dev"},
                                                                 {"X-Remote-Group", "system:authenticated"},
                                                                 {"X-Remote-Extra-Plain", "z"},
                                                                 {"X-Remote-Extra-a%2Fb%25C", "x"},
                                                                 {"X-Remote-Extra-a%2Fb%25C", "y"}});
  who.uid.clear();
  CHECK_FALSE(remote_headers(who)->has("X-Remote-Uid"));
}

TEST_CASE("a name that a header would make another's is told to nobody") {
  const api::user_info good{"ann", "u", {"dev team"}, {{"k", {"v"}}}};
  CHECK(remote_headers(good).has_value());
  const std::vector<std::string> bad_names{" admin",
                                           "admin ",
                                           "admin\n",
                                           "admin\r\nX-Remote-Group: system:masters",
                                           "\tadmin",
                                           "ad\x7fmin",
                                           std::string("admin\0", 6)};
  for (auto& bad : bad_names) {
    CAPTURE(bad);
    auto user = good;
    user.name = bad;
    CHECK_FALSE(remote_headers(user).has_value());
    user = good;
    user.uid = bad;
    CHECK_FALSE(remote_headers(user).has_value());
    user = good;
    user.groups.push_back(bad);
    CHECK_FALSE(remote_headers(user).has_value());
    user = good;
    user.extra["k"].push_back(bad);
    CHECK_FALSE(remote_headers(user).has_value());
  }
}

TEST_CASE("no upgrade leads to HTTP, which would be spoken in this server's name") {
  struct {
    std::vector<std::string> upgrade;
    bool wanted;
  } const cases[] = {{{"websocket"}, true},
                     {{"SPDY/3.1"}, true},
                     {{"x-own"}, true},
                     {{"h2c"}, false},
                     {{"H2C"}, false},
                     {{"websocket, h2c"}, false},
                     {{"websocket", "h2c"}, false},
                     {{" HTTP/2.0 "}, false},
                     {{"TLS/1.3, HTTP/1.1"}, false}};
  for (auto& c : cases) {
    CAPTURE(c.upgrade.front());
    net::http::request r{.method = "GET", .target = "/", .path = "/"};
    r.headers.add("Connection", "Upgrade, HTTP2-Settings");
    r.headers.add("HTTP2-Settings", "AAMAAABkAAQAAP__");
    for (auto& one : c.upgrade) r.headers.add("Upgrade", one);
    CHECK(wants_upgrade(r) == c.wanted);
    // Nor is the backend asked for it by what is left.
    auto told = forwarded_headers(r, "1.2.3.4", wants_upgrade(r));
    CHECK(told.has("Upgrade") == c.wanted);
    CHECK_FALSE(told.has("HTTP2-Settings"));
  }
}
