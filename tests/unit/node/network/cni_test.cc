#include <linux/netlink.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <netpacket/packet.h>

#include "pods.h"

#include "node/nft/batch.h"
#include "node/nft/hostports.h"
#include "node/nft/node_guard.h"

using namespace kedge;
using namespace kedge::node;

TEST_CASE(
    "cni: pods of a node get addresses of both families and reach each other, the node and themselves; DEL leaves "
    "nothing") {
  runtime rt;
  test_namespace one, two;
  if (!one || !two || !rt.node) return;
  auto first = rt.run("ADD", "aaa", one.path());
  CHECK_MESSAGE(address_in(first) == "10.42.3.2/24", json::write(first));
  CHECK(address_in(first, 1) == "fd42:0:0:3::2/64");
  CHECK(first["ips"][0]["interface"].as_integer() == 2);
  CHECK(first["interfaces"][0]["name"].as_string() == "cni0");
  CHECK(first["interfaces"][2]["sandbox"].as_string() == one.path());
  auto second = rt.run("ADD", "bbb", two.path());
  CHECK(address_in(second) == "10.42.3.3/24");
  CHECK(rt.run("CHECK", "aaa", one.path(), first)["code"].is_null());

  CHECK(datagram(one, two, "10.42.3.3", 5000) == "10.42.3.2");
  CHECK(datagram(rt.node, two, "10.42.3.3", 5000) == "10.42.3.1");
  CHECK(datagram(one, rt.node, "10.42.3.1", 5000) == "10.42.3.2");

  // The same attachment again, after a call that came to no end: the same address.
  CHECK(rt.run("ADD", "bbb", two.path())["code"].as_integer() == 100);  // eth0 is there
  CHECK(rt.run("DEL", "aaa", one.path(), first).is_object());
  CHECK(rt.run("DEL", "aaa", one.path(), first)["code"].is_null());  // twice is fine
  CHECK(rt.run("DEL", "bbb", "", second)["code"].is_null());         // the namespace is gone
  std::size_t left = 0;
  for (auto& f : std::filesystem::directory_iterator(rt.folder + "/leases/cbr0"))
    if (ip_address::parse(f.path().filename().string())) ++left;
  CHECK(left == 0);
  // The next pod does not get the address that was just given back.
  test_namespace three;
  CHECK(address_in(rt.run("ADD", "ccc", three.path())) == "10.42.3.4/24");
}

TEST_CASE("cni: a hostPort leads to its pod from outside, from the node and from the pod beside, until the pod goes") {
  runtime rt;
  test_namespace pod, beside, outside;
  if (!pod || !rt.node) return;
  rt.node.run([&] {
    auto here = links::open().value();
    GOOD(here.add_veth("up0", "up1", outside.fd(), 1500));
    GOOD(here.add_address(here.find("up0")->index, *parse_interface_address("192.168.9.1/24")));
    GOOD(here.set_up(here.find("up0")->index));
  });
  outside.run([&] {
    auto here = links::open().value();
    GOOD(here.add_address(here.find("up1")->index, *parse_interface_address("192.168.9.2/24")));
    GOOD(here.set_up(here.find("up1")->index));
  });
  json::array ports{
      json::object{{"hostPort", 8080}, {"containerPort", 80}, {"protocol", "udp"}},
      // As containerd names them.
      json::object{{"HostPort", 9090}, {"ContainerPort", 80}, {"Protocol", "udp"}, {"HostIP", "192.168.9.1"}}};
  auto added = rt.run("ADD", "aaa", pod.path(), {}, ports);
  CHECK_MESSAGE(address_in(added) == "10.42.3.2/24", json::write(added));
  rt.run("ADD", "bbb", beside.path());
  CHECK(datagram(outside, pod, "192.168.9.1", 8080, 80) == "192.168.9.2");  // the client's address survives
  CHECK(datagram(outside, pod, "192.168.9.1", 9090, 80) == "192.168.9.2");
  CHECK(datagram(rt.node, pod, "192.168.9.1", 8080, 80) != "");
  CHECK(datagram(rt.node, pod, "127.0.0.1", 8080, 80) == "10.42.3.1");
  CHECK(datagram(beside, pod, "192.168.9.1", 8080, 80) == "10.42.3.1");  // answered through the node
  CHECK(datagram(pod, pod, "192.168.9.1", 8080, 80) == "10.42.3.1");
  CHECK(rt.run("CHECK", "aaa", pod.path(), added, ports)["code"].is_null());

  // Another pod can't have the same port, and keeps nothing of the attempt.
  test_namespace other;
  auto refused = rt.run("ADD", "ddd", other.path(), {}, ports);
  CHECK(refused["msg"].as_string().find("taken by another pod") != std::string::npos);
  CHECK(rt.run("DEL", "ddd", other.path(), {}, ports)["code"].is_null());
  CHECK(datagram(outside, pod, "192.168.9.1", 8080, 80) == "192.168.9.2");
  CHECK(rt.run("DEL", "aaa", pod.path(), added)["code"].is_null());  // without portMappings even: the file knows
  CHECK(rt.run("CHECK", "aaa", pod.path(), added, ports)["code"].as_integer() != 0);
  auto again = rt.run("ADD", "ddd", other.path(), {}, ports);
  CHECK_MESSAGE(again["code"].is_null(), json::write(again));
}

