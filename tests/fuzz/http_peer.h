// http_peer.h: what answers and asks when the fuzzer is the other side of an HTTP connection.
#pragma once

#include <chrono>
#include <cstdlib>
#include <memory>

#include "attack.h"
#include "net/http/client.h"
#include "net/http/connection.h"

namespace kedge::fuzz {

// The ways in which handlers use an exchange; the target chooses.
class varied_handler final : public net::http::handler {
 public:
  task<void> serve(net::http::exchange& e) override {
    const auto& target = e.request().target;
    if (target.starts_with("/none")) co_return;
    net::http::response r;
    if (target.starts_with("/stream")) {
      if (!co_await e.start(r)) co_return;
      for (;;) {
        auto piece = co_await e.read();
        if (!piece) co_return e.abort();
        if (piece->empty()) break;
        if (!co_await e.write(as_text(piece->view()))) co_return;
      }
      net::http::headers trailers;
      trailers.add("X-End", "1");
      (void)co_await e.finish(trailers);
      co_return;
    }
    if (target.starts_with("/upgrade")) {
      r.status = 101;
      r.headers.add("Connection", "Upgrade");
      r.headers.add("Upgrade", "any");
      auto s = co_await e.upgrade(r);
      if (s) (void)co_await (*s)->receive();
      co_return;
    }
    if (target.starts_with("/unread")) {
      (void)co_await e.respond(r, "unread");
      co_return;
    }
    e.limit_body(64 * 1024);
    auto body = co_await e.read_all();
    if (!body) r.status = 413;
    (void)co_await e.respond(r, body ? *body : body.error().message);
  }
};

// One connection as the server's side of it, with its usual limits. `serve` is serve_h1 or serve_h2.
template <typename Serve>
task<void> serve_connection(std::unique_ptr<reactor::stream> s, Serve serve) {
  varied_handler handler;
  const net::http::connection_options options;
  net::http::core_counters counters;
  reactor::list<net::http::connection> connections;
  net::http::connection_info info{.local = s->local(), .peer = s->peer()};
  co_await serve(*s, net::http::connection_context{handler, options, counters, connections, info});
}

// A fetch, and one that streams both ways.
inline task<void> ask(reactor::network& network, reactor::endpoint at, bool http2) {
  net::http::client client(&network);
  const auto deadline = reactor::loop::current().now() + std::chrono::minutes(2);
  net::http::client_request whole{.to = {.at = at, .host = "server", .http2 = http2}, .path = "/"};
  (void)co_await reactor::with_deadline(client.fetch(std::move(whole)), deadline);
  net::http::client_request streamed{
      .to = {.at = at, .host = "server", .http2 = http2}, .method = "POST", .path = "/stream", .streams = true};
  auto x = co_await reactor::with_deadline(client.open(std::move(streamed)), deadline);
  if (!x) co_return;
  (void)co_await reactor::with_deadline((*x)->finish(), deadline);
  for (;;) {
    auto piece = co_await reactor::with_deadline((*x)->read(), deadline);
    if (!piece || piece->empty()) break;
  }
}

}  // namespace kedge::fuzz
