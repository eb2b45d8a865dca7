// RFC 6455: the codec's rules as a table, and both ends over real sockets.
#include "net/websocket/websocket.h"

#include "base/strings.h"
#include "support.h"

using namespace kedge;
using namespace kedge::test;
namespace ws = net::websocket;

namespace {

// A client's frame (masked) or a server's.
std::string frame(int first_byte, std::string_view payload, bool masked = true) {
  std::uint32_t mask = 0x37fa213d;
  auto head = ws::frame_header(ws::opcode::binary, true, payload.size(), masked ? &mask : nullptr);
  head[0] = static_cast<char>(first_byte);
  std::string body(payload);
  if (masked) ws::apply_mask({reinterpret_cast<std::byte*>(body.data()), body.size()}, mask, 0);
  return head + body;
}

// What a server's parser makes of `input` given in pieces of `step` bytes, as text: "T'abc'." "P'x'" "C1000'bye'"
// "!1002".
std::string events(std::string input, std::size_t step, std::size_t most = 1 << 20) {
  ws::frame_parser p(ws::side::server, most);
  std::string out;
  bool in_message = false;
  for (std::size_t at = 0; at < input.size();) {
    auto n = std::min(step, input.size() - at);
    mutable_bytes piece{reinterpret_cast<std::byte*>(input.data()) + at, n};
    at += n;
    while (true) {
      auto e = p.next(piece);
      if (!e) return out + (e.error().code == errc::closed ? "#" : "!" + std::to_string(p.error_code()));
      piece = piece.subspan(e->consumed);
      auto text = std::string(as_text(e->payload));
      using kind = ws::frame_parser::event::kind;
      if (e->what == kind::data) {
        if (e->first) {
          out += e->message == ws::opcode::text ? "T'" : "B'";
          in_message = true;
        }
        CHECK(in_message);
        out += text;
        if (e->final) {
          out += "'.";
          in_message = false;
        }
      } else if (e->what == kind::ping) {
        out += "P'" + text + "'";
      } else if (e->what == kind::pong) {
        out += "Q'" + text + "'";
      } else if (e->what == kind::close) {
        out += "C" + std::to_string(e->code) + "'" + text + "'";
      }
      if (piece.empty() && e->what == kind::need_more) break;
      if (piece.empty() && step != 1) {
        // A header whose payload is empty may still wait; need_more says so.
        auto again = p.next(piece);
        if (!again || again->what == kind::need_more) break;
        FAIL("an event without input");
      }
      if (piece.empty()) break;
    }
  }
  return out;
}

}  // namespace

