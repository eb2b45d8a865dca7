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

// Frames by hand, and HPACK's: ":status 200", content-type application/grpc; grpc-status 0.
std::string frame(int type, int flags, std::uint32_t id, std::string_view payload) {
  std::string out;
  append_be32(out, static_cast<std::uint32_t>(payload.size()) << 8 | static_cast<std::uint32_t>(type));
  out += static_cast<char>(flags);
  append_be32(out, id);
  out += payload;
  return out;
}
constexpr std::string_view head_fields =
                               "\x88\x0f\x10\x10"
                               "application/grpc",
                           end_fields = std::string_view(
                               "\x00\x0bgrpc-status\x01"
                               "0",
                               15);
constexpr int data_type = 0, headers_type = 1, settings_type = 4, ping_type = 6, goaway_type = 7, end_stream = 1,
              end_headers = 4;

// A server's side of one connection, by hand.
class raw_peer {
 public:
  explicit raw_peer(std::unique_ptr<reactor::stream> s) : stream_(std::move(s)) {}
  // Reads until so many frames of the type have come, in all.
  task<void> read_until(int type, std::size_t count) {
    while (seen(type) < count) {
      auto b = co_await stream_->receive();
      REQUIRE(b.has_value());
      REQUIRE_FALSE(b->empty());
      got_ += as_text(b->view());
    }
  }
  task<void> send(std::string text) { CHECK((co_await stream_->send(as_bytes(text))).has_value()); }
  task<void> answer() {
    return send(frame(headers_type, end_headers, 1, head_fields) + frame(data_type, 0, 1, grpc::frame_message("fine")) +
                frame(headers_type, end_headers | end_stream, 1, end_fields));
  }

 private:
  static constexpr std::size_t preface_bytes = 24, head_bytes = 9;
  std::size_t seen(int type) const {
    std::size_t out = 0;
    for (auto at = preface_bytes; at + head_bytes <= got_.size();) {
      auto* p = as_bytes(got_).data() + at;
      at += head_bytes + (load_be32(p) >> 8);
      if (static_cast<int>(p[3]) == type && at <= got_.size()) ++out;
    }
    return out;
  }

  std::unique_ptr<reactor::stream> stream_;
  std::string got_;
};

// A call to what serves each connection so; with how many there were.
task<std::pair<result<std::string>, int>> call_to(std::function<task<void>(raw_peer&, int connection)> serve) {
  auto listener = reactor::os_network().listen({"127.0.0.1", 0});
  REQUIRE(listener.has_value());
  int connections = 0;
  reactor::scope serving;
  serving.spawn([](reactor::listener& l, std::function<task<void>(raw_peer&, int)>& each, int& count) -> task<void> {
    std::vector<std::unique_ptr<raw_peer>> all;
    for (;;) {
      auto s = co_await l.accept();
      if (!s) co_return;
      all.push_back(std::make_unique<raw_peer>(*std::move(s)));
      co_await each(*all.back(), count++);
    }
  }(**listener, serve, connections));
  net::http::target to;
  to.at = (*listener)->local();
  grpc::channel c(to);
  auto answer = co_await c.unary("/x", "question");
  co_return std::pair(std::move(answer), connections);
}

}  // namespace

TEST_CASE("a gRPC server may send PINGs without end") {
  on_each_backend([]() -> task<void> {
    auto [answer, connections] = co_await call_to([](raw_peer& peer, int) -> task<void> {
      co_await peer.send(frame(settings_type, 0, 0, ""));
      co_await peer.read_until(headers_type, 1);
      constexpr std::size_t at_once = 100, all = 2 * net::h2_control_frames_max;
      for (std::size_t sent = at_once; sent <= all; sent += at_once) {
        std::string pings;
        for (std::size_t i = 0; i < at_once; ++i) pings += frame(ping_type, 0, 0, "12345678");
        co_await peer.send(std::move(pings));
        co_await peer.read_until(ping_type, sent);
      }
      co_await peer.answer();
    });
    REQUIRE_MESSAGE(answer.has_value(), answer.error().message);
    CHECK(*answer == "fine");
    CHECK(connections == 1);
  });
}

TEST_CASE("what a gRPC server refuses because it goes away, the next connection has") {
  on_each_backend([]() -> task<void> {
    // A GOAWAY that names no stream as taken.
    auto serve = [](raw_peer& peer, int connection) -> task<void> {
      co_await peer.send(frame(settings_type, 0, 0, ""));
      co_await peer.read_until(headers_type, 1);
      if (connection == 0)
        co_await peer.send(frame(goaway_type, 0, 0, std::string(8, '\0')));
      else
        co_await peer.answer();
    };
    auto [answer, connections] = co_await call_to(serve);
    REQUIRE_MESSAGE(answer.has_value(), answer.error().message);
    CHECK(*answer == "fine");
    CHECK(connections == 2);
    // Not without end.
    auto [refused, tries] = co_await call_to([](raw_peer& peer, int) -> task<void> {
      co_await peer.send(frame(settings_type, 0, 0, ""));
      co_await peer.read_until(headers_type, 1);
      co_await peer.send(frame(goaway_type, 0, 0, std::string(8, '\0')));
    });
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().message == "the server refused the HTTP/2 stream");
    CHECK(tries == 3);
  });
}

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
