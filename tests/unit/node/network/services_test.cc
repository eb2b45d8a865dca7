#include <linux/netlink.h>
#include <netinet/in.h>

#include <set>

#include "node/services/conntrack.h"
#include "node/services/endpoints.h"
#include "node/services/rules.h"
#include "pods.h"
#include "sctp.h"

using namespace kedge;
using namespace kedge::node;

namespace {

auto ip(std::string_view t) { return ip_address::parse(t).value(); }
auto range(std::string_view t) { return ip_range::parse(t).value(); }

service_record service(const std::string& more) {
  return decode_service(json::parse(R"({"metadata":{"namespace":"default","name":"web"},)" + more + "}").value())
      .value();
}
slice_record slice(const std::string& endpoints,
                   const std::string& ports = R"([{"name":"http","protocol":"TCP","port":8080}])") {
  return decode_slice(
             json::parse(
                 R"({"metadata":{"namespace":"default","name":"web-1","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4",
    "ports":)" + ports +
                 R"(,"endpoints":)" + endpoints + "}")
                 .value())
      .value();
}

// A node with two pods that serve, one that asks, and a machine outside.
struct lab {
  runtime rt;
  test_namespace one, two, client, outside;
  servers web;
  rules_context context{.node = "here", .node_ips = {ip("192.168.9.1")}, .cluster = {range("10.42.0.0/16")}};
  nft::table table{NFPROTO_IPV4, services_table};
  std::map<std::string, std::uint32_t> numbers;
  bool good = false;

  lab() {
    if (!rt.node || !one || !two || !client || !outside) return;
    rt.node.run([&] {
      auto here = links::open().value();
      GOOD(here.add_veth("up0", "up1", outside.fd(), 1500));
      GOOD(here.add_address(here.find("up0")->index, *parse_interface_address("192.168.9.1/24")));
      GOOD(here.set_up(here.find("up0")->index));
      GOOD(here.set_route({.to = range("0.0.0.0/0"), .via = ip("192.168.9.2"), .link = here.find("up0")->index}));
      GOOD(write_sysctl("bridge/bridge-nf-call-iptables", "1"));
    });
    outside.run([&] {
      auto here = links::open().value();
      GOOD(here.add_address(here.find("up1")->index, *parse_interface_address("192.168.9.2/24")));
      GOOD(here.set_up(here.find("up1")->index));
    });
    CHECK(address_in(rt.run("ADD", "one", one.path())) == "10.42.3.2/24");
    CHECK(address_in(rt.run("ADD", "two", two.path())) == "10.42.3.3/24");
    CHECK(address_in(rt.run("ADD", "client", client.path())) == "10.42.3.4/24");
    web.add(one);
    web.add(two);
    rt.node.run([&] {
      auto b = table.begin_anew(base_rules(context), base_hooks());
      commit(b);
    });
    good = true;
  }
  void commit(nft::batch& b) {
    auto s = netlink::socket::open(NETLINK_NETFILTER).value();
    GOOD(nft::commit(s, b));
  }
  // How many bytes of netlink the change took.
  std::size_t set(const service_record& s, const std::vector<slice_record>& slices,
                  const std::string& owner = "default/web") {
    std::vector<const slice_record*> all;
    for (auto& x : slices) all.push_back(&x);
    auto b = table.begin();
    table.set(b, owner, service_rules(context, s, all, [&](const std::string& port) {
                auto& n = numbers[owner + port];
                if (n == 0) n = static_cast<std::uint32_t>(numbers.size());
                return n;
              }));
    auto bytes = b.bytes();
    rt.node.run([&] { commit(b); });
    return bytes;
  }
  std::size_t remove(const std::string& owner = "default/web") {
    auto b = table.begin();
    table.set(b, owner, {});
    auto bytes = b.bytes();
    rt.node.run([&] { commit(b); });
    return bytes;
  }
};

