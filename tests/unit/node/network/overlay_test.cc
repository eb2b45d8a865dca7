#include "node/network/overlay.h"

#include "pods.h"

using namespace kedge;
using namespace kedge::node;

namespace {

auto ip(std::string_view t) { return ip_address::parse(t).value(); }
auto range(std::string_view t) { return ip_range::parse(t).value(); }

json::value node_object(const std::string& name, const std::string& cidr, const std::string& address,
                        const std::string& mac) {
  return json::parse(
             R"({"metadata":{"name":")" + name + R"(","annotations":{"flannel.alpha.coreos.com/backend-type":"vxlan",
    "flannel.alpha.coreos.com/public-ip":")" +
             address + R"(","flannel.alpha.coreos.com/backend-data":"{\"VNI\":1,\"VtepMAC\":\")" + mac + R"(\"}"}},
    "spec":{"podCIDR":")" +
             cidr + R"(","podCIDRs":[")" + cidr + R"("]}})")
      .value();
}

overlay own(overlay_kind kind) {
  overlay o{.kind = kind, .node_name = "me"};
  o.v4 = {.used = true,
          .subnet = range("10.42.0.0/24"),
          .local = ip("192.168.1.1"),
          .mac = parse_mac("aa:00:00:00:00:01"),
          .device = 7};
  return o;
}

}  // namespace

TEST_CASE(
    "overlay: a node's annotations become a route, a neighbour and an entry of the forwarding table, as flannel's") {
  auto n = decode_node(node_object("edge", "10.42.1.0/24", "192.168.1.2", "aa:00:00:00:00:02")).value();
  auto state = plan_overlay(own(overlay_kind::vxlan), {n});
  REQUIRE(state.routes.size() == 1);
  CHECK(state.routes[0].to == range("10.42.1.0/24"));
  CHECK(state.routes[0].via == ip("10.42.1.0"));
  CHECK(state.routes[0].onlink);
  CHECK(state.neighbours == std::vector<neighbour>{{7, ip("10.42.1.0"), *parse_mac("aa:00:00:00:00:02")},
                                                   {7, ip("192.168.1.2"), *parse_mac("aa:00:00:00:00:02"), true}});
  n.backend = "host-gw";
  CHECK(plan_overlay(own(overlay_kind::vxlan), {n}).routes.empty());
  auto direct = plan_overlay(own(overlay_kind::host_gw), {n});
  REQUIRE(direct.routes.size() == 1);
  CHECK(direct.routes[0].via == ip("192.168.1.2"));
  CHECK(direct.neighbours.empty());
}

TEST_CASE("overlay: what another node says takes nothing of this node's away") {
  auto o = own(overlay_kind::vxlan);
  for (auto [cidr, address] : {std::pair("10.42.0.0/24", "192.168.1.2"),
                               {"10.42.1.0/24", "192.168.1.1"},
                               {"192.168.1.0/24", "192.168.1.2"},
                               {"", "192.168.1.2"},
                               {"10.42.1.0/24", "nonsense"}}) {
    CAPTURE(cidr);
    CHECK(
        plan_overlay(o, {decode_node(node_object("edge", cidr, address, "aa:00:00:00:00:02")).value()}).routes.empty());
  }
  CHECK(plan_overlay(o, {decode_node(node_object("me", "10.42.1.0/24", "192.168.1.2", "aa:00:00:00:00:02")).value()})
            .routes.empty());
  CHECK(plan_overlay(o, {decode_node(node_object("edge", "10.42.1.0/24", "192.168.1.2", "no mac")).value()})
            .routes.empty());
}

TEST_CASE("overlay: annotations are what they are read as") {
  auto o = own(overlay_kind::vxlan);
  json::value node(
      json::object{{"metadata", json::object{{"name", "me"}, {"annotations", overlay_annotations(own_end_of(o))}}}});
  CHECK(node["metadata"]["annotations"]["flannel.alpha.coreos.com/backend-data"] ==
        R"({"VNI":1,"VtepMAC":"aa:00:00:00:00:01"})");
  CHECK(node["metadata"]["annotations"]["flannel.alpha.coreos.com/kube-subnet-manager"] == "true");
  auto n = decode_node(node).value();
  CHECK(n.v4 == own_end_of(o).v4);
  CHECK_FALSE(n.v6.address);
  CHECK(n.backend == "vxlan");
}

