#include "node/network/links.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string>
#include <thread>

#include "namespaces.h"

using namespace kedge;
using namespace kedge::node;

namespace {
auto ip(std::string_view t) { return ip_address::parse(t).value(); }
}  // namespace

TEST_CASE("netlink: a message is read back as it was written, and a cut one ends the list") {
  netlink::writer w;
  w.begin(7, 1);
  w.header(std::uint32_t(42));
  w.put_text(1, "eth0");
  {
    netlink::writer::nest outer(w, 2);
    w.put_u16(3, 8472);
    netlink::writer::nest inner(w, 4);
    w.put_be32(5, 1);
  }
  w.put_flag(6);
  auto text = w.take();
  int seen = 0;
  netlink::each_message(as_bytes(text), [&](const netlink::reply& r) {
    ++seen;
    CHECK(r.type == 7);
    CHECK(r.header<std::uint32_t>() == 42);
    auto a = r.all<std::uint32_t>();
    CHECK(a.text(1) == "eth0");
    netlink::attributes outer(a.find(2));
    CHECK(outer.u32(3) == 8472);
    CHECK(netlink::attributes(outer.find(4)).find(5).size() == 4);
    CHECK(a.has(6));
    CHECK_FALSE(a.has(9));
  });
  CHECK(seen == 1);
  for (std::size_t n = 0; n < text.size(); ++n) {
    auto cut = text.substr(0, n);
    netlink::each_message(as_bytes(cut), [&](const netlink::reply&) { ++seen; });
    netlink::attributes ignored(as_bytes(cut));
  }
  CHECK(seen == 1);
}

TEST_CASE("links: all are listed though others come and go meanwhile") {
  test_namespace a;
  if (!a) return;
  constexpr int kept = 60;  // more than the kernel tells at once
  a.run([&] {
    auto here = links::open();
    if (!here) return;
    for (int i = 0; i < kept; ++i)
      GOOD(here->add_bridge("kept" + std::to_string(i), 1500, {2, 0, 0, 0, 1, std::uint8_t(i)}));
    std::atomic<bool> done = false;
    std::thread others([&] {
      a.run([&] {
        auto mine = links::open();
        while (mine && !done) {
          GOOD(mine->add_bridge("other", 1500, {2, 0, 0, 0, 2, 0}));
          if (auto found = mine->find("other")) GOOD(mine->remove(found->index));
        }
      });
    });
    for (int i = 0; i < 200; ++i) {
      auto all = here->all();
      GOOD(all);
      if (all) CHECK(std::ranges::count_if(*all, [](auto& l) { return l.name.starts_with("kept"); }) == kept);
    }
    done = true;
    others.join();
  });
}

TEST_CASE("links: bridge, cable, vxlan, addresses, routes and neighbours are what the kernel then says they are") {
  test_namespace a, b;
  if (!a || !b) return;
  a.run([&] {
    auto here = links::open().value();
    CHECK(here.find("cni0").error().code == errc::not_found);
    GOOD(here.add_bridge("cni0", 1450, *parse_mac("0a:58:0a:2a:00:01")));
    auto bridge = here.find("cni0");
    CHECK(bridge->kind == "bridge");
    CHECK(bridge->mtu == 1450);
    CHECK(mac_text(bridge->mac) == "0a:58:0a:2a:00:01");
    CHECK_FALSE(here.add_bridge("cni0", 1450, {}));  // it is there
    GOOD(here.set_up(bridge->index));

    GOOD(here.add_veth("veth1", "eth0", b.fd(), 1450, *parse_mac("0a:58:0a:2a:00:07")));
    auto cable = here.find("veth1");
    GOOD(here.set_master(cable->index, bridge->index));
    GOOD(here.set_hairpin(cable->index));
    GOOD(here.set_up(cable->index));
    CHECK(here.find("veth1")->master == bridge->index);

    interface_address gateway{ip("10.42.0.1"), 24};
    GOOD(here.add_address(bridge->index, gateway));
    GOOD(here.add_address(bridge->index, gateway));  // twice is fine
    CHECK(here.addresses(bridge->index)->front() == gateway);

    GOOD(here.add_vxlan({.name = "flannel.1", .lower = bridge->index, .local = ip("10.42.0.1"), .mtu = 1400}));
    auto overlay = here.find("flannel.1");
    CHECK(overlay->kind == "vxlan");
    CHECK(overlay->vni == 1);
    CHECK(overlay->port == 8472);
    CHECK(overlay->local == ip("10.42.0.1"));
    CHECK_FALSE(overlay->learning);
    GOOD(here.set_up(overlay->index));

    route r{.to = *ip_range::parse("10.42.1.0/24"),
            .via = ip("10.42.1.0"),
            .link = overlay->index,
            .onlink = true,
            .protocol = 77};
    GOOD(here.set_route(r));
    GOOD(here.set_route(r));
    CHECK(here.routes(77).value() == std::vector{r});
    CHECK(here.way_to(ip("10.42.1.9"))->link == overlay->index);

    neighbour arp{overlay->index, ip("10.42.1.0"), *parse_mac("aa:bb:cc:00:00:01")};
    neighbour fdb{overlay->index, ip("192.168.7.2"), *parse_mac("aa:bb:cc:00:00:01"), true};
    GOOD(here.set_neighbour(arp));
    GOOD(here.set_neighbour(fdb));
    GOOD(here.set_neighbour(fdb));
    CHECK(here.neighbours(overlay->index).value() == std::vector{arp, fdb});
    GOOD(here.remove_neighbour(arp));
    GOOD(here.remove_neighbour(fdb));
    GOOD(here.remove_neighbour(fdb));
    CHECK(here.neighbours(overlay->index)->empty());
    GOOD(here.remove_route(r));
    GOOD(here.remove_route(r));
    CHECK(here.routes(77)->empty());
    GOOD(here.remove(overlay->index));
    GOOD(here.remove(overlay->index));
    CHECK(here.find("flannel.1").error().code == errc::not_found);
  });
  b.run([&] {
    auto inside = links::open().value();
    auto eth = inside.find("eth0");
    CHECK(eth);
    CHECK(mac_text(eth->mac) == "0a:58:0a:2a:00:07");
    CHECK_FALSE(eth->up);
  });
}

TEST_CASE("links: names and addresses that are none are refused") {
  auto here = links::open().value();
  CHECK(here.find("").error().code == errc::invalid);
  CHECK(here.find("a-name-of-sixteen").error().code == errc::invalid);
  for (auto* text : {"", "10.0.0.1", "10.0.0.1/33", "10.0.0.1/x", "fd00::1/129", "/8"})
    CHECK_FALSE(parse_interface_address(text));
  for (auto* text : {"", "aa:bb:cc:dd:ee", "aa:bb:cc:dd:ee:f", "aa:bb:cc:dd:ee:ff:00", "aa-bb-cc-dd-ee-ff"})
    CHECK_FALSE(parse_mac(text));
  CHECK(mac_text(*parse_mac("AA:bb:cc:dd:ee:0f")) == "aa:bb:cc:dd:ee:0f");
}