const std::string cluster_ip =
    R"("spec":{"clusterIP":"10.43.0.50","clusterIPs":["10.43.0.50"],"ports":[{"name":"http","protocol":"TCP","port":80}]})";
const std::string both =
    R"([{"addresses":["10.42.3.2"],"nodeName":"here"},{"addresses":["10.42.3.3"],"nodeName":"here"}])";
const std::string first_alone = R"([{"addresses":["10.42.3.2"],"nodeName":"here"}])";

}  // namespace

TEST_CASE(
    "services: a cluster IP leads to each endpoint from pods, the node and the endpoint itself, and to none when it is "
    "gone") {
  lab l;
  if (!l.good) return;
  l.set(service(cluster_ip), {slice(both)});
  std::set<std::string> seen;
  for (int i = 0; i < 40 && seen.size() < 2; ++i) seen.insert(l.web.ask(l.client, "10.43.0.50", 80));
  CHECK(seen == std::set<std::string>{"0 10.42.3.4", "1 10.42.3.4"});  // the asker's own address
  CHECK(l.web.ask(l.rt.node, "10.43.0.50", 80).ends_with(" 10.42.3.1"));
  // One endpoint alone: also to itself, answered through the node.
  l.set(service(cluster_ip), {slice(first_alone)});
  for (int i = 0; i < 5; ++i) CHECK(l.web.ask(l.client, "10.43.0.50", 80) == "0 10.42.3.4");
  CHECK(l.web.ask(l.one, "10.43.0.50", 80) == "0 10.42.3.1");
  CHECK(l.web.ask(l.client, "10.43.0.50", 81) == "refused");  // no such port
  l.set(service(cluster_ip), {});
  CHECK(l.web.ask(l.client, "10.43.0.50", 80) == "refused");
  CHECK(l.web.ask(l.rt.node, "10.43.0.50", 80) == "refused");
  l.set(service(cluster_ip), {slice(first_alone)});
  CHECK(l.web.ask(l.client, "10.43.0.50", 80) == "0 10.42.3.4");
  l.remove();
  CHECK(l.web.ask(l.client, "10.43.0.50", 80, 300) == "nothing");  // an address like any other
}

