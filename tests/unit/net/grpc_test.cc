// gRPC calls against a server on a unix socket that frames by hand.
#include "net/grpc.h"

#include "support.h"

using namespace kedge;
using namespace kedge::test;
namespace grpc = net::grpc;

namespace {

task<void> serve(net::http::exchange& e) {
  auto& path = e.request().path;
  auto body = co_await e.read_all();
  REQUIRE(body.has_value());
  CHECK(e.request().headers.get("te") == "trailers");
  net::http::response head;
  head.headers.add("content-type", "application/grpc");
  net::http::headers trailers;
  if (path == "/only-trailers") {
    head.headers.add("grpc-status", "12");
    head.headers.add("grpc-message", "no such method");
    (void)co_await e.respond(head, std::span<const bytes>());
    co_return;
  }
  if (path == "/http-error") {
    head.status = 503;
    (void)co_await e.respond(head, "down");
    co_return;
  }
  (void)co_await e.start(head);
  if (path == "/echo") {
    // In two writes that cut the message.
    (void)co_await e.write(std::string_view(*body).substr(0, 3));
    (void)co_await e.write(std::string_view(*body).substr(3));
    trailers.add("grpc-status", "0");
  } else if (path == "/count") {
    for (int i = 0; i < 5; ++i) (void)co_await e.write(grpc::frame_message("n" + std::to_string(i)));
    trailers.add("grpc-status", "0");
  } else if (path == "/missing") {
    trailers.add("grpc-status", "5");
    trailers.add("grpc-message", "no container %22x%22");
  } else if (path == "/short") {
    (void)co_await e.write(
        std::string_view("\0\0\0\0\x09"
                         "abc",
                         8));
    trailers.add("grpc-status", "0");
  } else if (path == "/huge") {
    (void)co_await e.write(std::string_view("\0\xff\xff\xff\xff", 5));
    trailers.add("grpc-status", "0");
  } else if (path == "/compressed") {
    (void)co_await e.write(std::string_view("\x01\0\0\0\x01x", 6));
    trailers.add("grpc-status", "0");
  }
  (void)co_await e.finish(trailers);
}

}  // namespace

TEST_CASE("gRPC calls") {
  on_each_backend([]() -> task<void> {
    net::http::server_options o;
    o.plain_http2 = true;
    auto path = "/tmp/kedge-net-test-" + reactor::loop::current().random().hex_text(6) + ".sock";
    o.listen.push_back(reactor::endpoint::unix_path(path));
    running_server s(serve, std::move(o));
    net::http::target to;
    to.at = reactor::endpoint::unix_path(path);
    grpc::channel c(to);
    for (std::size_t size : {0, 10, 100'000, 2'000'000}) {
      std::string message(size, 'm');
      auto r = co_await c.unary("/echo", message);
      REQUIRE_MESSAGE(r.has_value(), r.error().message);
      CHECK((*r == message));
    }
    auto both = co_await c.converse("/echo");
    REQUIRE(both.has_value());
    REQUIRE(co_await (*both)->send(std::string(100'000, 's')));
    REQUIRE(co_await (*both)->send("two"));
    REQUIRE(co_await (*both)->finish());
    for (std::size_t size : {100'000, 3}) {
      auto m = co_await (*both)->next();
      REQUIRE_MESSAGE(m.has_value(), m.error().message);
      REQUIRE(m->has_value());
      CHECK((*m)->size() == size);
    }
    CHECK_FALSE((co_await (*both)->next())->has_value());
    auto counting = co_await c.stream("/count", "");
    REQUIRE(counting.has_value());
    for (int i = 0; i < 5; ++i) {
      auto m = co_await (*counting)->next();
      REQUIRE(m.has_value());
      REQUIRE(m->has_value());
      CHECK(**m == "n" + std::to_string(i));
    }
    auto end = co_await (*counting)->next();
    REQUIRE(end.has_value());
    CHECK_FALSE(end->has_value());

    struct row {
      std::string method;
      errc code;
      std::string message;
    };
    for (auto& r : std::initializer_list<row>{{"/missing", errc::not_found, "NotFound: no container \"x\""},
                                              {"/only-trailers", errc::unsupported, "Unimplemented: no such method"},
                                              {"/http-error", errc::unavailable, "Unavailable: HTTP status 503"},
                                              {"/short", errc::protocol, "a gRPC message was cut short"},
                                              {"/huge", errc::too_large, "a gRPC message of 4294967295 bytes"},
                                              {"/compressed", errc::unsupported, "a compressed gRPC message"},
                                              {"/nothing", errc::protocol, "the gRPC server sent no status"}}) {
      CAPTURE(r.method);
      auto got = co_await c.unary(r.method, "x");
      REQUIRE_FALSE(got.has_value());
      CHECK(got.error().code == r.code);
      CHECK(got.error().message == r.message);
    }
    CHECK(s.get().count().connections_total == 1);
    ::remove(path.c_str());
  });
}