TEST_CASE("frames") {
  using namespace std::literals;
  struct row {
    std::string what;
    std::string input, gives;
  };
  std::string k125(125, 'k'), k126(126, 'k'), k70000(70000, 'z');
  const row rows[] = {
      {"text", frame(0x81, "hello"), "T'hello'."},
      {"empty text", frame(0x81, ""), "T''."},
      {"binary", frame(0x82, "\x01\xff"), "B'\x01\xff'."},
      {"16-bit length", frame(0x82, k126), "B'" + k126 + "'."},
      {"64-bit length", frame(0x82, k70000), "B'" + k70000 + "'."},
      {"fragments", frame(0x01, "ab") + frame(0x00, "cd") + frame(0x80, "ef"), "T'abcdef'."},
      {"a ping between fragments", frame(0x01, "ab") + frame(0x89, "x") + frame(0x80, "cd"), ""},
      {"ping of 125", frame(0x89, k125), "P'" + k125 + "'"},
      {"ping of 126", frame(0x89, k126), "!1002"},
      {"empty ping", frame(0x89, ""), "P''"},
      {"pong unasked", frame(0x8a, "p"), "Q'p'"},
      {"fragmented ping", frame(0x09, "x"), "!1002"},
      {"reserved bit 1", frame(0xc1, "x"), "!1002"},
      {"reserved bit 3", frame(0x91, "x"), "!1002"},
      {"unknown data opcode", frame(0x83, "x"), "!1002"},
      {"unknown control opcode", frame(0x8b, "x"), "!1002"},
      {"not masked", frame(0x81, "x", false), "!1002"},
      {"continuation first", frame(0x80, "x"), "!1002"},
      {"text inside a message", frame(0x01, "a") + frame(0x81, "b"), "T'a!1002"},
      {"close without code", frame(0x88, ""), "C1005''"},
      {"close with half a code", frame(0x88, "\x03"), "!1002"},
      {"close 1000", frame(0x88, "\x03\xe8"), "C1000''"},
      {"close with reason", frame(0x88, "\x03\xe8"s + "bye"), "C1000'bye'"},
      {"close 999", frame(0x88, "\x03\xe7"), "!1002"},
      {"close 1004", frame(0x88, "\x03\xec"), "!1002"},
      {"close 1005", frame(0x88, "\x03\xed"), "!1002"},
      {"close 1006", frame(0x88, "\x03\xee"), "!1002"},
      {"close 1015", frame(0x88, "\x03\xf7"), "!1002"},
      {"close 2999", frame(0x88, "\x0b\xb7"), "!1002"},
      {"close 3000", frame(0x88, "\x0b\xb8"), "C3000''"},
      {"close 4999", frame(0x88, "\x13\x87"), "C4999''"},
      {"close 5000", frame(0x88, "\x13\x88"), "!1002"},
      {"close with a bad reason", frame(0x88, "\x03\xe8\xff"), "!1007"},
      {"a frame after close", frame(0x88, "\x03\xe8") + frame(0x81, "x"), "C1000''#"},
      {"text that is not UTF-8", frame(0x81, "a\xc3("), ""},
      {"a character across fragments", frame(0x01, "\xe2\x82") + frame(0x80, "\xac"), "T'\xe2\x82\xac'."},
      {"a character cut at the end", frame(0x81, "\xe2\x82"), ""},
      {"length not shortest", "\x82\xfe\x00\x05"s + "\0\0\0\0"s, "!1002"},
      {"length with the top bit", "\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0"s, "!1002"},
  };
  for (auto& r : rows) {
    for (std::size_t step : {std::size_t(1) << 20, std::size_t(7), std::size_t(1)}) {
      CAPTURE(r.what);
      CAPTURE(step);
      auto got = events(r.input, step);
      if (!r.gives.empty())
        CHECK(got == r.gives);
      else if (r.what == "a ping between fragments")
        CHECK((got == "T'abP'x'cd'."));
      else
        CHECK(got.ends_with("!1007"));
    }
  }
  CHECK(events(frame(0x82, std::string(101, 'x')), 1 << 20, 100) == "!1009");
  CHECK(events(frame(0x02, std::string(60, 'x')) + frame(0x80, std::string(60, 'x')), 1 << 20, 100).ends_with("!1009"));
}

TEST_CASE("UTF-8") {
  for (auto [text, good] : std::initializer_list<std::pair<std::string_view, bool>>{{"", true},
                                                                                    {"\xc2\x80", true},
                                                                                    {"\xc1\xbf", false},
                                                                                    {"\xc0\x80", false},
                                                                                    {"\xe0\xa0\x80", true},
                                                                                    {"\xe0\x9f\xbf", false},
                                                                                    {"\xed\x9f\xbf", true},
                                                                                    {"\xed\xa0\x80", false},
                                                                                    {"\xef\xbf\xbf", true},
                                                                                    {"\xf0\x90\x80\x80", true},
                                                                                    {"\xf0\x8f\xbf\xbf", false},
                                                                                    {"\xf4\x8f\xbf\xbf", true},
                                                                                    {"\xf4\x90\x80\x80", false},
                                                                                    {"\xf5\x80\x80\x80", false},
                                                                                    {"\x80", false},
                                                                                    {"\xff", false},
                                                                                    {"\xe2\x82", false},
                                                                                    {"a\xe2\x82z", false}}) {
    CAPTURE(hex(as_bytes(text)));
    ws::utf8_checker c;
    CHECK((c.feed(as_bytes(text)) && c.complete()) == good);
  }
}

TEST_CASE("the mask is its own inverse at any offset") {
  for (std::uint64_t offset = 0; offset < 9; ++offset) {
    std::string text = "the quick brown fox jumps over";
    auto copy = text;
    mutable_bytes b{reinterpret_cast<std::byte*>(copy.data()), copy.size()};
    ws::apply_mask(b, 0x01020304, offset);
    CHECK(static_cast<unsigned char>(copy[0]) == (static_cast<unsigned char>('t') ^ (1 + offset % 4)));
    // in two halves
    ws::apply_mask(b.first(5), 0x01020304, offset);
    ws::apply_mask(b.subspan(5), 0x01020304, offset + 5);
    CHECK(copy == text);
  }
}