TEST_CASE(
    "services: node ports, external and balancer addresses from outside; policy Local keeps the client's address and "
    "serves no other node's") {
  lab l;
  if (!l.good) return;
  auto spec = [](const std::string& more) {
    return service(
        R"("spec":{"type":"LoadBalancer","clusterIPs":["10.43.0.50"],"externalIPs":["203.0.113.7"],"ports":[{"name":"http","port":80,"nodePort":30080}])" +
        more + R"(},"status":{"loadBalancer":{"ingress":[{"ip":"192.168.9.1"}]}})");
  };
  l.outside.run([&] {
    auto here = links::open().value();
    GOOD(here.set_route({.to = range("203.0.113.0/24"), .via = ip("192.168.9.1"), .link = here.find("up1")->index}));
  });
  l.set(spec(""), {slice(first_alone)});
  CHECK(l.web.ask(l.outside, "192.168.9.1", 30080) == "0 10.42.3.1");
  CHECK(l.web.ask(l.outside, "192.168.9.1", 80) == "0 10.42.3.1");
  CHECK(l.web.ask(l.outside, "203.0.113.7", 80) == "0 10.42.3.1");
  CHECK(l.web.ask(l.client, "192.168.9.1", 30080).starts_with("0 "));
  CHECK(l.web.ask(l.rt.node, "192.168.9.1", 30080).starts_with("0 "));

  auto local = spec(R"(,"externalTrafficPolicy":"Local")");
  l.set(local, {slice(first_alone)});
  CHECK(l.web.ask(l.outside, "192.168.9.1", 30080) == "0 192.168.9.2");
  CHECK(l.web.ask(l.outside, "192.168.9.1", 80) == "0 192.168.9.2");
  // The endpoint is another node's: nothing from outside, all from within.
  l.set(local, {slice(R"([{"addresses":["10.42.3.2"],"nodeName":"there"}])")});
  CHECK(l.web.ask(l.outside, "192.168.9.1", 30080, 300) == "nothing");
  CHECK(l.web.ask(l.client, "192.168.9.1", 30080).starts_with("0 "));
  CHECK(l.web.ask(l.rt.node, "192.168.9.1", 30080).starts_with("0 "));
  l.set(local, {});
  CHECK(l.web.ask(l.outside, "192.168.9.1", 30080) == "refused");
  CHECK(l.web.ask(l.outside, "192.168.9.1", 80) == "refused");

  // Who isn't in the ranges gets nothing at the balancer's address; node ports are not subject to them.
  l.set(spec(R"(,"loadBalancerSourceRanges":["198.51.100.0/24"])"), {slice(first_alone)});
  CHECK(l.web.ask(l.outside, "192.168.9.1", 80, 300) == "nothing");
  CHECK(l.web.ask(l.outside, "192.168.9.1", 30080) == "0 10.42.3.1");
  l.set(spec(R"(,"loadBalancerSourceRanges":["198.51.100.0/24","192.168.9.0/24"])"), {slice(first_alone)});
  CHECK(l.web.ask(l.outside, "192.168.9.1", 80) == "0 10.42.3.1");
  l.set(spec(R"(,"loadBalancerSourceRanges":[" 198.51.100.0/24 "])"), {slice(first_alone)});
  CHECK(l.web.ask(l.outside, "192.168.9.1", 80, 300) == "nothing");
  // Ranges of one family say nothing of the other.
  l.set(spec(R"(,"loadBalancerSourceRanges":["2001:db8::/32"])"), {slice(first_alone)});
  CHECK(l.web.ask(l.outside, "192.168.9.1", 80) == "0 10.42.3.1");
}

TEST_CASE(
    "services: no address that a Service says is its own leads away from another's cluster IP, from the node's own "
    "address, or from where servers and kubelets listen") {
  lab l;
  if (!l.good) return;
  const auto names = ip("10.43.0.10");
  l.context.own_addresses = {names};
  l.context.kept = {{ip("192.168.9.1"), 6443}, {ip("192.168.9.2"), 6443}};
  l.rt.node.run([&] {
    auto here = links::open().value();
    GOOD(here.add_address(here.find("lo")->index, {names, 32}));
    GOOD(here.set_up(here.find("lo")->index));
  });
  l.outside.run([&] {
    auto here = links::open().value();
    GOOD(here.set_route({.to = range("10.42.0.0/16"), .via = ip("192.168.9.1"), .link = here.find("up1")->index}));
  });
  l.web.add(l.rt.node, 6443);  // 2
  l.web.add(l.rt.node, 53);    // 3
  l.web.add(l.outside, 6443);  // 4
  auto evil =
      decode_service(
          json::parse(
              R"({"metadata":{"namespace":"aaa","name":"evil"},"spec":{"type":"LoadBalancer","clusterIPs":["10.43.0.66"],
"externalIPs":["10.43.0.50","10.43.0.10","192.168.9.1","192.168.9.2"],
"ports":[{"name":"http","port":80,"nodePort":30080},{"name":"api","port":6443},{"name":"dns","port":53}]},
"status":{"loadBalancer":{"ingress":[{"ip":"192.168.9.1"},{"ip":"10.43.0.10"}]}}})")
              .value())
          .value();
  const std::string second_alone = R"([{"addresses":["10.42.3.3"],"nodeName":"here"}])";
  auto its =
      slice(second_alone, R"([{"name":"http","port":8080},{"name":"api","port":8080},{"name":"dns","port":8080}])");
  for (bool served : {true, false}) {
    CAPTURE(served);
    l.set(evil, served ? std::vector{its} : std::vector<slice_record>(), "aaa/evil");
    l.set(service(cluster_ip), {slice(first_alone)});
    CHECK(l.web.ask(l.client, "10.43.0.50", 80) == "0 10.42.3.4");
    CHECK(l.web.ask(l.client, "10.43.0.50", 6443) == "refused");
    for (auto* from : {&l.client, &l.rt.node, &l.one}) {
      CHECK(l.web.ask(*from, "10.43.0.10", 53).starts_with("3 "));
      CHECK(l.web.ask(*from, "10.43.0.10", 6443).starts_with("2 "));
      CHECK(l.web.ask(*from, "192.168.9.1", 6443).starts_with("2 "));
      CHECK(l.web.ask(*from, "192.168.9.2", 6443).starts_with("4 "));
    }
    CHECK(l.web.ask(l.outside, "192.168.9.1", 6443) == "2 192.168.9.2");
    // What is nobody else's it has.
    CHECK(l.web.ask(l.client, "192.168.9.1", 80).starts_with(served ? "1 " : "refused"));
    CHECK(l.web.ask(l.client, "192.168.9.1", 30080).starts_with(served ? "1 " : "refused"));
    l.remove();
    l.remove("aaa/evil");
  }
  // Whoever comes last: the cluster IP's Service needs not be there first.
  l.set(service(cluster_ip), {slice(first_alone)});
  l.set(evil, {its}, "aaa/evil");
  CHECK(l.web.ask(l.client, "10.43.0.50", 80) == "0 10.42.3.4");
  // A node port that is a port of the node's own.
  l.remove("aaa/evil");
  l.context.kept.emplace(ip("192.168.9.1"), 30080);
  l.web.add(l.rt.node, 30080);  // 5
  l.set(evil, {its}, "aaa/evil");
  CHECK(l.web.ask(l.client, "192.168.9.1", 30080).starts_with("5 "));
}

