#include "base/log.h"

#include <doctest/doctest.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

namespace kedge {
namespace {

TEST_CASE("a line of JSON is one line of UTF-8, whatever a client sent") {
  char path[] = "/tmp/kedge_log_XXXXXX";
  int fd = ::mkstemp(path);
  REQUIRE(fd >= 0);
  ::close(fd);
  REQUIRE(log::configure({.as = log::format::json, .file = path}));
  struct row {
    std::string_view text, written;
  };
  using namespace std::string_view_literals;
  constexpr row rows[] = {
      {"plain", "plain"},
      {"a \"b\" \\\n", R"(a \"b\" \\\u000a)"},
      {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x9a\xa2", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x9a\xa2"},
      {"\xff\xfe", R"(\ufffd\ufffd)"},
      {"cut \xe2\x82", R"(cut \ufffd\ufffd)"},
      {"long \xc0\xaf \xe0\x80\xaf", R"(long \ufffd\ufffd \ufffd\ufffd\ufffd)"},
      {"half \xed\xa0\x80", R"(half \ufffd\ufffd\ufffd)"},
      {"beyond \xf4\x90\x80\x80", R"(beyond \ufffd\ufffd\ufffd\ufffd)"},
      {"nul \0."sv, R"(nul \u0000.)"}};
  for (auto& r : rows) log::write(log::level::error, r.text);
  std::ifstream in(path);
  std::string line;
  for (auto& r : rows) {
    REQUIRE(std::getline(in, line));
    CHECK(line.ends_with("\"level\":\"error\",\"msg\":\"" + std::string(r.written) + "\"}"));
  }
  CHECK(!std::getline(in, line));
  ::unlink(path);
}

}  // namespace
}  // namespace kedge
