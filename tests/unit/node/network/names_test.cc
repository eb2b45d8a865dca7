#include "node/dns/names.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "json/parse.h"
#include "node/dns/limits.h"

using namespace kedge;
using namespace kedge::node;
using namespace kedge::node::dns;

namespace {

auto ip(std::string_view t) { return ip_address::parse(t).value(); }

// A query's bytes as a client makes them.
std::string ask_bytes(std::string_view name, type t, bool edns = false) {
  auto m = write_query(77, name, t);
  if (!edns) return m;
  m[11] = 1;
  m += std::string("\0\0\x29\x10\0\0\0\0\0\0\0", 11);
  return m;
}

struct cluster {
  service_view view;
  names zone{{.domain = "cluster.local", .servers = {ip("10.43.0.10")}}, view};
  seeded_random random{1};

  explicit cluster(const std::vector<std::string>& services, const std::vector<std::string>& slices) {
    view.services.begin_list();
    for (auto& s : services) view.services.set(json::parse(s).value());
    view.services.end_list();
    view.slices.begin_list();
    for (auto& s : slices) view.slices.set(json::parse(s).value());
    view.slices.end_list();
  }
  // "10.0.0.1", "SRV weight 80 host", …, sorted; "NXDOMAIN", "NODATA", "elsewhere".
  std::vector<std::string> ask(std::string_view name, type t) {
    auto bytes = ask_bytes(name, t);
    auto p = parse_query(as_bytes(bytes));
    REQUIRE(p.query);
    auto f = zone.find(*p.query, 1, random);
    if (!f) return {"elsewhere"};
    if (f->answer.code == rcode::no_name) return {"NXDOMAIN"};
    if (f->answer.code != rcode::no_error) return {"failure"};
    if (f->answer.answers.empty()) return {"NODATA"};
    std::vector<std::string> out;
    for (auto& r : f->answer.answers) {
      auto name_of = [](std::string_view wire) {
        std::string text;
        for (std::size_t i = 0; i < wire.size() && wire[i] != 0; i += static_cast<std::size_t>(wire[i]) + 1)
          text += (text.empty() ? "" : ".") + std::string(wire.substr(i + 1, static_cast<std::size_t>(wire[i])));
        return text;
      };
      auto owner = r.owner.empty() ? "" : r.owner + " ";
      if (r.type == type::a)
        out.push_back(owner + fmt_address(r.data));
      else if (r.type == type::aaaa)
        out.push_back(owner + "AAAA");
      else if (r.type == type::srv)
        out.push_back("SRV " + std::to_string(load_be16(as_bytes(r.data).data() + 2)) + " " +
                      std::to_string(load_be16(as_bytes(r.data).data() + 4)) + " " +
                      name_of(std::string_view(r.data).substr(6)));
      else
        out.push_back((r.type == type::cname ? "CNAME " : r.type == type::ptr ? "PTR " : "other ") + name_of(r.data));
    }
    if (!f->alias.empty()) out.push_back("then " + f->alias);
    std::ranges::sort(out);
    return out;
  }
  static std::string fmt_address(std::string_view d) {
    std::string out;
    for (auto c : d) out += (out.empty() ? "" : ".") + std::to_string(static_cast<unsigned char>(c));
    return out;
  }
};

const std::vector<std::string> services = {
    R"({"metadata":{"namespace":"default","name":"web"},"spec":{"clusterIPs":["10.43.0.50","fd43::50"],"ports":[{"name":"http","port":80},{"name":"dns","protocol":"UDP","port":53}]}})",
    R"({"metadata":{"namespace":"default","name":"db"},"spec":{"clusterIP":"None","clusterIPs":["None"],"ports":[{"name":"sql","port":5432}]}})",
    R"({"metadata":{"namespace":"default","name":"empty"},"spec":{"clusterIP":"None","ports":[{"port":1}]}})",
    R"({"metadata":{"namespace":"default","name":"out"},"spec":{"type":"ExternalName","externalName":"www.Example.com."}})",
    R"({"metadata":{"namespace":"default","name":"in"},"spec":{"type":"ExternalName","externalName":"web.default.svc.cluster.local"}})",
    R"({"metadata":{"namespace":"default","name":"bare"},"spec":{"clusterIP":"None"}})",
    R"({"metadata":{"namespace":"default","name":"in-pod"},"spec":{"type":"ExternalName","externalName":"10-42-1-5.default.pod.cluster.local"}})",
    R"({"metadata":{"namespace":"default","name":"nowhere"},"spec":{"type":"ExternalName","externalName":"none.default.svc.cluster.local"}})",
    R"({"metadata":{"namespace":"default","name":"address"},"spec":{"type":"ExternalName","externalName":"192.0.2.7"}})",
    R"({"metadata":{"namespace":"default","name":"round"},"spec":{"type":"ExternalName","externalName":"round.default.svc.cluster.local"}})",
};
const std::vector<std::string> slices = {
    R"({"metadata":{"namespace":"default","name":"db-1","labels":{"kubernetes.io/service-name":"db"}},"addressType":"IPv4","ports":[{"name":"sql","protocol":"TCP","port":5432}],
        "endpoints":[{"addresses":["10.42.1.7"],"hostname":"db-0"},{"addresses":["10.42.1.8"]},{"addresses":["10.42.1.9"],"hostname":"db-2","conditions":{"ready":false}}]})",
    R"({"metadata":{"namespace":"default","name":"bare-1","labels":{"kubernetes.io/service-name":"bare"}},"addressType":"IPv4","endpoints":[{"addresses":["10.42.1.6"]}]})",
    R"({"metadata":{"namespace":"default","name":"web-1","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4","ports":[{"name":"http","protocol":"TCP","port":8080}],"endpoints":[{"addresses":["10.42.1.5"]}]})",
};
using list = std::vector<std::string>;

}  // namespace