TEST_CASE("services: affinity keeps a client at its endpoint, and moves it when that is gone") {
  lab l;
  if (!l.good) return;
  auto s = service(
      R"("spec":{"clusterIPs":["10.43.0.50"],"sessionAffinity":"ClientIP","ports":[{"name":"http","port":80}]})");
  l.set(s, {slice(both)});
  auto first = l.web.ask(l.client, "10.43.0.50", 80);
  for (int i = 0; i < 20; ++i) CHECK(l.web.ask(l.client, "10.43.0.50", 80) == first);
  auto left = first.starts_with("0") ? R"([{"addresses":["10.42.3.3"]}])" : R"([{"addresses":["10.42.3.2"]}])";
  l.set(s, {slice(left)});
  auto second = l.web.ask(l.client, "10.43.0.50", 80);
  CHECK(second[0] == (first[0] == '0' ? '1' : '0'));
  l.set(s, {slice(both)});
  for (int i = 0; i < 20; ++i) CHECK(l.web.ask(l.client, "10.43.0.50", 80) == second);
}

TEST_CASE("services: who comes from outside to a cluster IP is answered through the node, whatever the policy") {
  lab l;
  if (!l.good) return;
  l.outside.run([&] {
    auto here = links::open().value();
    GOOD(here.set_route({.to = range("10.43.0.0/16"), .via = ip("192.168.9.1"), .link = here.find("up1")->index}));
  });
  for (auto* policy : {"Cluster", "Local"}) {
    CAPTURE(policy);
    l.set(service(R"("spec":{"clusterIPs":["10.43.0.50"],"internalTrafficPolicy":")" + std::string(policy) +
                  R"(","ports":[{"name":"http","protocol":"TCP","port":80}]})"),
          {slice(first_alone)});
    for (auto* from : {&l.outside, &l.rt.node}) CHECK(l.web.ask(*from, "10.43.0.50", 80) == "0 10.42.3.1");
    CHECK(l.web.ask(l.client, "10.43.0.50", 80) == "0 10.42.3.4");
  }
}

