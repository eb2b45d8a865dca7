// The handler behind the real HTTP server, asked by the real client, over HTTP/1.1 and HTTP/2.
#include "harness.h"
#include "net/http/client.h"
#include "net/http/server.h"
#include "net/websocket/websocket.h"

namespace kedge::api {
namespace {

struct served_world : api_world {
  net::http::server server;
  reactor::scope work;
  net::http::client http;
  net::http::target to;

  explicit served_world(bool http2) : server(*handler, {.listen = {{"127.0.0.1", 0}}, .plain_http2 = http2}) {
    work.spawn([](net::http::server& s) -> task<void> { (void)co_await s.run(0); }(server));
    loop.run_until([](net::http::server& s) -> task<void> { co_await s.ready(0).wait(); }(server));
    to = {.at = server.listening(0).front(), .http2 = http2};
  }
  net::http::client_response fetch(std::string method, std::string path, std::string body = {}) {
    auto r = loop.run_until(reactor::with_deadline(
        http.fetch({.to = to, .method = std::move(method), .path = std::move(path), .body = std::move(body)}),
        monotonic_clock::now() + std::chrono::seconds(5)));
    REQUIRE_MESSAGE(r.has_value(), (r ? std::string() : r.error().message));
    return *std::move(r);
  }
};

}  // namespace

TEST_CASE("objects travel over real connections") {
  for (bool http2 : {false, true}) {
    CAPTURE(http2);
    served_world w(http2);
    CHECK(w.fetch("POST", "/api/v1/namespaces/default/configmaps", config_map("a")).status == 201);
    auto got = w.fetch("GET", "/api/v1/namespaces/default/configmaps/a");
    CHECK(got.status == 200);
    CHECK(got.headers.get("Content-Length") == std::to_string(got.body.size()));
    CHECK((*json::parse(got.body))["data"]["k"].as_string() == "v");
    // Enough items for the streamed form of a list.
    for (int i = 0; i < 2100; ++i) {
      auto made = w.loop.run_until(
          w.client->create({"", "v1", "configmaps"}, "many", *json::parse(config_map(fmt::format("c{}", i)))));
      REQUIRE(made.has_value());
    }
    auto list = json::parse(w.fetch("GET", "/api/v1/namespaces/many/configmaps").body);
    REQUIRE(list.has_value());
    CHECK((*list)["items"].size() == 2100);

    auto watch = w.loop.run_until(w.http.open({.to = w.to, .path = "/api/v1/namespaces/default/configmaps?watch=1"}));
    REQUIRE(watch.has_value());
    auto read = [&] {
      auto b =
          w.loop.run_until(reactor::with_deadline((*watch)->read(), monotonic_clock::now() + std::chrono::seconds(5)));
      REQUIRE(b.has_value());
      return std::string(as_text(b->view()));
    };
    CHECK(read().starts_with(R"({"type":"ADDED","object":{"kind":"ConfigMap")"));
    w.fetch("DELETE", "/api/v1/namespaces/default/configmaps/a");
    CHECK(read().starts_with(R"({"type":"DELETED")"));
    watch->reset();
    w.work.cancel();
  }
}

// fabric8's Java client and browsers watch so.
TEST_CASE("a watch by websocket: an event a message, as text or protobuf, until the client leaves") {
  served_world w(false);
  const std::string maps = "/api/v1/namespaces/default/configmaps";
  CHECK(w.fetch("POST", maps, config_map("a")).status == 201);
  auto until = [] { return monotonic_clock::now() + std::chrono::seconds(5); };
  auto connect = [&](net::http::headers h, std::vector<std::string> protocols = {},
                     net::websocket::rejected* why = nullptr) {
    return w.loop.run_until(reactor::with_deadline(net::websocket::connect(w.http,
                                                                           {.to = w.to,
                                                                            .path = maps + "?watch=1&timeoutSeconds=60",
                                                                            .headers = std::move(h),
                                                                            .protocols = std::move(protocols)},
                                                                           why),
                                                   until()));
  };
  auto headers = [](std::string accept, std::string origin) {
    net::http::headers out;
    out.add("Accept", std::move(accept));
    if (!origin.empty()) out.add("Origin", std::move(origin));
    return out;
  };
  for (std::string_view origin : {"", "null"}) {
    net::websocket::rejected why;
    CHECK_FALSE(connect(headers("*/*", std::string(origin)), {}, &why).has_value());
    CHECK(why.status == 403);
  }
  net::websocket::rejected why;
  CHECK_FALSE(connect(headers("*/*", "http://here"), {"a", "b"}, &why).has_value());
  CHECK(why.status == 400);

  auto socket = connect(headers("application/json", "http://here"), {"mine"});
  REQUIRE(socket.has_value());
  CHECK((*socket)->protocol == "mine");
  auto next = [&](net::websocket::connection& c) {
    auto m = w.loop.run_until(reactor::with_deadline(c.receive_message(), until()));
    REQUIRE_MESSAGE(m.has_value(), (m ? std::string() : m.error().message));
    return *std::move(m);
  };
  auto first = next(**socket);
  CHECK(first.kind == net::websocket::opcode::text);
  CHECK(first.data.starts_with(R"({"type":"ADDED","object":{"kind":"ConfigMap")"));
  CHECK(first.data.ends_with("}\n"));
  CHECK(w.fetch("POST", maps, config_map("b")).status == 201);
  w.fetch("DELETE", maps + "/b");
  CHECK(next(**socket).data.starts_with(R"({"type":"ADDED")"));
  CHECK(next(**socket).data.starts_with(R"({"type":"DELETED")"));

  auto binary = connect(headers("application/vnd.kubernetes.protobuf;stream=watch", "http://here"));
  REQUIRE(binary.has_value());
  auto event = next(**binary);
  CHECK(event.kind == net::websocket::opcode::binary);
  CHECK(
      event.data.starts_with("\x0a\x05"
                             "ADDED"));  // field 1 of WatchEvent, without a length before it

  for (auto* c : {&*socket, &*binary})
    CHECK(w.loop.run_until(reactor::with_deadline((*c)->close(), until())).has_value());
  w.work.cancel();
}

}  // namespace kedge::api