TEST_CASE("the key of RFC 6455 §1.3") {
  CHECK(ws::accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

TEST_CASE("messages both ways, over TCP and TLS") {
  auto pem = make_certificate("localhost");
  for (bool tls : {false, true}) {
    on_each_backend([&]() -> task<void> {
      running_server s(
          [](net::http::exchange& e) -> task<void> {
            auto c = co_await ws::accept(e, {"v2.test", "v1.test"}, {.message_max_bytes = 300'000});
            if (!c) co_return;
            for (;;) {
              auto m = co_await (*c)->receive_message();
              if (!m) break;
              if (m->data == "close") {
                (void)co_await (*c)->close(4001, "as you wish");
                break;
              }
              (void)co_await (*c)->send(m->kind, m->data);
            }
          },
          tls ? with_tls(pem) : net::http::server_options());
      net::http::client client;
      net::http::target to;
      to.at = s.at();
      if (tls) to.tls = *net::tls_client_context::make({.ca_pem = pem.certificate});
      auto c = co_await ws::connect(client, {.to = to, .path = "/", .protocols = {"v1.test", "v2.test"}});
      REQUIRE_MESSAGE(c.has_value(), c.error().message);
      CHECK((*c)->protocol == "v2.test");
      for (std::size_t size : {0, 1, 125, 126, 65535, 65536, 300'000}) {
        std::string text(size, 'x');
        CHECK((co_await (*c)->send(ws::opcode::binary, text)).has_value());
        CHECK((co_await (*c)->ping("are you there")).has_value());
        auto m = co_await (*c)->receive_message();
        REQUIRE_MESSAGE(m.has_value(), m.error().message);
        CHECK(m->kind == ws::opcode::binary);
        CHECK(m->data == text);
      }
      CHECK((co_await (*c)->send(ws::opcode::text, "close")).has_value());
      auto m = co_await (*c)->receive_message();
      REQUIRE_FALSE(m.has_value());
      CHECK(m.error().code == errc::closed);
      CHECK((*c)->closed_by_peer().code == 4001);
      CHECK((*c)->closed_by_peer().reason == "as you wish");

      auto again = co_await ws::connect(client, {.to = to, .path = "/"});
      REQUIRE(again.has_value());
      CHECK((co_await (*again)->send(ws::opcode::binary, std::string(300'001, 'x'))).has_value());
      m = co_await (*again)->receive_message();
      REQUIRE_FALSE(m.has_value());
      CHECK((*again)->closed_by_peer().code == ws::close_too_big);
    });
  }
}

TEST_CASE("a silent peer is noticed") {
  on_each_backend([]() -> task<void> {
    running_server s([](net::http::exchange& e) -> task<void> {
      auto c = co_await ws::accept(e, {});
      co_await reactor::sleep_for(std::chrono::hours(1));  // never receives: no pongs
    });
    net::http::client client;
    net::http::target to;
    to.at = s.at();
    auto c =
        co_await ws::connect(client, {.to = to, .path = "/", .settings = {.keepalive = std::chrono::milliseconds(30)}});
    REQUIRE(c.has_value());
    auto m = co_await (*c)->receive();
    REQUIRE_FALSE(m.has_value());
    CHECK(m.error().code == errc::timeout);
  });
}

TEST_CASE("requests that are no websocket handshake are answered so") {
  on_each_backend([]() -> task<void> {
    running_server s([](net::http::exchange& e) -> task<void> { (void)co_await ws::accept(e, {}); });
    const std::string base = "Host: a\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n";
    const std::pair<std::string, std::string> rows[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 426"},
        {"POST / HTTP/1.1\r\n" + base + "\r\n", "HTTP/1.1 426"},
        {"GET / HTTP/1.1\r\n" + base + "Sec-WebSocket-Version: 8\r\n\r\n", "HTTP/1.1 426"},
        {"GET / HTTP/1.1\r\n" + base + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: abc\r\n\r\n", "HTTP/1.1 400"},
        {"GET / HTTP/1.1\r\n" + base +
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
         "HTTP/1.1 101"},
    };
    for (auto& [request, answer] : rows) {
      CAPTURE(request);
      CHECK((co_await raw_exchange(s.at(), request)).substr(0, 12) == answer);
    }
  });
}
