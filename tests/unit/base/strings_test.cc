#include "base/strings.h"

#include <doctest/doctest.h>

#include <vector>

#include "base/release.h"

using namespace kedge;

TEST_CASE("a released container has given its memory back") {
  std::string text(1000, 'x');
  release(text);
  CHECK(text.empty());
  CHECK(text.capacity() == std::string().capacity());
  std::vector<int> numbers(1000);
  release(numbers);
  CHECK(numbers.capacity() == 0);
}

TEST_CASE("base64 follows RFC 4648's vectors in both alphabets") {
  struct {
    const char *plain, *coded;
  } rows[] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}};
  for (auto& r : rows) {
    CHECK(base64(as_bytes(r.plain)) == r.coded);
    CHECK(unbase64(r.coded).value() == r.plain);
  }
  CHECK(base64url(as_bytes("\xfb\xff")) == "-_8");
  CHECK(unbase64url("-_8").value() == "\xfb\xff");
  CHECK(!unbase64("Zm9v\n"));
  CHECK(!unbase64("Z"));
}

TEST_CASE("hexadecimal text round-trips and refuses what it can't mean") {
  CHECK(hex(as_bytes(std::string_view("\x00\xff\x10", 3))) == "00ff10");
  CHECK(unhex("00FF10").value() == std::string("\x00\xff\x10", 3));
  CHECK(!unhex("0"));
  CHECK(!unhex("0g"));
}

TEST_CASE("percent-decoding bounds its escapes") {
  CHECK(percent_decode("a%2Fb+c", false).value() == "a/b+c");
  CHECK(percent_decode("a%2fb+c", true).value() == "a/b c");
  CHECK(percent_decode("%41", false).value() == "A");
  CHECK(!percent_decode("%4", false));
  CHECK(!percent_decode("%zz", false));
}

TEST_CASE("numbers are whole strings") {
  CHECK(parse_int("-12") == -12);
  CHECK(!parse_int("12 "));
  CHECK(!parse_int(""));
  CHECK(!parse_uint("-1"));
  CHECK(!parse_int("9223372036854775808"));
}
