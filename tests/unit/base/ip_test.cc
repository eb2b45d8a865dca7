#include "base/ip.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>

#include <random>

namespace kedge {

namespace {

// What the C library says the text is, as sixteen octets; empty for nothing.
std::optional<std::array<unsigned char, 16>> by_libc(const std::string& text) {
  std::array<unsigned char, 16> out{};
  out[10] = out[11] = 0xff;
  if (inet_pton(AF_INET, text.c_str(), out.data() + 12) == 1) return out;
  if (inet_pton(AF_INET6, text.c_str(), out.data()) == 1) return out;
  return std::nullopt;
}

}  // namespace

TEST_CASE("an address is what the C library takes it for, whatever the text") {
  std::mt19937 random(1);
  auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  constexpr std::string_view letters = "0011222555789afF::::....%/ g";
  const std::string seeds[] = {"10.42.0.1",
                               "255.255.255.255",
                               "::",
                               "::1",
                               "fe80::1:2",
                               "2001:db8:0:0:1:0:0:1",
                               "::ffff:127.0.0.1",
                               "64:ff9b::1.2.3.4",
                               "1:2:3:4:5:6:7:8",
                               "1:2:3:4:5:6:1.2.3.4",
                               "1::",
                               "1:2:3:4:5:6:7::",
                               ""};
  int good = 0;
  for (int i = 0; i < 200'000; ++i) {
    std::string text = seeds[below(std::size(seeds))];
    for (auto changes = below(4); changes > 0; --changes) {
      const auto at = below(text.size() + 1);
      switch (below(3)) {
        case 0: text.insert(at, 1, letters[below(letters.size())]); break;
        case 1: text.erase(at, 1); break;
        default: text.replace(at, 1, 1, letters[below(letters.size())]);
      }
    }
    const auto ours = ip_address::parse(text);
    const auto theirs = by_libc(text);
    REQUIRE_MESSAGE(ours.has_value() == theirs.has_value(), text);
    if (!ours) continue;
    ++good;
    REQUIRE_MESSAGE(ours->octets() == *theirs, text);
    REQUIRE_MESSAGE(ours->is_v4() == IN6_IS_ADDR_V4MAPPED(reinterpret_cast<const in6_addr*>(theirs->data())), text);
    REQUIRE_MESSAGE(ip_address::parse(ours->text()) == ours, text);
    REQUIRE_MESSAGE(ip_address::parse_sloppy(text) == ours, text);
  }
  CHECK(good > 40'000);
}

TEST_CASE("an address is written as RFC 5952 says") {
  for (auto& [text, canonical] : {std::pair{"2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
                                  {"1:0:0:2:0:0:0:3", "1:0:0:2::3"},
                                  {"1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"},
                                  {"::", "::"},
                                  {"0:0:0:0:0:0:0:1", "::1"},
                                  {"fe80:0:0:0:0:0:0:0", "fe80::"},
                                  {"::ffff:1.2.3.4", "1.2.3.4"},
                                  {"::1.2.3.4", "::102:304"}})
    CHECK(ip_address::parse(text)->text() == canonical);
}

TEST_CASE("leading zeros count for nothing where they are forgiven") {
  CHECK(!ip_address::parse("010.002.003.004"));
  CHECK(ip_address::parse_sloppy("010.002.003.004")->text() == "10.2.3.4");
  CHECK(ip_address::parse_sloppy("::ffff:127.000.0.01")->is_loopback());
  CHECK(!ip_address::parse_sloppy("256.0.0.1"));
  CHECK(!ip_address::parse_sloppy("1.2.3"));
}

TEST_CASE("what an address is for, in every spelling") {
  struct row {
    const char* text;
    bool global, unspecified = false, loopback = false, link_local = false, multicast = false, link_multicast = false;
  };
  const row rows[] = {{"10.0.0.1", true},
                      {"192.168.1.1", true},
                      {"8.8.8.8", true},
                      {"100.64.0.1", true},
                      {"2001:db8::1", true},
                      {"fd00:42::1", true},
                      {"::ffff:10.0.0.1", true},
                      {"255.255.255.255", false},
                      {"0.0.0.0", false, true},
                      {"::", false, true},
                      {"::ffff:0.0.0.0", false, true},
                      {"127.0.0.1", false, false, true},
                      {"127.255.0.9", false, false, true},
                      {"::1", false, false, true},
                      {"::ffff:127.0.0.1", false, false, true},
                      {"::ffff:7f00:1", false, false, true},
                      {"169.254.169.254", false, false, false, true},
                      {"::ffff:a9fe:a9fe", false, false, false, true},
                      {"fe80::1", false, false, false, true},
                      {"febf::1", false, false, false, true},
                      {"224.0.0.1", false, false, false, false, true, true},
                      {"239.1.2.3", false, false, false, false, true},
                      {"ff02::1", false, false, false, false, true, true},
                      {"ff05::2", false, false, false, false, true}};
  for (auto& r : rows) {
    CAPTURE(r.text);
    auto a = ip_address::parse(r.text);
    REQUIRE(a.has_value());
    CHECK(a->is_global_unicast() == r.global);
    CHECK(a->is_unspecified() == r.unspecified);
    CHECK(a->is_loopback() == r.loopback);
    CHECK(a->is_link_local_unicast() == r.link_local);
    CHECK(a->is_multicast() == r.multicast);
    CHECK(a->is_link_local_multicast() == r.link_multicast);
  }
}

TEST_CASE("a range has a network, a size and members of its family") {
  auto range = [](const char* text) { return ip_range::parse(text); };
  for (auto* bad : {"10.42.0.0", "10.42.0.0/33", "10.42.0.0/-1", "10.42.0.0/", "/16", "10.42.0.0/016", "fd00::/129",
                    "::ffff:10.0.0.0/104", "x/8", ""})
    CHECK_MESSAGE(!range(bad), bad);
  CHECK(range("10.43.7.255/16")->text() == "10.43.0.0/16");
  CHECK(range("fd00:43::1/112")->text() == "fd00:43::/112");
  struct row {
    const char *range, *address;
    bool inside;
  };
  for (auto& r :
       {row{"10.43.0.0/16", "10.43.255.255", true}, row{"10.43.0.0/16", "10.44.0.0", false},
        row{"10.43.0.0/16", "::ffff:10.43.0.1", true}, row{"10.43.0.128/25", "10.43.0.127", false},
        row{"10.43.0.128/25", "10.43.0.129", true}, row{"0.0.0.0/0", "1.2.3.4", true}, row{"::/0", "1.2.3.4", false},
        row{"fd00:42::/56", "fd00:42:0:ff::1", true}, row{"fd00:42::/56", "fd00:42:0:100::1", false},
        row{"fd00::1/128", "fd00::1", true}, row{"10.0.0.1/32", "10.0.0.0", false}})
    CHECK_MESSAGE(range(r.range)->contains(*ip_address::parse(r.address)) == r.inside, r.range << " " << r.address);
  CHECK(range("10.43.0.0/16")->at(10)->text() == "10.43.0.10");
  CHECK(range("10.43.0.0/16")->at(65535)->text() == "10.43.255.255");
  CHECK(!range("10.43.0.0/16")->at(65536));
  CHECK(!range("255.255.255.0/24")->at(~std::uint64_t(0)));
  CHECK(range("10.42.0.0/16")->part(24, 0)->text() == "10.42.0.0/24");
  CHECK(range("10.42.0.0/16")->part(24, 255)->text() == "10.42.255.0/24");
  CHECK(!range("10.42.0.0/16")->part(24, 256));
  CHECK(!range("10.42.0.0/16")->part(15, 0));
  CHECK(range("10.42.0.0/16")->part(16, 0)->text() == "10.42.0.0/16");
  CHECK(range("fd00:42::/56")->part(64, 3)->text() == "fd00:42:0:3::/64");
  CHECK(range("fd00:42::/56")->part(64, 255)->text() == "fd00:42:0:ff::/64");
  CHECK(range("fd00::/120")->part(124, 2)->text() == "fd00::20/124");
  CHECK(range("fd00::/60")->part(68, 17)->text() == "fd00:0:0:1:1000::/68");
  CHECK(range("10.0.0.0/30")->size() == 3);
  CHECK(range("10.0.0.0/32")->size() == 0);
  CHECK(range("fd00::/112")->size() == 65535);
  CHECK(range("fd00::/64")->size() == ~std::uint64_t(0));
  CHECK(range("fd00::/64")->at(~std::uint64_t(0))->text() == "fd00::ffff:ffff:ffff:ffff");
  CHECK(*ip_address::parse("255.0.0.0") < *ip_address::parse("::1"));
  CHECK(*ip_address::parse("10.9.0.0") < *ip_address::parse("10.10.0.0"));
}

}  // namespace kedge