TEST_CASE("services: of five thousand that go at once nothing is left, and the others answer meanwhile") {
  lab l;
  if (!l.good) return;
  constexpr int many = 5000;
  auto name_of = [](int i) { return "default/s" + std::to_string(i); };
  std::map<std::string, std::size_t> before, after;
  auto count = [&](std::map<std::string, std::size_t>& out) {
    l.rt.node.run([&] {
      auto s = netlink::socket::open(NETLINK_NETFILTER).value();
      for (auto* set : {"service-ips", "external-ips", "service-nodeports", "cluster-ips", "endpoints", "hairpin",
                        "no-endpoint-services"})
        out[set] = nft::read_elements(s, NFPROTO_IPV4, services_table, set).value().size();
    });
  };
  l.set(service(cluster_ip), {slice(first_alone)});
  count(before);
  const auto endpoints = slice(both);
  auto b = l.table.begin();
  for (int i = 0; i < many; ++i) {
    service_record s{.name_space = "default", .name = "s" + std::to_string(i)};
    s.cluster_ips = {*ip_range::parse("10.44.0.0/16")->at(static_cast<std::uint64_t>(i) + 1)};
    // Some that nobody serves.
    s.ports = {{.name = i % 10 ? "http" : "none", .port = 80, .node_port = static_cast<std::uint16_t>(20000 + i)}};
    l.table.set(b, name_of(i), service_rules(l.context, s, {&endpoints}, [&](const std::string&) {
                  return static_cast<std::uint32_t>(i + 100);
                }));
  }
  l.rt.node.run([&] { l.commit(b); });
  CHECK(l.web.ask(l.client, "10.44.0.2", 80).ends_with(" 10.42.3.4"));
  CHECK(l.web.ask(l.client, "10.44.0.1", 80) == "refused");

  auto all = l.table.begin();
  for (int i = 0; i < many; ++i) l.table.set(all, name_of(i), {});
  l.rt.node.run([&] { l.commit(all); });
  count(after);
  CHECK(after == before);
  CHECK(l.web.ask(l.client, "10.44.0.2", 80, 300) == "nothing");
  CHECK(l.web.ask(l.client, "10.43.0.50", 80) == "0 10.42.3.4");
  // Their chains rest a while, and go too.
  for (auto now : {time_point(), time_point() + std::chrono::seconds(5)}) {
    auto rest = l.table.begin();
    l.table.remove_stale(rest, now);
    l.rt.node.run([&] { l.commit(rest); });
  }
  CHECK_FALSE(l.table.has_stale());
}

