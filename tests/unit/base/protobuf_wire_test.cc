#include "base/protobuf_wire.h"

#include <doctest/doctest.h>

#include <vector>

using namespace kedge;
using namespace std::string_view_literals;

TEST_CASE("the wire format reads back what was written, and passes over what it doesn't know") {
  auto message = wire::writer().number(1, 300).text(2, "abc").number(3, 0).text(4, "").number(9, ~0ULL).take();
  message +=
      "\x51"
      "12345678"
      "\x55"
      "1234"sv;  // field 10: 64 bits, then 32 bits
  std::vector<wire::field> all;
  REQUIRE(wire::read_fields(message, [&](const wire::field& f) { all.push_back(f); }));
  REQUIRE(all.size() == 5);  // defaults aren't written
  CHECK((all[0].id == 1 && all[0].number == 300 && all[0].data.empty()));
  CHECK((all[1].id == 2 && all[1].data == "abc" && all[1].number == 0));
  CHECK((all[2].id == 9 && all[2].number == ~0ULL));
  CHECK((all[3].id == 10 && all[3].kind == wire::kind::fixed64));
  CHECK((all[4].id == 10 && all[4].kind == wire::kind::fixed32));
  CHECK_FALSE(wire::read_fields(message, [](const wire::field& f) { return f.id != 2; }));
}

TEST_CASE("malformed messages are refused, wherever they are cut") {
  auto ignore = [](const wire::field&) {};
  for (auto bad : {"\x0a\x05"
                   "ab"sv,
                   "\x08"sv, "\x08\x80\x80"sv, "\x00\x01"sv, "\x0b"sv,
                   "\x09"
                   "1234"sv,
                   "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"sv}) {
    CAPTURE(bad);
    CHECK_FALSE(wire::read_fields(bad, ignore));
  }
  auto inner = wire::writer().text(1, "abc").number(2, 1'000'000).take();
  auto whole = wire::writer().message(1, inner).take();
  for (std::size_t n = 1; n < whole.size(); ++n)
    CHECK_FALSE(wire::read_fields(std::string_view(whole).substr(0, n), ignore));
}