// As flannel 0.27.4 writes them (tests/judges/flannel_overlay.py compares with it).
TEST_CASE("overlay: both families, and IPv6 alone, as flannel has them") {
  auto o = own(overlay_kind::vxlan);
  o.v6 = {.used = true,
          .subnet = range("fd00:42::/64"),
          .local = ip("fd00:97::1"),
          .mac = parse_mac("aa:00:00:00:00:06"),
          .device = 9};
  auto node = json::parse(R"({"metadata":{"name":"edge","annotations":{
    "flannel.alpha.coreos.com/backend-data":"{\"VNI\":1,\"VtepMAC\":\"36:b2:a5:60:b5:0c\"}",
    "flannel.alpha.coreos.com/backend-type":"vxlan",
    "flannel.alpha.coreos.com/backend-v6-data":"{\"VNI\":1,\"VtepMAC\":\"ae:38:ca:81:7b:94\"}",
    "flannel.alpha.coreos.com/kube-subnet-manager":"true","flannel.alpha.coreos.com/public-ip":"10.97.2.3",
    "flannel.alpha.coreos.com/public-ipv6":"fd00:97::3"}},
    "spec":{"podCIDR":"10.42.1.0/24","podCIDRs":["10.42.1.0/24","fd00:42:0:1::/64"]}})")
                  .value();
  auto state = plan_overlay(o, {decode_node(node).value()});
  REQUIRE(state.routes.size() == 2);
  CHECK(state.routes[0].to == range("10.42.1.0/24"));
  CHECK(state.routes[0].link == 7);
  CHECK(state.routes[1].to == range("fd00:42:0:1::/64"));
  CHECK(state.routes[1].via == ip("fd00:42:0:1::"));
  CHECK(state.routes[1].link == 9);
  CHECK(state.routes[1].onlink);
  const auto mac4 = *parse_mac("36:b2:a5:60:b5:0c"), mac6 = *parse_mac("ae:38:ca:81:7b:94");
  CHECK(state.neighbours == std::vector<neighbour>{{7, ip("10.42.1.0"), mac4},
                                                   {7, ip("10.97.2.3"), mac4, true},
                                                   {9, ip("fd00:42:0:1::"), mac6},
                                                   {9, ip("fd00:97::3"), mac6, true}});
  // What it would take over of this node's own it doesn't get in the other family either.
  auto thief = decode_node(node).value();
  thief.v6.address = ip("fd00:97::1");
  CHECK(plan_overlay(o, {thief}).routes.size() == 1);

  auto told = [](const overlay& is) { return json::value(overlay_annotations(own_end_of(is))); };
  const std::string prefix = "flannel.alpha.coreos.com/";
  CHECK(told(o)[prefix + "backend-v6-data"] == R"({"VNI":1,"VtepMAC":"aa:00:00:00:00:06"})");
  CHECK(told(o)[prefix + "public-ipv6"] == "fd00:97::1");
  o.v4 = {};
  auto alone = told(o);
  CHECK(alone[prefix + "backend-v6-data"] == R"({"VNI":1,"VtepMAC":"aa:00:00:00:00:06"})");
  CHECK(alone[prefix + "backend-type"] == "vxlan");
  for (auto* of_v4 : {"backend-data", "public-ip"}) CHECK(alone[prefix + of_v4].is_null());  // taken away
}

namespace {

// A machine with one interface on a switch, a pod, and the overlay between them.
struct machine {
  std::string name, address, subnet;
  runtime rt;
  test_namespace pod;
  overlay is;
  node_record record;