TEST_CASE("dns: names of the cluster are answered by the specification") {
  cluster c(services, slices);
  CHECK(c.ask("web.default.svc.cluster.local", type::a) == list{"10.43.0.50"});
  CHECK(c.ask("WEB.Default.svc.Cluster.Local", type::a) == list{"10.43.0.50"});
  CHECK(c.ask("web.default.svc.cluster.local", type::aaaa) == list{"AAAA"});
  CHECK(c.ask("web.default.svc.cluster.local", type::txt) == list{"NODATA"});
  CHECK(c.ask("_http._tcp.web.default.svc.cluster.local", type::srv) ==
        list{"SRV 50 80 web.default.svc.cluster.local"});
  CHECK(c.ask("http.tcp.web.default.svc.cluster.local", type::srv) == list{"SRV 50 80 web.default.svc.cluster.local"});
  CHECK(c.ask("web.default.svc.cluster.local", type::srv) ==
        list{"SRV 25 53 web.default.svc.cluster.local", "SRV 25 80 web.default.svc.cluster.local"});
  CHECK(c.ask("_http._udp.web.default.svc.cluster.local", type::srv) == list{"NXDOMAIN"});
  CHECK(c.ask("10-42-1-5.web.default.svc.cluster.local", type::a) == list{"10.42.1.5"});

  CHECK(c.ask("db.default.svc.cluster.local", type::a) == list{"10.42.1.7", "10.42.1.8"});
  CHECK(c.ask("db.default.svc.cluster.local", type::aaaa) == list{"NODATA"});
  CHECK(c.ask("db-0.db.default.svc.cluster.local", type::a) == list{"10.42.1.7"});
  CHECK(c.ask("10-42-1-8.db.default.svc.cluster.local", type::a) == list{"10.42.1.8"});
  CHECK(c.ask("db-2.db.default.svc.cluster.local", type::a) == list{"NXDOMAIN"});  // not ready
  CHECK(c.ask("_sql._tcp.db.default.svc.cluster.local", type::srv) ==
        list{"SRV 50 5432 10-42-1-8.db.default.svc.cluster.local", "SRV 50 5432 db-0.db.default.svc.cluster.local"});
  CHECK(c.ask("empty.default.svc.cluster.local", type::a) == list{"NXDOMAIN"});  // a headless Service without endpoints
  CHECK(c.ask("bare.default.svc.cluster.local", type::a) == list{"10.42.1.6"});  // without ports
  CHECK(c.ask("bare.default.svc.cluster.local", type::srv) == list{"NODATA"});

  CHECK(c.ask("out.default.svc.cluster.local", type::a) == list{"CNAME www.example.com", "then www.example.com"});
  CHECK(c.ask("out.default.svc.cluster.local", type::cname) == list{"CNAME www.example.com"});
  CHECK(c.ask("in.default.svc.cluster.local", type::a) ==
        list{"CNAME web.default.svc.cluster.local", "web.default.svc.cluster.local 10.43.0.50"});
  CHECK(c.ask("in-pod.default.svc.cluster.local", type::a) ==
        list{"10-42-1-5.default.pod.cluster.local 10.42.1.5", "CNAME 10-42-1-5.default.pod.cluster.local"});
  // What leads nowhere in the cluster, or to an address, is no alias.
  CHECK(c.ask("round.default.svc.cluster.local", type::a) == list{"NODATA"});
  CHECK(c.ask("nowhere.default.svc.cluster.local", type::a) == list{"NODATA"});
  CHECK(c.ask("nowhere.default.svc.cluster.local", type::cname) == list{"CNAME none.default.svc.cluster.local"});
  CHECK(c.ask("address.default.svc.cluster.local", type::a) == list{"NXDOMAIN"});
  CHECK(c.ask("out.default.svc.cluster.local", type::srv) == list{"NODATA"});

  CHECK(c.ask("10-42-9-9.default.pod.cluster.local", type::a) == list{"10.42.9.9"});
  CHECK(c.ask("nonsense.default.pod.cluster.local", type::a) == list{"NXDOMAIN"});
  CHECK(c.ask("default.svc.cluster.local", type::a) == list{"NODATA"});
  CHECK(c.ask("none.svc.cluster.local", type::a) == list{"NXDOMAIN"});
  CHECK(c.ask("svc.cluster.local", type::a) == list{"NODATA"});
  CHECK(c.ask("missing.default.svc.cluster.local", type::a) == list{"NXDOMAIN"});
  CHECK(c.ask("a.b.c.web.default.svc.cluster.local", type::a) == list{"NXDOMAIN"});
  CHECK(c.ask("web.default.svc.cluster.local.default.svc.cluster.local", type::a) ==
        list{"NXDOMAIN"});  // a search path's
  CHECK(c.ask("cluster.local", type::soa).size() == 1);
  CHECK(c.ask("ns.dns.cluster.local", type::a) == list{"10.43.0.10"});
  CHECK(c.ask("www.example.com", type::a) == list{"elsewhere"});
  CHECK(c.ask("notcluster.local", type::a) == list{"elsewhere"});

  CHECK(c.ask("50.0.43.10.in-addr.arpa", type::ptr) == list{"PTR web.default.svc.cluster.local"});
  CHECK(c.ask("7.1.42.10.in-addr.arpa", type::ptr) == list{"PTR db-0.db.default.svc.cluster.local"});
  CHECK(c.ask("0.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.3.4.d.f.ip6.arpa", type::ptr) ==
        list{"PTR web.default.svc.cluster.local"});
  CHECK(c.ask("1.2.3.4.in-addr.arpa", type::ptr) == list{"elsewhere"});
  CHECK(c.ask("9.1.42.10.in-addr.arpa", type::ptr) == list{"elsewhere"});  // not ready
}

