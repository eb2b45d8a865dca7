#include "base/time_zone.h"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>

#include "base/time.h"

using namespace kedge;
using namespace std::chrono_literals;

namespace {

std::chrono::seconds at(std::string_view utc) {
  return std::chrono::floor<std::chrono::seconds>(parse_rfc3339(utc)->time_since_epoch());
}

// A file as zic writes them: version 2, no changes, and a rule.
std::string file_of_rule(std::string_view rule, std::int32_t offset = 0) {
  std::string block = "TZif2";
  block.append(15, '\0');
  for (int n : {0, 0, 0, 0, 1, 4}) block += std::string({'\0', '\0', '\0', static_cast<char>(n)});
  for (int shift : {24, 16, 8, 0}) block += static_cast<char>(offset >> shift);
  block += std::string("\0\0LMT\0", 6);
  return block + block + "\n" + std::string(rule) + "\n";
}

time_zone zone(std::string_view rule) {
  auto z = time_zone::parse(file_of_rule(rule));
  REQUIRE(z.has_value());
  return *z;
}

}  // namespace

TEST_CASE("time zones: rules of each year") {
  auto paris = zone("CET-1CEST,M3.5.0,M10.5.0/3");
  CHECK(paris.offset_at(at("2026-01-15T12:00:00Z")) == 1h);
  CHECK(paris.offset_at(at("2026-07-15T12:00:00Z")) == 2h);
  CHECK(paris.offset_at(at("2026-03-29T00:59:59Z")) == 1h);
  CHECK(paris.offset_at(at("2026-03-29T01:00:00Z")) == 2h);
  CHECK(paris.offset_at(at("2026-10-25T00:59:59Z")) == 2h);
  CHECK(paris.offset_at(at("2026-10-25T01:00:00Z")) == 1h);
  auto sydney = zone("AEST-10AEDT,M10.1.0,M4.1.0/3");
  CHECK(sydney.offset_at(at("2026-01-15T12:00:00Z")) == 11h);
  CHECK(sydney.offset_at(at("2026-07-15T12:00:00Z")) == 10h);
  CHECK(zone("<+0545>-5:45").offset_at(at("2026-01-01T00:00:00Z")) == 5h + 45min);
  CHECK(zone("EST5").offset_at(at("2026-01-01T00:00:00Z")) == -5h);
  CHECK(zone("ABC3DEF,J60,300/-1:30").offset_at(at("2028-06-01T00:00:00Z")) == -2h);
}

TEST_CASE("time zones: what a wall shows is a moment, also where it is shown twice or never") {
  auto paris = zone("CET-1CEST,M3.5.0,M10.5.0/3");
  CHECK(paris.utc_of(at("2026-07-15T12:00:00Z")) == at("2026-07-15T10:00:00Z"));
  auto gap = paris.utc_of(at("2026-03-29T02:30:00Z"));
  CHECK((gap == at("2026-03-29T00:30:00Z") || gap == at("2026-03-29T01:30:00Z")));
  auto twice = paris.utc_of(at("2026-10-25T02:30:00Z"));
  CHECK((twice == at("2026-10-25T00:30:00Z") || twice == at("2026-10-25T01:30:00Z")));
}

TEST_CASE("time zones: files that are none") {
  CHECK(!time_zone::parse("").has_value());
  CHECK(!time_zone::parse("TZif2").has_value());
  auto good = file_of_rule("UTC0");
  for (std::size_t n = 0; n + 8 < good.size(); ++n) CHECK(!time_zone::parse(good.substr(0, n)).has_value());
  auto many = good;
  many[32] = '\x7f';  // changes without end
  CHECK(!time_zone::parse(many).has_value());
}

TEST_CASE("time zones: the machine's own") {
  std::ifstream in("/usr/share/zoneinfo/America/New_York", std::ios::binary);
  if (!in) {
    MESSAGE("no zoneinfo here");
    return;
  }
  auto z = time_zone::parse(std::string(std::istreambuf_iterator<char>(in), {}));
  REQUIRE(z.has_value());
  CHECK(z->offset_at(at("1970-07-01T12:00:00Z")) == -4h);
  CHECK(z->offset_at(at("2026-01-15T12:00:00Z")) == -5h);
  CHECK(z->offset_at(at("2060-07-15T12:00:00Z")) == -4h);
}