TEST_CASE("services: SCTP goes where TCP goes, beside it on the same port") {
  lab l;
  if (!l.good) return;
  sctp_servers sctp;
  sctp.add(l.one, 3868);
  sctp.add(l.two, 3868);
  auto s = service(
      R"("spec":{"type":"NodePort","clusterIPs":["10.43.0.50"],"externalIPs":["203.0.113.7"],"ports":[
        {"name":"sig","protocol":"SCTP","port":80,"nodePort":30080},{"name":"http","protocol":"TCP","port":80,"nodePort":30080}]})");
  auto to = [](const std::string& endpoints) {
    return slice(endpoints,
                 R"([{"name":"sig","protocol":"SCTP","port":3868},{"name":"http","protocol":"TCP","port":8080}])");
  };
  l.outside.run([&] {
    auto here = links::open().value();
    GOOD(here.set_route({.to = range("203.0.113.7/32"), .via = ip("192.168.9.1"), .link = here.find("up1")->index}));
  });
  l.set(s, {to(both)});
  std::set<std::string> seen;
  for (int i = 0; i < 40 && seen.size() < 2; ++i) seen.insert(sctp.ask(l.client, "10.43.0.50", 80));
  CHECK(seen == std::set<std::string>{"0 10.42.3.4", "1 10.42.3.4"});
  CHECK(l.web.ask(l.client, "10.43.0.50", 80).ends_with(" 10.42.3.4"));
  l.set(s, {to(first_alone)});
  CHECK(sctp.ask(l.one, "10.43.0.50", 80) == "0 10.42.3.1");  // itself, through the node
  CHECK(sctp.ask(l.rt.node, "10.43.0.50", 80) == "0 10.42.3.1");
  CHECK(sctp.ask(l.outside, "192.168.9.1", 30080) == "0 10.42.3.1");
  CHECK(sctp.ask(l.outside, "203.0.113.7", 80) == "0 10.42.3.1");
  CHECK(sctp.ask(l.client, "10.43.0.50", 81) == "refused");
  l.set(s, {});
  for (auto* from : {&l.client, &l.rt.node}) CHECK(sctp.ask(*from, "10.43.0.50", 80) == "refused");
  CHECK(sctp.ask(l.outside, "192.168.9.1", 30080) == "refused");
  // Of TCP alone: SCTP has no such port.
  auto tcp = service(cluster_ip);
  l.set(tcp, {slice(both)});
  CHECK(sctp.ask(l.client, "10.43.0.50", 80) == "refused");
  l.set(s, {to(both)});
  auto still = service(
      R"("spec":{"clusterIPs":["10.43.0.50"],"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":60}},
        "ports":[{"name":"sig","protocol":"SCTP","port":80}]})");
  l.set(still, {to(both)});
  seen.clear();
  for (int i = 0; i < 8; ++i) seen.insert(sctp.ask(l.client, "10.43.0.50", 80));
  CHECK(seen.size() == 1);
}

TEST_CASE("services: UDP flows to an endpoint that is gone are forgotten, others are not") {
  lab l;
  if (!l.good) return;
  auto s = service(R"("spec":{"clusterIPs":["10.43.0.53"],"ports":[{"name":"dns","protocol":"UDP","port":53}]})");
  auto to = [](const char* a) {
    return slice(std::string(R"([{"addresses":[")") + a + R"("]}])",
                 R"([{"name":"dns","protocol":"UDP","port":5300}])");
  };
  l.set(s, {to("10.42.3.2")});
  CHECK(datagram(l.client, l.one, "10.43.0.53", 53, 5300) == "10.42.3.4");
  std::vector<flow> flows;
  auto look = [&](bool forget) {
    flows.clear();
    l.rt.node.run([&] {
      GOOD(forget_flows(true, [&](const flow& f) {
        if (f.asked == ip("10.43.0.53")) flows.push_back(f);
        return forget && f.answers == ip("10.42.3.2");
      }));
    });
  };
  look(true);
  REQUIRE(flows.size() == 1);
  CHECK(flows[0].answers == ip("10.42.3.2"));
  CHECK(flows[0].answers_port == 5300);
  CHECK(flows[0].asked_port == 53);
  look(false);
  CHECK(flows.empty());
}

TEST_CASE(
    "services: a change costs what changed; what two want is shared, and what they dispute is the first one's until it "
    "lets go") {
  lab l;
  if (!l.good) return;
  l.set(service(cluster_ip), {slice(both)});
  auto nothing = l.table.begin().bytes();
  CHECK(l.set(service(cluster_ip), {slice(both)}) == nothing);
  for (int i = 0; i < 50; ++i) {
    auto other = service(R"("spec":{"clusterIPs":["10.43.1.)" + std::to_string(i) +
                         R"("],"ports":[{"name":"http","port":80}]})");
    other.name = "other-" + std::to_string(i);
    l.set(other, {slice(both)}, "default/" + other.name);
  }
  CHECK(l.set(service(cluster_ip), {slice(first_alone)}) < 2'000);
  CHECK(l.web.ask(l.client, "10.43.1.49", 80).starts_with("0") +
            l.web.ask(l.client, "10.43.0.50", 80).starts_with("0") >=
        1);
  // A node port that another has (a hand-written object): the first keeps it.
  auto a = service(R"("spec":{"clusterIPs":["10.43.2.1"],"ports":[{"name":"http","port":80,"nodePort":30001}]})");
  auto b = service(R"("spec":{"clusterIPs":["10.43.2.2"],"ports":[{"name":"http","port":80,"nodePort":30001}]})");
  a.name = "a";
  b.name = "b";
  l.set(a, {slice(first_alone)}, "default/a");
  l.set(b, {slice(R"([{"addresses":["10.42.3.3"],"nodeName":"here"}])")}, "default/b");
  CHECK(l.web.ask(l.outside, "192.168.9.1", 30001).starts_with("0"));
  l.remove("default/a");
  CHECK(l.web.ask(l.outside, "192.168.9.1", 30001).starts_with("1"));
  l.remove("default/b");
  CHECK(l.web.ask(l.outside, "192.168.9.1", 30001) == "refused");  // the node's own port, where nobody listens
}