TEST_CASE("dns: what is gone is gone from names and back, and nodes have names") {
  cluster c(services, slices);
  c.view.services.remove(json::parse(services[0]).value());
  CHECK(c.ask("web.default.svc.cluster.local", type::a) == list{"NXDOMAIN"});
  CHECK(c.ask("50.0.43.10.in-addr.arpa", type::ptr) == list{"elsewhere"});
  c.view.slices.remove(json::parse(slices[0]).value());
  CHECK(c.ask("db.default.svc.cluster.local", type::a) == list{"NXDOMAIN"});
  CHECK(c.ask("7.1.42.10.in-addr.arpa", type::ptr) == list{"elsewhere"});
  c.zone.set_nodes({{"edge-7", "", {ip("192.168.1.7")}}});
  CHECK(c.ask("edge-7", type::a) == list{"192.168.1.7"});
  CHECK(c.ask("edge-7", type::aaaa) == list{"NODATA"});
  CHECK(c.ask("edge-7", type::txt) == list{"NODATA"});
  CHECK(c.ask("7.1.168.192.in-addr.arpa", type::ptr) == list{"PTR edge-7"});
  // Pods on a node's network don't rename it.
  c.view.slices.set(
      json::parse(R"({"metadata":{"namespace":"default","name":"db-1","labels":{"kubernetes.io/service-name":"db"}},
    "addressType":"IPv4","ports":[{"port":1}],"endpoints":[{"addresses":["192.168.1.7"],"hostname":"db-0"}]})")
          .value());
  CHECK(c.ask("db.default.svc.cluster.local", type::a) == list{"192.168.1.7"});
  CHECK(c.ask("7.1.168.192.in-addr.arpa", type::ptr) == list{"PTR edge-7"});
}

