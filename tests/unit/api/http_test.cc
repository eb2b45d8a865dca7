// The handler behind the real HTTP server, asked by the real client, over HTTP/1.1 and HTTP/2.
#include "harness.h"
#include "net/http/client.h"
#include "net/http/server.h"

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

}  // namespace kedge::api