TEST_CASE("services: which endpoints serve, as kube-proxy chooses them") {
  auto s = service(
      R"("spec":{"clusterIPs":["10.43.0.50"],"externalTrafficPolicy":"Local","ports":[{"name":"http","port":80,"nodePort":30080}]})");
  auto choose = [&](const std::string& endpoints, const service_record& of, const std::string& zone = "z1") {
    auto x = slice(endpoints);
    return choose_endpoints(of, of.ports[0], true, {&x}, "here", zone);
  };
  std::string terminating =
      R"({"addresses":["10.42.1.1"],"nodeName":"here","conditions":{"ready":false,"serving":true,"terminating":true}})";
  std::string ready_there = R"({"addresses":["10.42.2.1"],"nodeName":"there"})";
  std::string dead = R"({"addresses":["10.42.3.1"],"nodeName":"here","conditions":{"ready":false}})";
  auto e = choose("[" + terminating + "," + ready_there + "," + dead + "]", s);
  CHECK(e.cluster == std::vector<endpoint_target>{{ip("10.42.2.1"), 8080}});
  CHECK(e.local == std::vector<endpoint_target>{{ip("10.42.1.1"), 8080}});  // still answers, and nobody else here does
  e = choose("[" + terminating + "," + dead + "]", s);
  CHECK(e.cluster == std::vector<endpoint_target>{{ip("10.42.1.1"), 8080}});
  CHECK(e.any);
  e = choose("[" + dead + "]", s);
  CHECK(e.cluster.empty());
  CHECK_FALSE(e.any);
  // Hints count only where all that are ready have them, and one is for us.
  std::string z1 = R"({"addresses":["10.42.1.1"],"hints":{"forZones":[{"name":"z1"}]}})",
              z2 = R"({"addresses":["10.42.1.2"],"hints":{"forZones":[{"name":"z2"}]}})";
  CHECK(choose("[" + z1 + "," + z2 + "]", s).cluster.size() == 1);
  CHECK(choose("[" + z1 + "," + z2 + "]", s, "z3").cluster.size() == 2);
  CHECK(choose("[" + z1 + "," + z2 + "," + ready_there + "]", s).cluster.size() == 3);
  auto plain = service(cluster_ip);
  CHECK(choose("[" + ready_there + "]", plain).local.empty());
  // Who is ready its slice says, of a Service that publishes others too.
  plain.publish_not_ready = true;
  const std::string not_ready = R"({"addresses":["10.42.3.9"],"nodeName":"here","conditions":{"ready":false}})";
  CHECK(choose("[" + ready_there + "," + not_ready + "]", plain).cluster.size() == 1);
  plain.internal_local = true;
  e = choose("[" + ready_there + "]", plain);
  CHECK(e.cluster.empty());
  CHECK(e.any);  // so it is dropped here, not refused
}
