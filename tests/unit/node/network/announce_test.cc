#include "node/network/announce.h"

#include "base/strings.h"
#include "namespaces.h"

using namespace kedge;
using namespace kedge::node;
using namespace std::chrono_literals;

namespace {
auto ip(std::string_view t) { return ip_address::parse(t).value(); }
auto octets(const std::string& t) { return hex(as_bytes(t)); }
constexpr mac_address mac = {0x02, 0x42, 0, 0, 0, 1};
}  // namespace

TEST_CASE("announce: an ARP announcement names the address as asker and asked, to everybody") {
  CHECK(octets(arp_announcement(mac, ip("192.0.2.9"))) ==
        "ffffffffffff024200000001"
        "0806"
        "0001080006040001"
        "024200000001c0000209"
        "000000000000c0000209");
}

TEST_CASE("announce: a neighbour advertisement overrides what is cached") {
  CHECK(octets(neighbour_advertisement(mac, ip("2001:db8::9"))) ==
        "88000000"
        "20000000"
        "20010db8000000000000000000000009"
        "0201024200000001");
}

TEST_CASE("links: an address that is held no longer goes by itself, and a neighbour learns where it is") {
  test_namespace here, there;
  if (!here || !there) return;
  here.run([&] {
    auto net = links::open().value();
    GOOD(net.add_veth("a", "b", there.fd(), 1500));
    auto a = net.find("a").value();
    GOOD(net.set_up(a.index));
    GOOD(net.add_address(a.index, parse_interface_address("192.0.2.1/24").value()));
  });
  there.run([&] {
    auto net = links::open().value();
    auto b = net.find("b").value();
    GOOD(net.set_up(b.index));
    GOOD(net.add_address(b.index, parse_interface_address("192.0.2.2/24").value()));
  });
  here.run([&] {
    auto net = links::open().value();
    auto a = net.find("a").value();
    for (auto text : {"192.0.2.9", "2001:db8::9"}) {
      // A second time as well: that is how it is kept.
      GOOD(net.hold_address(a.index, ip(text), 1s));
      GOOD(net.hold_address(a.index, ip(text), 1s));
      GOOD(announce_address(a, ip(text)));
    }
    auto held = [&] {
      int n = 0;
      for (auto& each : net.all_addresses().value())
        if (each.remaining && each.at.prefix == each.at.address.bits() && each.link == a.index) ++n;
      return n;
    };
    CHECK(held() == 2);
    auto end = std::chrono::steady_clock::now() + 20s;
    while (held() > 0 && std::chrono::steady_clock::now() < end) ::usleep(10'000);
    CHECK(held() == 0);
    // What has no end stays.
    CHECK(net.addresses(a.index).value().size() >= 1);
  });
}