TEST_CASE("cni: no pod is a router to its node or to the pods beside it") {
  runtime rt;
  test_namespace pod;
  if (!pod || !rt.node) return;
  auto added = rt.run("ADD", "aaa", pod.path());
  auto hears = [](const test_namespace& in, std::string_view interface) {
    std::optional<std::uint64_t> out;
    in.run([&] { out = read_sysctl("ipv6/conf/" + std::string(interface) + "/accept_ra"); });
    return out;
  };
  if (!hears(pod, "lo")) return;  // no IPv6
  CHECK(hears(rt.node, "cni0") == 0);
  CHECK(hears(rt.node, added["interfaces"][1]["name"].as_string()) == 0);
  CHECK(hears(pod, "eth0") == 0);
}

TEST_CASE("cni: a hostPort takes nothing from the node itself: neither an address of its own, nor a port that it has") {
  runtime rt;
  test_namespace pod, beside, other;
  if (!pod || !rt.node || !beside || !other) return;
  const auto names = ip_address::parse("10.43.0.10").value();
  rt.node.run([&] {
    auto here = links::open().value();
    GOOD(here.add_address(here.find("lo")->index, {names, 32}));
    GOOD(here.set_up(here.find("lo")->index));
    GOOD(nft::guard_node({.addresses = {names}, .ports = {10250}}));
  });
  json::array of_names{json::object{{"hostPort", 5353}, {"containerPort", 80}, {"protocol", "udp"}}};
  CHECK(address_in(rt.run("ADD", "aaa", pod.path(), {}, of_names)) == "10.42.3.2/24");
  CHECK(address_in(rt.run("ADD", "bbb", beside.path())) == "10.42.3.3/24");
  CHECK(datagram(beside, pod, "10.42.3.1", 5353, 80) == "10.42.3.1");
  CHECK(datagram(beside, rt.node, "10.43.0.10", 5353) == "10.42.3.3");
  CHECK(datagram(pod, rt.node, "10.43.0.10", 5353) == "10.42.3.2");
  CHECK(datagram(rt.node, rt.node, "10.43.0.10", 5353) != "");
  // Nor when it asks for that very address.
  json::array at_address{
      json::object{{"hostPort", 5354}, {"containerPort", 80}, {"protocol", "udp"}, {"hostIP", "10.43.0.10"}}};
  CHECK(rt.run("ADD", "ccc", other.path(), {}, at_address)["code"].is_null());
  CHECK(datagram(beside, rt.node, "10.43.0.10", 5354) == "10.42.3.3");

  test_namespace last;
  auto own = [](std::string_view protocol) {
    return json::array{json::object{{"hostPort", 10250}, {"containerPort", 80}, {"protocol", protocol}}};
  };
  CHECK(rt.run("ADD", "ddd", last.path(), {}, own("tcp"))["msg"].as_string().contains("taken by the node itself"));
  CHECK(rt.run("DEL", "ddd", last.path())["code"].is_null());
  CHECK(rt.run("ADD", "eee", last.path(), {}, own("udp"))["code"].is_null());

  // What another program took away or emptied stands again, with what it knew.
  for (std::string_view fault : {"remove", "empty"}) {
    CAPTURE(fault);
    rt.node.run([&] {
      auto s = netlink::socket::open(NETLINK_NETFILTER).value();
      nft::batch b(NFPROTO_IPV4, "kedge-node");
      if (fault == "remove") b.remove_table();
      for (auto* chain : {"prerouting", "output", "keep", "loopback"})
        if (fault == "empty") b.flush(chain);
      GOOD(nft::commit(s, b));
    });
    CHECK(datagram(beside, pod, "10.43.0.10", 5353, 80) != "");  // as it would be without
    rt.node.run([&] { GOOD(nft::guard_node({.addresses = {names}, .ports = {10250}})); });
    // From another port each time, so that it is a connection of its own.
    CHECK(datagram(beside, rt.node, "10.43.0.10", 5353) == "10.42.3.3");
  }
  // Another agent beside adds its own; one that starts anew forgets what it had with other settings.
  rt.node.run([&] {
    GOOD(nft::guard_node({.addresses = {}, .ports = {6443}}));
    CHECK(nft::guarded_ports().value().size() == 2);
    GOOD(nft::guard_node({.addresses = {}, .ports = {6444}, .anew = true}));
    CHECK(nft::guarded_ports().value() == std::vector<std::uint16_t>{6444});
  });
}

