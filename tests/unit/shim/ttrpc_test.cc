#include "shim/ttrpc.h"

#include <doctest/doctest.h>

#include <vector>

#include "base/bytes.h"
#include "shim/limits.h"

using namespace kedge;
using namespace kedge::shim::ttrpc;

namespace {

// All frames of the bytes, given to the reader in pieces of that size.
std::vector<frame> read_in_pieces(std::string_view bytes, std::size_t piece) {
  std::vector<frame> out;
  frame_reader r;
  for (; !bytes.empty(); bytes.remove_prefix(std::min(piece, bytes.size())))
    for (auto in = bytes.substr(0, piece); !in.empty();)
      if (auto f = r.read(in)) out.push_back(std::move(*f));
  return out;
}

std::string header(std::uint32_t length, std::uint32_t stream, char type) {
  std::string out;
  append_be32(out, length);
  append_be32(out, stream);
  out += type;
  out += '\0';
  return out;
}

}  // namespace

TEST_CASE("frames are read in whatever pieces they come") {
  auto bytes = encode(1, frame_type::request, "first") + encode(3, frame_type::data, "") +
               encode(5, frame_type::response, "last");
  for (std::size_t piece : {1, 3, 10, 11, 1000}) {
    CAPTURE(piece);
    auto frames = read_in_pieces(bytes, piece);
    REQUIRE(frames.size() == 3);
    CHECK(frames[0].stream == 1);
    CHECK(frames[0].data == "first");
    CHECK(frames[1].type == frame_type::data);
    CHECK(frames[1].data.empty());
    CHECK(frames[2].data == "last");
  }
}

TEST_CASE("a frame that is too large is read past and keeps nothing") {
  auto size = static_cast<std::uint32_t>(shim::message_bytes_max + 1);
  auto bytes = header(size, 7, 1) + std::string(size, 'x') + encode(9, frame_type::request, "next");
  auto frames = read_in_pieces(bytes, 100'000);
  REQUIRE(frames.size() == 2);
  CHECK(frames[0].oversized);
  CHECK(frames[0].stream == 7);
  CHECK(frames[0].data.empty());
  CHECK(frames[1].data == "next");
  // The largest that is allowed is no such.
  auto fits = read_in_pieces(header(size - 1, 1, 1) + std::string(size - 1, 'x'), 1 << 20);
  REQUIRE(fits.size() == 1);
  CHECK_FALSE(fits[0].oversized);
}

TEST_CASE("a request says what it asks and how long it waits") {
  auto bytes = encode_request({.service = "s", .method = "m", .payload = "p", .timeout_ns = 5});
  auto r = decode_request(bytes);
  REQUIRE(r);
  CHECK(r->service == "s");
  CHECK(r->method == "m");
  CHECK(r->payload == "p");
  CHECK(r->timeout_ns == 5);
  CHECK(decode_request("\x0a\xff").error().code == errc::invalid);
}

TEST_CASE("errors keep their kind over the wire") {
  auto passed = [](const result<std::string>& answer) {
    auto bytes = encode_response(1, answer);
    return decode_response(std::string_view(bytes).substr(header_bytes));
  };
  CHECK(*passed(std::string("payload")) == "payload");
  CHECK(*passed(std::string()) == "");
  for (auto code :
       {errc::not_found, errc::already_exists, errc::conflict, errc::unsupported, errc::invalid, errc::timeout}) {
    auto got = passed(fail(code, "why"));
    REQUIRE_FALSE(got);
    CHECK(got.error().code == code);
    CHECK(got.error().message == "why");
  }
  CHECK(passed(fail(errc::io, "what the runtime said")).error().code == errc::internal);
  CHECK(decode_response("\x0a\x05").error().code == errc::protocol);
}
