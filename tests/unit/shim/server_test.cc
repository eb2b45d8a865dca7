#include "shim/server.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <vector>

#include "base/bytes.h"
#include "shim/files.h"
#include "shim/limits.h"
#include "shim/socket_address.h"
#include "support.h"

using namespace kedge;
using namespace kedge::shim;

namespace {

// A client that sends bytes and reads frames.
class client {
 public:
  client(loop& l, const std::string& path)
      : loop_(l), fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    std::memcpy(address.sun_path, path.data(), path.size());
    REQUIRE(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  void send(std::string_view bytes) { REQUIRE(write_all(fd_.get(), bytes)); }
  void call(std::uint32_t stream, std::string_view method) {
    send(ttrpc::encode(stream, ttrpc::frame_type::request, ttrpc::encode_request({.service = "s", .method = method})));
  }
  // The next frame; nothing when the server closed, or says nothing for a while.
  task<std::optional<ttrpc::frame>> next(int wait_ms = 3000) {
    for (auto latest = now_ms() + wait_ms; now_ms() < latest; co_await loop_.sleep(1)) {
      char buffer[256];
      if (rest_.empty()) {
        auto n = ::read(fd_.get(), buffer, sizeof buffer);
        if (n == 0) co_return std::nullopt;
        if (n > 0) rest_.assign(buffer, static_cast<std::size_t>(n));
      }
      std::string_view in = rest_;
      auto f = reader_.read(in);
      rest_ = std::string(in);
      if (f) co_return f;
    }
    co_return std::nullopt;
  }

 private:
  loop& loop_;
  descriptor fd_;
  ttrpc::frame_reader reader_;
  std::string rest_;
};

struct world {
  temporary_folder folder;
  loop l;
  std::string path = folder / "s/socket";
  std::vector<reply> held;
  server s{l, std::move(*listen_at(path)), [this](const ttrpc::request& r, reply answer) {
             if (r.method == "hold") return held.push_back(answer);
             answer(std::string(r.method));
           }};
};

}  // namespace

TEST_CASE("calls are answered on their streams, in whatever order they are done") {
  world w;
  run(w.l, [](world& at) -> task<void> {
    client c(at.l, at.path);
    c.call(1, "hold");
    c.call(3, "quick");
    auto first = co_await c.next();
    REQUIRE(first);
    CHECK(first->stream == 3);
    CHECK(*ttrpc::decode_response(first->data) == "quick");
    at.held.front()(std::string("late"));
    auto second = co_await c.next();
    REQUIRE(second);
    CHECK(second->stream == 1);
    CHECK(*ttrpc::decode_response(second->data) == "late");
  }(w));
}

TEST_CASE("what breaks the protocol is refused on its stream, and the connection goes on") {
  world w;
  run(w.l, [](world& at) -> task<void> {
    client c(at.l, at.path);
    auto refused = [](std::optional<ttrpc::frame> f, std::uint32_t stream, errc code) {
      REQUIRE(f);
      CHECK(f->stream == stream);
      CHECK(ttrpc::decode_response(f->data).error().code == code);
    };
    c.call(2, "even");
    refused(co_await c.next(), 2, errc::invalid);
    c.call(5, "fine");
    CHECK((co_await c.next())->stream == 5);
    c.call(5, "again");
    refused(co_await c.next(), 5, errc::invalid);
    c.send(ttrpc::encode(7, ttrpc::frame_type::data, "x"));
    refused(co_await c.next(), 7, errc::invalid);
    c.send(ttrpc::encode(9, ttrpc::frame_type::request, "\x0a\xff"));
    refused(co_await c.next(), 9, errc::invalid);
    c.send(ttrpc::encode(11, static_cast<ttrpc::frame_type>(9), "of the future"));
    c.call(13, "alive");
    CHECK((co_await c.next())->stream == 13);
  }(w));
}

TEST_CASE("answers to a client that went are dropped, and others aren't touched") {
  world w;
  run(w.l, [](world& at) -> task<void> {
    {
      client gone(at.l, at.path);
      gone.call(1, "hold");
      while (at.held.empty()) co_await at.l.sleep(1);
      CHECK_FALSE(at.held[0].abandoned());
    }
    for (auto latest = now_ms() + 3000; !at.held[0].abandoned() && now_ms() < latest;) co_await at.l.sleep(1);
    CHECK(at.held[0].abandoned());
    at.held[0](std::string("nobody"));
    client c(at.l, at.path);
    c.call(1, "alive");
    CHECK(co_await c.next());
  }(w));
}

TEST_CASE("calls at once are bounded") {
  world w;
  run(w.l, [](world& at) -> task<void> {
    client c(at.l, at.path);
    for (std::uint32_t i = 0; i < calls_max; ++i) {
      c.call(2 * i + 1, "hold");
      if (i % 8 == 0) co_await at.l.sleep(0);
    }
    c.call(2 * calls_max + 1, "one too many");
    auto f = co_await c.next();
    REQUIRE(f);
    CHECK(ttrpc::decode_response(f->data).error().code == errc::too_large);
    at.held[0](std::string());
    CHECK((co_await c.next())->stream == 1);
    c.call(2 * calls_max + 3, "room again");
    CHECK((co_await c.next())->stream == 2 * calls_max + 3);
  }(w));
}