namespace {

// Past the pod's own stack, as who may open raw sockets can: a datagram of one byte to 127.0.0.1 of the node.
void send_to_loopback(const test_namespace& pod, const mac_address& gateway, std::uint16_t port, char what) {
  struct __attribute__((packed)) {
    iphdr ip;
    udphdr udp;
    char data;
  } packet{};
  packet.ip.version = 4;
  packet.ip.ihl = 5;
  packet.ip.ttl = 64;
  packet.ip.protocol = IPPROTO_UDP;
  packet.ip.tot_len = htons(sizeof packet);
  packet.ip.saddr = socket_address("10.42.3.2", 0).sin_addr.s_addr;
  packet.ip.daddr = socket_address("127.0.0.1", 0).sin_addr.s_addr;
  packet.udp.source = htons(4000);
  packet.udp.dest = htons(port);
  packet.udp.len = htons(sizeof packet.udp + 1);
  packet.data = what;
  std::uint16_t words[sizeof packet.ip / 2];
  std::memcpy(words, &packet.ip, sizeof words);
  std::uint32_t sum = 0;
  for (auto w : words) sum += w;
  sum = (sum & 0xffff) + (sum >> 16);
  packet.ip.check = static_cast<std::uint16_t>(~(sum + (sum >> 16)));
  pod.run([&] {
    int s = ::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_IP));
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_protocol = htons(ETH_P_IP);
    to.sll_ifindex = links::open().value().find("eth0")->index;
    to.sll_halen = static_cast<unsigned char>(gateway.size());
    std::memcpy(to.sll_addr, gateway.data(), gateway.size());
    CHECK(::sendto(s, &packet, sizeof packet, 0, reinterpret_cast<sockaddr*>(&to), sizeof to) == sizeof packet);
    ::close(s);
  });
}

}  // namespace