  machine(const test_namespace& cable, std::string n, std::string a, std::string s, int number)
      : name(std::move(n)),
        address(std::move(a)),
        subnet(std::move(s)),
        rt("FLANNEL_SUBNET=" + subnet + ".1/24\nFLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_MTU=1450\n") {
    auto port = "port" + std::to_string(number);
    cable.run([&] {
      auto here = links::open().value();
      GOOD(here.add_veth(port, "eth0", rt.node.fd(), 1500));
      GOOD(here.set_master(here.find(port)->index, here.find("switch")->index));
      GOOD(here.set_up(here.find(port)->index));
    });
    rt.node.run([&] {
      auto here = links::open().value();
      auto eth = here.find("eth0").value();
      GOOD(here.add_address(eth.index, *parse_interface_address(address + "/24")));
      GOOD(here.set_up(eth.index));
    });
  }
  void open(overlay_kind kind) {
    rt.node.run([&] {
      auto opened = open_overlay({.kind = kind,
                                  .node_name = name,
                                  .node_ips = {address},
                                  .subnets = {range(subnet + ".0/24")},
                                  .known4 = record.v4});
      GOOD(opened);
      if (opened) is = *opened;
    });
    auto end = own_end_of(is);
    record = {.name = name, .pod_ranges = {range(subnet + ".0/24")}, .backend = end.backend, .v4 = end.v4};
  }
  void apply(const std::vector<node_record>& all) {
    rt.node.run([&] {
      GOOD(apply_overlay(is, plan_overlay(is, all)));
      GOOD(apply_masquerade(is, {range("10.42.0.0/16")}, false));
    });
  }
};

void two_nodes(overlay_kind kind) {
  test_namespace cable;
  if (!cable) return;
  cable.run([&] {
    auto here = links::open().value();
    GOOD(here.add_bridge("switch", 1500, {0x02, 0, 0, 0, 0, 1}));
    GOOD(here.set_up(here.find("switch")->index));
    GOOD(here.add_address(here.find("switch")->index, *parse_interface_address("192.168.7.254/24")));
  });
  machine a(cable, "a", "192.168.7.1", "10.42.1", 1), b(cable, "b", "192.168.7.2", "10.42.2", 2);
  a.open(kind);
  b.open(kind);
  auto all = std::vector{a.record, b.record};
  a.apply(all);
  b.apply(all);
  CHECK(address_in(a.rt.run("ADD", "aa", a.pod.path())) == "10.42.1.2/24");
  CHECK(address_in(b.rt.run("ADD", "bb", b.pod.path())) == "10.42.2.2/24");
  CHECK(datagram(a.pod, b.pod, "10.42.2.2", 7000) == "10.42.1.2");  // pods see each other's own addresses
  CHECK(datagram(b.pod, a.pod, "10.42.1.2", 7000) == "10.42.2.2");
  CHECK(datagram(a.rt.node, b.pod, "10.42.2.2", 7000) == (kind == overlay_kind::vxlan ? "10.42.1.0" : "192.168.7.1"));
  CHECK(datagram(a.pod, b.rt.node, "192.168.7.2", 7000) == "192.168.7.1");  // out of the cluster's network: masqueraded
  CHECK(datagram(a.pod, cable, "192.168.7.254", 7000) == "192.168.7.1");

  // Again, as after a restart of the agent: the same device, nothing lost; then b leaves, and its routes with it.
  auto before = a.is.v4.mac;
  a.open(kind);
  CHECK(a.is.v4.mac == before);
  a.apply(all);
  CHECK(datagram(a.pod, b.pod, "10.42.2.2", 7000) == "10.42.1.2");
  a.apply({a.record});
  a.rt.node.run([&] {
    auto here = links::open().value();
    CHECK(here.routes(213)->empty());
    if (kind == overlay_kind::vxlan) CHECK(here.neighbours(a.is.v4.device)->empty());
  });
}

}  // namespace

TEST_CASE("overlay: pods of two nodes reach each other by vxlan, and the outside under their node's address") {
  two_nodes(overlay_kind::vxlan);
}
TEST_CASE("overlay: pods of two nodes reach each other by host-gw") { two_nodes(overlay_kind::host_gw); }

TEST_CASE("overlay: a device of another's making is replaced and keeps its hardware address") {
  test_namespace ns;
  if (!ns) return;
  ns.run([&] {
    auto here = links::open().value();
    GOOD(here.add_bridge("eth0", 1400, {0x02, 0, 0, 0, 0, 1}));
    GOOD(here.set_up(here.find("eth0")->index));
    GOOD(here.add_address(here.find("eth0")->index, *parse_interface_address("10.0.0.5/24")));
    GOOD(here.add_vxlan({.name = "flannel.1",
                         .vni = 3,
                         .port = 4789,
                         .lower = here.find("eth0")->index,
                         .local = ip("10.0.0.5"),
                         .mac = *parse_mac("02:11:22:33:44:55")}));
    auto o = open_overlay({.node_name = "x", .node_ips = {"10.0.0.5"}, .subnets = {range("10.42.3.0/24")}});
    GOOD(o);
    CHECK(o->mtu == 1350);
    CHECK(mac_text(*o->v4.mac) == "02:11:22:33:44:55");
    CHECK(here.find("flannel.1")->vni == 1);
    CHECK(here.find("flannel.1")->mtu == 1350);
    CHECK(subnet_environment(*o, {range("10.42.0.0/16")}) ==
          "FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.3.1/24\nFLANNEL_MTU=1350\nFLANNEL_IPMASQ=true\n");
    CHECK_FALSE(open_overlay({.interface = "eth9", .subnets = {range("10.42.3.0/24")}}));
  });
}