TEST_CASE("dns: a node is called by its names, and takes nobody else's") {
  cluster c(services, slices);
  auto mine = std::vector{ip("192.168.1.7")}, others = std::vector{ip("192.168.1.8")};
  c.zone.set_nodes({{"edge-7", "edge-7.example.com", mine},
                    {"edge-8", "edge-7", others},
                    {"edge-9", "www.example.com", mine},
                    {"edge-a", "edge-b", mine},
                    {"web.default.svc.cluster.local", "kubernetes.default.svc.cluster.local", mine},
                    {"cluster.local", "db-0.db.default.svc.cluster.local", mine}});
  CHECK(c.ask("edge-7", type::a) == list{"192.168.1.7"});
  CHECK(c.ask("edge-7.example.com", type::a) == list{"192.168.1.7"});
  CHECK(c.ask("edge-8", type::a) == list{"192.168.1.8"});
  CHECK(c.ask("edge-b", type::a) == list{"192.168.1.7"});
  CHECK(c.ask("www.example.com", type::a) == list{"elsewhere"});
  CHECK(c.ask("web.default.svc.cluster.local", type::a) == list{"10.43.0.50"});
  CHECK(c.ask("db-0.db.default.svc.cluster.local", type::a) == list{"10.42.1.7"});
  CHECK(c.ask("kubernetes.default.svc.cluster.local", type::a) == list{"NXDOMAIN"});
  CHECK(c.ask("cluster.local", type::a) == list{"NODATA"});
}

TEST_CASE("dns: nothing is denied before the cluster is known") {
  cluster c({}, {});
  service_view fresh;
  names zone({.domain = "cluster.local"}, fresh);
  auto bytes = ask_bytes("web.default.svc.cluster.local", type::a);
  auto p = parse_query(as_bytes(bytes));
  CHECK(zone.find(*p.query, 1, c.random)->answer.code == rcode::server_failure);
}

TEST_CASE("dns: messages: an answer is read as it was written, is cut where it must, and errors say which") {
  auto bytes = ask_bytes("Web.Example.com", type::a, true);
  auto p = parse_query(as_bytes(bytes));
  REQUIRE(p.query);
  CHECK(p.query->asked == "web.example.com");
  CHECK(p.query->edns);
  CHECK(p.query->udp_bytes == udp_bytes_max);
  answer a;
  for (int i = 0; i < 200; ++i) a.answers.push_back(address_record({}, ip("10.0.0." + std::to_string(i)), 30));
  auto whole = write_answer(*p.query, a, message_bytes_max);
  auto back = parse_reply(as_bytes(whole), p.query->question);
  REQUIRE(back);
  CHECK(back->answers.size() == 200);
  CHECK(back->least_ttl == 30);
  CHECK(back->id == 77);
  CHECK_FALSE(back->truncated);
  auto cut = write_answer(*p.query, a, 512);
  CHECK(cut.size() <= 512);
  back = parse_reply(as_bytes(cut), p.query->question);
  REQUIRE(back);
  CHECK(back->truncated);
  CHECK(back->answers.size() > 20);
  CHECK_FALSE(parse_reply(as_bytes(whole), ask_bytes("other.example.com", type::a).substr(12)));

  auto code = [](std::string m) { return parse_query(as_bytes(m)); };
  auto good = ask_bytes("a.b", type::a);
  CHECK_FALSE(code("").answer_it);
  CHECK_FALSE(code(good.substr(0, 11)).answer_it);
  auto response = good;
  response[2] = static_cast<char>(0x80);
  CHECK_FALSE(code(response).answer_it);  // an answer is not answered
  auto update = good;
  update[2] = 0x28;
  CHECK(code(update).error == rcode::not_implemented);
  auto two = good;
  two[5] = 2;
  CHECK(code(two).error == rcode::format);
  auto chaos = good;
  chaos.back() = 3;
  CHECK(code(chaos).error == rcode::refused);
  auto pointer = good.substr(0, 12) + std::string("\xc0\x0c\0\1\0\1", 6);
  CHECK(code(pointer).error == rcode::format);
  for (std::size_t n = 12; n < good.size(); ++n) CHECK_FALSE(code(good.substr(0, n)).query);
  CHECK_FALSE(name::to_wire(std::string(64, 'a')));
  CHECK_FALSE(name::to_wire("a..b"));
  std::string deep;
  for (int i = 0; i < 130; ++i) deep += "a.";
  CHECK_FALSE(name::to_wire(deep));
}