TEST_CASE("cni: hostPorts open 127.0.0.1 of the node to nobody else") {
  runtime rt;
  test_namespace pod;
  if (!pod || !rt.node) return;
  json::array ports{json::object{{"hostPort", 8080}, {"containerPort", 80}, {"protocol", "udp"}}};
  CHECK(address_in(rt.run("ADD", "aaa", pod.path(), {}, ports)) == "10.42.3.2/24");
  constexpr std::uint16_t port = 7000;
  int receiver = -1;
  mac_address gateway{};
  rt.node.run([&] {
    gateway = links::open().value().find("cni0")->mac;
    receiver = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    auto at = socket_address("0.0.0.0", port);
    CHECK(::bind(receiver, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
  });
  // Which of two that are sent one after the other arrives first; the second always does.
  auto first = [&] {
    send_to_loopback(pod, gateway, port, 'a');
    pod.run([&] {
      int s = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
      auto to = socket_address("10.42.3.1", port);
      CHECK(::sendto(s, "b", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof to) == 1);
      ::close(s);
    });
    char what = 0, seen = 0;
    for (pollfd p{receiver, POLLIN, 0}; what != 'b' && ::poll(&p, 1, 20'000) == 1;) {
      CHECK(::recv(receiver, &what, 1, 0) == 1);
      if (!seen) seen = what;
    }
    return seen;
  };
  CHECK(first() == 'b');
  // So it would be otherwise.
  rt.node.run([&] {
    auto s = netlink::socket::open(NETLINK_NETFILTER).value();
    nft::batch b(NFPROTO_IPV4, "kedge-node");
    b.remove_table();
    GOOD(nft::commit(s, b));
  });
  CHECK(first() == 'a');
  rt.node.run([&] { GOOD(nft::guard_node({})); });
  CHECK(first() == 'b');
  CHECK(datagram(rt.node, pod, "127.0.0.1", 8080, 80) == "10.42.3.1");
  ::close(receiver);
}

TEST_CASE("cni: hostPorts that another program took away or emptied are made again") {
  runtime rt;
  test_namespace pod;
  if (!rt.node || !pod) return;
  servers web;
  auto port = [](int on) {
    return json::array{json::object{{"hostPort", on}, {"containerPort", 8080}, {"protocol", "tcp"}}};
  };
  rt.run("ADD", "a", pod.path(), {}, port(9090));
  web.add(pod);
  bool seen = false;
  auto restore = [&] {
    bool made = false;
    rt.node.run([&] {
      auto done = nft::restore_hostports(rt.folder + "/hostports", seen);
      GOOD(done);
      made = done && *done;
    });
    return made;
  };
  auto answers = [&] { return web.ask(rt.node, "10.42.3.1", 9090) == "0 10.42.3.1"; };
  CHECK_FALSE(restore());
  CHECK(seen);
  CHECK(answers());
  for (std::string_view fault : {"remove", "empty"}) {
    CAPTURE(fault);
    rt.node.run([&] {
      auto s = netlink::socket::open(NETLINK_NETFILTER).value();
      nft::batch b(NFPROTO_IPV4, "kedge-hostports");
      if (fault == "remove") b.remove_table();
      for (auto* chain : {"prerouting", "output", "postrouting", "hostports"})
        if (fault == "empty") b.flush(chain);
      GOOD(nft::commit(s, b));
    });
    CHECK_FALSE(answers());
    CHECK(restore());
    CHECK(answers());
    CHECK_FALSE(restore());
  }
  // Of pods that are gone nothing comes back.
  rt.run("DEL", "a", pod.path());
  rt.node.run([&] {
    auto s = netlink::socket::open(NETLINK_NETFILTER).value();
    nft::batch b(NFPROTO_IPV4, "kedge-hostports");
    b.remove_table();
    GOOD(nft::commit(s, b));
  });
  CHECK_FALSE(restore());
}

TEST_CASE("cni: addresses run out with a clear error, and what a GC doesn't name is given back") {
  runtime rt;
  if (!rt.node) return;
  auto config =
      json::parse(
          R"({"cniVersion":"0.4.0","name":"small","ipam":{"type":"host-local","ranges":[[{"subnet":"10.9.0.0/29"}]]}})")
          .value();
  config["ipam"];
  auto ipam = config["ipam"];
  ipam.set("dataDir", rt.folder + "/small");
  config.set("ipam", ipam);
  std::string last;
  for (int i = 2; i <= 6; ++i) {
    auto o = rt.call("host-local", "ADD", "c" + std::to_string(i), "/x", config);
    auto v = json::parse(o.output).value();
    CHECK(address_in(v) == "10.9.0." + std::to_string(i) + "/29");
    CHECK(v["ips"][0]["gateway"].as_string() == "10.9.0.1");
    CHECK(v["ips"][0]["version"].as_string() == "4");
  }
  auto full = rt.call("host-local", "ADD", "c7", "/x", config);
  CHECK(full.code == 1);
  CHECK(full.output.find("no IP addresses available in range set: 10.9.0.0/29") != std::string::npos);
  auto gc = config;
  gc.set("cniVersion", "1.1.0");
  gc.set("cni.dev/valid-attachments", json::array{json::object{{"containerID", "c3"}, {"ifname", "eth0"}}});
  CHECK(rt.call("host-local", "GC", "", "", gc).code == 0);
  CHECK(address_in(json::parse(rt.call("host-local", "ADD", "c8", "/x", config).output).value()) == "10.9.0.2/29");
  CHECK(address_in(json::parse(rt.call("host-local", "ADD", "c9", "/x", config).output).value()) ==
        "10.9.0.4/29");  // .3 lives
}

TEST_CASE("cni: what can't be done is refused with the specification's code") {
  runtime rt;
  if (!rt.node) return;
  auto code = [&](std::string_view plugin, const std::string& command, const std::string& id,
                  const std::string& config) {
    return json::parse(rt.call(plugin, command, id, "/nowhere", json::parse(config).value()).output)
        .value()["code"]
        .as_integer();
  };
  CHECK(code("bridge", "ADD", "a", R"({"cniVersion":"9.9","name":"n"})") == 1);
  CHECK(code("bridge", "ADD", "../a", R"({"cniVersion":"1.0.0","name":"n"})") == 4);
  CHECK(code("bridge", "ADD", "a", R"({"cniVersion":"1.0.0","name":"../../etc"})") == 7);
  CHECK(code("bridge", "ADD", "a", R"({"cniVersion":"1.0.0","name":"n","ipMasq":true})") == 2);
  CHECK(code("bridge", "ADD", "a", R"({"cniVersion":"1.0.0","name":"n","ipam":{"type":"dhcp"}})") == 2);
  CHECK(code("flannel", "ADD", "a", R"({"cniVersion":"1.0.0","name":"n","subnetFile":"/nowhere/subnet.env"})") == 11);
  CHECK(code("portmap", "ADD", "a", R"({"cniVersion":"1.0.0","name":"n"})") == 7);
  CHECK(code("loopback", "HELLO", "a", R"({"cniVersion":"1.0.0","name":"n"})") == 4);
  auto version =
      json::parse(rt.call("bridge", "VERSION", "", "", json::object{{"cniVersion", "1.0.0"}}).output).value();
  CHECK(version["supportedVersions"].size() == 5);
}
