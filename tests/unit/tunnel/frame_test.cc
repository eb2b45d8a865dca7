// remotedialer's frames: bytes as Go writes them, and what the reader makes of them in pieces of any size.
#include "tunnel/frame.h"

#include <doctest/doctest.h>

#include "base/strings.h"

using namespace kedge;
using tunnel::frame_decoder;
using tunnel::frame_type;

namespace {

// What a decoder makes of one message given in pieces of `step` bytes.
std::string read(const std::string& message, std::size_t step) {
  frame_decoder d;
  std::string out, data;
  for (std::size_t at = 0; at == 0 || at < message.size(); at += step) {
    auto piece = std::string_view(message).substr(at, step);
    auto e = d.feed(as_bytes(piece), at + step >= message.size());
    if (!e) return "error";
    using kind = frame_decoder::event::kind;
    auto id = std::to_string(e->connection);
    switch (e->what) {
      case kind::none: break;
      case kind::data:
        if (e->first) data += "data " + id + " ";
        data += as_text(e->payload);
        break;
      case kind::connect:
        out +=
            "connect " + id + " " + std::string(e->protocol) + " " + std::string(e->address) + (e->cut ? " cut" : "");
        break;
      case kind::error: out += "error " + id + " " + std::string(e->text); break;
      case kind::pause: out += "pause " + id; break;
      case kind::resume: out += "resume " + id; break;
      case kind::sync:
        out += "sync";
        for (auto i : e->ids) out += " " + std::to_string(i);
        break;
    }
  }
  return out + data;
}

std::string bytes_of(std::string_view hex_text, std::string_view rest = {}) {
  return *unhex(hex_text) + std::string(rest);
}

}  // namespace

TEST_CASE("frames as Go writes them") {
  CHECK(tunnel::make_frame(1, 2, frame_type::connect, "tcp/127.0.0.1:10250") ==
        bytes_of("020404b0ea01", "tcp/127.0.0.1:10250"));
  CHECK(tunnel::make_frame(1, 2, frame_type::data, "x") == bytes_of("020402b0ea01", "x"));
  CHECK(tunnel::make_frame(1, 2, frame_type::error, "EOF") == bytes_of("020406", "EOF"));
  CHECK(tunnel::make_frame(1, 2, frame_type::pause) == bytes_of("02040c"));
  CHECK(tunnel::make_frame(1, 2, frame_type::resume) == bytes_of("02040e"));
  std::int64_t ids[] = {2, 300};
  CHECK(tunnel::make_frame(1, 0, frame_type::sync_connections, tunnel::sync_body(ids)) ==
        bytes_of("02001002000000000000002c01000000000000"));
  // The largest id of a frame takes ten bytes; the header never more than 24.
  std::byte header[tunnel::frame_header_max_bytes];
  CHECK(tunnel::write_frame_header(header, INT64_MAX, INT64_MAX, frame_type::data) == tunnel::frame_header_max_bytes);
}

TEST_CASE("frames as they are read") {
  using namespace std::literals;
  std::string longest(270, 'a');
  struct row {
    const char* what;
    std::string message, gives;
  };
  const row rows[] = {
      {"connect", bytes_of("020404b0ea01", "tcp/10.0.0.1:80"), "connect 2 tcp 10.0.0.1:80"},
      {"connect splits at the first slash", bytes_of("020404b0ea01", "unix//run/x"), "connect 2 unix /run/x"},
      {"connect without a slash", bytes_of("020404b0ea01", "tcp"), "error"},
      {"connect too long", bytes_of("020404b0ea01", "tcp/" + longest),
       "connect 2 tcp " + longest.substr(0, 262) + " cut"},
      {"data", bytes_of("020402b0ea01", "hello"), "data 2 hello"},
      {"data with nothing", bytes_of("020402b0ea01"), "data 2 "},
      {"data with another deadline", bytes_of("02040200", "hello"), "data 2 hello"},
      {"error", bytes_of("020406", "EOF"), "error 2 EOF"},
      {"error without text", bytes_of("020406"), "error 2 "},
      {"error too long", bytes_of("020406", std::string(101, 'e')), "error 2 " + std::string(100, 'e')},
      {"pause", bytes_of("02040c"), "pause 2"},
      {"pause with a body", bytes_of("02040c", "body"), "pause 2"},
      {"resume", bytes_of("02040e"), "resume 2"},
      {"sync", bytes_of("02001002000000000000002c01000000000000"), "sync 2 300"},
      {"sync of none", bytes_of("020010"), "sync"},
      {"sync of half an id", bytes_of("02001002000000"), "error"},
      {"a client is added", bytes_of("020008", "node/5"), ""},
      {"an unknown type", bytes_of("020412", "whatever"), ""},
      {"a negative type", bytes_of("020401", "whatever"), ""},
      {"an id of 63 bits", bytes_of("feffffffffffffffff01040c"), "pause 2"},
      {"a negative connection", bytes_of("02030c"), "pause -2"},
      {"a number not in its shortest form", bytes_of("8200040c"), "pause 2"},
      {"a number of 65 bits", bytes_of("feffffffffffffffff02040c"), "error"},
      {"a number of eleven bytes", bytes_of("8080808080808080808000040c"), "error"},
      {"nothing", "", "error"},
      {"half a header", bytes_of("0204"), "error"},
      {"data without deadline", bytes_of("020402"), "error"},
      {"half a deadline", bytes_of("020402b0ea"), "error"},
  };
  for (auto& r : rows) {
    for (std::size_t step : {std::size_t(1000), std::size_t(5), std::size_t(1)}) {
      CAPTURE(r.what);
      CAPTURE(step);
      CHECK(read(r.message, step) == r.gives);
    }
  }
  CHECK(read(bytes_of("020010") + std::string(tunnel::sync_body_max_bytes + 8, '\0'), 4096) == "error");
}

TEST_CASE("a decoder takes one message after another") {
  frame_decoder d;
  using kind = frame_decoder::event::kind;
  auto first = tunnel::make_frame(7, 2, frame_type::data, "abc");
  auto e = d.feed(as_bytes(std::string_view(first)), false);
  REQUIRE(e.has_value());
  CHECK(e->first);
  e = d.feed(as_bytes("def"), true);
  REQUIRE(e.has_value());
  CHECK((e->what == kind::data && !e->first && as_text(e->payload) == "def"));
  auto second = tunnel::make_frame(8, 3, frame_type::error, "gone");
  e = d.feed(as_bytes(std::string_view(second)), true);
  REQUIRE(e.has_value());
  CHECK((e->what == kind::error && e->connection == 3 && e->text == "gone"));
}
