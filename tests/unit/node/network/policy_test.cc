#include <linux/netlink.h>
#include <netinet/in.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "../loop.h"
#include "json/parse.h"
#include "json/write.h"
#include "node/policy/limits.h"
#include "node/policy/policy_table.h"
#include "node/policy/started_pods.h"
#include "pods.h"
#include "sctp.h"

using namespace kedge;
using namespace kedge::node;

namespace {

using json::value;

auto ip(std::string_view t) { return ip_address::parse(t).value(); }
auto parsed(const std::string& text) { return json::parse(text).value(); }

value policy_of(const std::string& ns, const std::string& name, const std::string& spec) {
  return parsed(R"({"metadata":{"namespace":")" + ns + R"(","name":")" + name + R"("},"spec":)" + spec + "}");
}
value pod_of(const std::string& ns, const std::string& name, const std::string& labels, const std::string& address,
             const std::string& node = "here", const std::string& ports = "[]") {
  return parsed(R"({"metadata":{"namespace":")" + ns + R"(","name":")" + name + R"(","uid":")" + ns + name +
                R"(","labels":)" + labels + R"(},"spec":{"nodeName":")" + node + R"(","containers":[{"ports":)" +
                ports + R"(}]},"status":{"phase":"Running","podIPs":[{"ip":")" + address + R"("}]}})");
}
value namespace_of(const std::string& name, const std::string& more = "") {
  return parsed(R"({"metadata":{"name":")" + name + R"(","labels":{"kubernetes.io/metadata.name":")" + name + R"(")" +
                more + "}}}");
}
value cluster_policy_of(const std::string& name, const std::string& spec) {
  return parsed(R"({"metadata":{"name":")" + name + R"("},"spec":)" + spec + "}");
}
std::string key_of(const value& v) {
  if (!v["metadata"].find("namespace"))
    return "/clusternetworkpolicies/" + std::string(v["metadata"]["name"].as_string());
  auto ns = v["metadata"]["namespace"].as_string();
  return std::string(ns) + "/" + std::string(v["metadata"]["name"].as_string());
}

// What the cluster has, and the selection that is told of it.
struct world {
  policy_selection all{"here"};
  std::map<std::string, value> policies, pods, namespaces;

  void put(const value& policy) {
    policies[key_of(policy)] = policy;
    auto r = policy["metadata"].find("namespace") ? decode_policy(policy) : decode_cluster_policy(policy);
    all.set_policy(key_of(policy), &*r);
  }
  void drop(std::string key) {
    policies.erase(key);
    all.set_policy(key, nullptr);
  }
  void put_pod(const value& pod) {
    pods[key_of(pod)] = pod;
    auto r = decode_policy_pod(pod);
    all.set_pod(key_of(pod), r ? &*r : nullptr);
  }
  void drop_pod(std::string key) {
    pods.erase(key);
    all.set_pod(key, nullptr);
  }
  void put_namespace(const value& ns) {
    std::string name(ns["metadata"]["name"].as_string());
    namespaces[name] = ns;
    auto r = decode_policy_namespace(ns);
    all.set_namespace(name, &*r);
  }
};

// --- Kubernetes' rules once more, in the plainest way

bool matches(const value& selector, const value& labels) {
  if (auto* wanted = selector["matchLabels"].object())
    for (auto& [name, v] : *wanted)
      if (!labels.find(name) || labels[name] != v) return false;
  if (auto* all = selector["matchExpressions"].array())
    for (auto& e : *all) {
      auto* has = labels.find(e["key"].as_string());
      bool in = false;
      for (std::size_t i = 0; i < e["values"].size(); ++i) in |= has && *has == e["values"][i];
      auto op = e["operator"].as_string();
      if (op == "In" ? !in : op == "NotIn" ? in : op == "Exists" ? !has : has != nullptr) return false;
    }
  return true;
}

struct party {
  const value* pod = nullptr;  // null: somebody outside
  std::string address;
};

bool is_peer(const world& w, const value& policy, const value& peers, const party& who) {
  if (peers.size() == 0) return true;
  for (std::size_t i = 0; i < peers.size(); ++i) {
    auto& p = peers[i];
    if (p.find("ipBlock")) {
      bool in = ip_range::parse(p["ipBlock"]["cidr"].as_string())->contains(ip(who.address));
      for (std::size_t e = 0; e < p["ipBlock"]["except"].size(); ++e)
        in &= !ip_range::parse(p["ipBlock"]["except"][e].as_string())->contains(ip(who.address));
      if (in) return true;
      continue;
    }
    if (!who.pod) continue;
    auto& m = (*who.pod)["metadata"];
    bool there = p.find("namespaceSelector")
                     ? matches(p["namespaceSelector"],
                               w.namespaces.at(std::string(m["namespace"].as_string()))["metadata"]["labels"])
                     : m["namespace"] == policy["metadata"]["namespace"];
    if (there && (!p.find("podSelector") || matches(p["podSelector"], m["labels"]))) return true;
  }
  return false;
}

bool is_port(const value& ports, const party& to, std::string_view protocol, int port) {
  if (ports.size() == 0) return true;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    auto& p = ports[i];
    if (p["protocol"].as_string("TCP") != protocol) continue;
    if (!p.find("port")) return true;
    if (p["port"].is_string()) {
      if (!to.pod) continue;
      auto& of = (*to.pod)["spec"]["containers"][0]["ports"];
      for (std::size_t k = 0; k < of.size(); ++k)
        if (of[k]["name"] == p["port"] && of[k]["containerPort"].as_integer() == port &&
            of[k]["protocol"].as_string("TCP") == protocol)
          return true;
    } else if (auto first = p["port"].as_integer(); port >= first && port <= p["endPort"].as_integer(first)) {
      return true;
    }
  }
  return false;
}

// --- and those of the whole cluster

bool is_pods(const world& w, const value& v, const party& who) {
  if (!who.pod) return false;
  auto& m = (*who.pod)["metadata"];
  auto& ns = w.namespaces.at(std::string(m["namespace"].as_string()))["metadata"]["labels"];
  if (v.find("namespaces")) return matches(v["namespaces"], ns);
  return v.find("pods") && matches(v["pods"]["namespaceSelector"], ns) &&
         matches(v["pods"]["podSelector"], m["labels"]);
}

bool is_cluster_port(const value& protocols, const party& to, std::string_view protocol, int port) {
  if (protocols.size() == 0) return true;
  for (std::size_t i = 0; i < protocols.size(); ++i) {
    auto& p = protocols[i];
    if (auto* name = p.find("destinationNamedPort")) {
      if (!to.pod) continue;
      auto& of = (*to.pod)["spec"]["containers"][0]["ports"];
      for (std::size_t k = 0; k < of.size(); ++k)
        if (of[k]["name"] == *name && of[k]["containerPort"].as_integer() == port) return true;
      continue;
    }
    auto* of = p.find(protocol == "TCP" ? "tcp" : "udp");
    if (!of) continue;
    auto* wanted = of->find("destinationPort");
    if (!wanted) return true;
    auto first = wanted->find("range") ? (*wanted)["range"]["start"] : (*wanted)["number"];
    auto last = wanted->find("range") ? (*wanted)["range"]["end"] : first;
    if (port >= first.as_integer() && port <= last.as_integer()) return true;
  }
  return false;
}

// What the tier says of the connection in one direction; nullopt: nothing.
std::optional<bool> tier_says(const world& w, std::string_view tier, bool egress, const party& from, const party& to,
                              std::string_view protocol, int port) {
  auto& mine = egress ? from : to;
  auto& other = egress ? to : from;
  std::map<std::int64_t, const value*> in_order;  // priorities differ here
  for (auto& [key, policy] : w.policies)
    if (policy["spec"]["tier"].as_string() == tier && is_pods(w, policy["spec"]["subject"], mine))
      in_order[policy["spec"]["priority"].as_integer()] = &policy["spec"];
  for (auto& [priority, spec] : in_order) {
    auto& rules = (*spec)[egress ? "egress" : "ingress"];
    for (std::size_t i = 0; i < rules.size(); ++i) {
      auto& peers = rules[i][egress ? "to" : "from"];
      bool is_about = false;
      for (std::size_t k = 0; k < peers.size(); ++k) {
        is_about |= is_pods(w, peers[k], other);
        for (std::size_t n = 0; n < peers[k]["networks"].size(); ++n)
          is_about |= ip_range::parse(peers[k]["networks"][n].as_string())->contains(ip(other.address));
      }
      if (!is_about || !is_cluster_port(rules[i]["protocols"], to, protocol, port)) continue;
      auto action = rules[i]["action"].as_string();
      if (action == "Pass") return std::nullopt;
      return action == "Accept";
    }
  }
  return std::nullopt;
}

bool may(const world& w, const party& from, const party& to, std::string_view protocol, int port) {
  for (bool egress : {true, false}) {
    auto& mine = egress ? from : to;
    auto& other = egress ? to : from;
    if (!mine.pod || from.address == to.address) continue;
    if (auto said = tier_says(w, "Admin", egress, from, to, protocol, port)) {
      if (!*said) return false;
      continue;
    }
    bool isolated = false, allowed = false;
    for (auto& [key, policy] : w.policies) {
      auto& spec = policy["spec"];
      bool typed = false;
      for (std::size_t i = 0; i < spec["policyTypes"].size(); ++i)
        typed |= spec["policyTypes"][i].as_string() == (egress ? "Egress" : "Ingress");
      if (!typed || policy["metadata"]["namespace"] != (*mine.pod)["metadata"]["namespace"] ||
          !matches(spec["podSelector"], (*mine.pod)["metadata"]["labels"]))
        continue;
      isolated = true;
      auto& rules = spec[egress ? "egress" : "ingress"];
      for (std::size_t i = 0; i < rules.size(); ++i)
        allowed |= is_peer(w, policy, rules[i][egress ? "to" : "from"], other) &&
                   is_port(rules[i]["ports"], to, protocol, port);
    }
    if (isolated ? !allowed : !tier_says(w, "Baseline", egress, from, to, protocol, port).value_or(true)) return false;
  }
  return true;
}

// --- a node whose kernel has the rules

struct pod_place {
  const char *ns, *name, *labels;
};
constexpr pod_place places[] = {{"x", "a", R"({"pod":"a","tier":"web"})"},
                                {"x", "b", R"({"pod":"b"})"},
                                {"y", "a", R"({"pod":"a"})"},
                                {"z", "c", R"({"pod":"c","tier":"db"})"}};
constexpr const char* named_ports =
    R"([{"name":"web","containerPort":80,"protocol":"TCP"},{"name":"more","containerPort":81,"protocol":"TCP"}])";

struct lab {
  runtime rt;
  test_namespace hosts[std::size(places)], outside;
  servers listens[2];  // ports 80 and 81
  test_loop loop;
  world w;
  policy_table v4{true}, v6{false};
  std::vector<std::string> addresses, addresses6;
  bool good = false;

  lab() {
    if (!rt.node || !outside) return;
    for (auto& h : hosts)
      if (!h) return;
    rt.node.run([&] {
      auto here = links::open().value();
      GOOD(here.add_veth("up0", "up1", outside.fd(), 1500));
      GOOD(here.add_address(here.find("up0")->index, *parse_interface_address("192.168.9.1/24")));
      GOOD(here.set_up(here.find("up0")->index));
      for (auto* name : {"bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"})
        GOOD(write_sysctl(name, "1"));
    });
    outside.run([&] {
      auto here = links::open().value();
      GOOD(here.add_address(here.find("up1")->index, *parse_interface_address("192.168.9.2/24")));
      GOOD(here.set_up(here.find("up1")->index));
      GOOD(here.set_route(
          {.to = *ip_range::parse("10.42.0.0/16"), .via = ip("192.168.9.1"), .link = here.find("up1")->index}));
    });
    for (auto* ns : {"x", "y", "z"}) w.put_namespace(namespace_of(ns));
    for (std::size_t i = 0; i < std::size(places); ++i) {
      auto added = rt.run("ADD", std::string(places[i].ns) + places[i].name, hosts[i].path());
      auto bare = [&](std::size_t n) { return address_in(added, n).substr(0, address_in(added, n).find('/')); };
      addresses.push_back(bare(0));
      addresses6.push_back(bare(1));
      put(i, places[i].labels);
      listens[0].add(hosts[i], 80);
      listens[1].add(hosts[i], 81);
    }
    apply();
    good = true;
  }
  void put(std::size_t i, const std::string& labels) {
    auto pod = pod_of(places[i].ns, places[i].name, labels, addresses[i], "here", named_ports);
    auto& status = *pod.object();
    status.set("status", parsed(R"({"phase":"Running","podIPs":[{"ip":")" + addresses[i] + R"("},{"ip":")" +
                                addresses6[i] + R"("}]})"));
    w.put_pod(pod);
  }
  // How many bytes of netlink it took, for IPv4.
  std::size_t apply() {
    auto changes = w.all.take_changes();
    std::size_t bytes = 0;
    for (auto* t : {&v4, &v6})
      loop.run([](lab& l, policy_table& table, const policy_selection::changes& c, std::size_t& size) -> task<void> {
        auto b = co_await table.update(l.w.all, c, reactor::loop::current().now());
        if (table.is_v4()) size = b.bytes();
        l.rt.node.run([&] {
          auto s = netlink::socket::open(NETLINK_NETFILTER).value();
          GOOD(nft::commit(s, b));
        });
      }(*this, *t, changes, bytes));
    return bytes;
  }
  party at(std::size_t i) { return {&w.pods.at(std::string(places[i].ns) + "/" + places[i].name), addresses[i]}; }
  // "x/a" …; "node", "outside"
  const test_namespace& host(std::size_t i) {
    return i < std::size(places) ? hosts[i] : i == std::size(places) ? rt.node : outside;
  }
  bool reaches(std::size_t from, std::size_t to, int port = 80, int patience_ms = 1500) {
    return listens[port - 80].ask(host(from), addresses[to], static_cast<std::uint16_t>(port), patience_ms) !=
           "refused";
  }
};
constexpr std::size_t xa = 0, xb = 1, ya = 2, zc = 3, the_node = 4, stranger = 5;

const std::string deny_all = R"({"podSelector":{},"policyTypes":["Ingress","Egress"]})";

// Everybody asks everybody; whose fate isn't the one that the rules of Kubernetes promise is told.
void compare(lab& l, const std::string& context) {
  INFO(context);
  for (std::size_t from = 0; from <= stranger; ++from)
    for (std::size_t to = 0; to < std::size(places); ++to) {
      if (from == to) continue;
      party who =
          from < std::size(places) ? l.at(from) : party{nullptr, from == the_node ? "10.42.3.1" : "192.168.9.2"};
      for (int port : {80, 81}) {
        bool wanted = from == the_node || may(l.w, who, l.at(to), "TCP", port);
        CHECK_MESSAGE(l.reaches(from, to, port) == wanted,
                      "from " << from << " to " << to << " port " << port << " wanted " << wanted);
      }
    }
}

std::string dump(const world& w, const policy_selection& s) {
  std::string out;
  auto names = [&](const std::vector<policy_selection::number>& numbers) {
    std::set<std::string> all;
    for (auto& [key, p] : s.policies())
      if (std::ranges::binary_search(numbers, p.number)) all.insert(key);
    std::string text;
    for (auto& n : all) text += n + " ";
    return text;
  };
  for (auto& [key, pod] : w.pods) {
    auto* p = s.find_pod(key);
    auto* in = s.find_group(p ? p->ingress_group : 0);
    auto* egress = s.find_group(p ? p->egress_group : 0);
    out += key + ": in " + (in ? names(in->policies) : "") + "out " + (egress ? names(egress->policies) : "") + "\n";
  }
  for (auto& [key, p] : s.policies())
    for (bool egress : {false, true})
      for (std::size_t i = 0; i < (egress ? p.egress : p.ingress).size(); ++i) {
        std::set<std::string> addresses;
        for (auto n : (egress ? p.egress : p.ingress)[i])
          for (auto& [a, count] : s.find_peers(n)->addresses) addresses.insert(a.text() + "*" + std::to_string(count));
        out += key + (egress ? " to" : " from");
        for (auto& a : addresses) out += " " + a;
        for (auto& t : s.named_targets(p, egress, i)) out += " " + t.address.text() + ":" + std::to_string(t.port);
        out += "\n";
      }
  return out;
}

// Policies of all sorts, from a seed.
struct maker {
  std::mt19937 random;
  std::size_t below(std::size_t n) { return random() % n; }
  template <std::size_t N>
  std::string one(const char* const (&all)[N]) {
    return all[below(N)];
  }
  std::string pods() {
    return one(
        {R"({})", R"({"matchLabels":{"pod":"a"}})", R"({"matchLabels":{"pod":"b"}})",
         R"({"matchExpressions":[{"key":"tier","operator":"Exists"}]})",
         R"({"matchExpressions":[{"key":"pod","operator":"NotIn","values":["a","c"]}]})",
         R"({"matchExpressions":[{"key":"pod","operator":"In","values":["a","c"]},{"key":"tier","operator":"DoesNotExist"}]})"});
  }
  std::string namespaces() {
    return one({R"({})", R"({"matchLabels":{"kubernetes.io/metadata.name":"y"}})",
                R"({"matchExpressions":[{"key":"kubernetes.io/metadata.name","operator":"NotIn","values":["z"]}]})",
                R"({"matchLabels":{"team":"red"}})"});
  }
  std::string peer() {
    switch (below(5)) {
      case 0: return R"({"podSelector":)" + pods() + "}";
      case 1: return R"({"namespaceSelector":)" + namespaces() + "}";
      case 2: return R"({"podSelector":)" + pods() + R"(,"namespaceSelector":)" + namespaces() + "}";
      default:
        return R"({"ipBlock":)" +
               one({R"({"cidr":"10.42.3.0/24"})", R"({"cidr":"10.42.0.0/16","except":["10.42.3.2/31"]})",
                    R"({"cidr":"10.42.3.4/32"})", R"({"cidr":"192.168.9.0/24"})",
                    R"({"cidr":"0.0.0.0/0","except":["10.42.3.5/32","192.168.9.2/32"]})", R"({"cidr":"fd42::/16"})"}) +
               "}";
    }
  }
  std::string port() {
    return one({R"({"protocol":"TCP","port":80})", R"({"protocol":"TCP","port":81})", R"({"protocol":"UDP","port":80})",
                R"({"protocol":"TCP","port":"web"})", R"({"protocol":"TCP","port":"more"})", R"({"protocol":"TCP"})",
                R"({"protocol":"TCP","port":70,"endPort":80})", R"({"protocol":"SCTP","port":"web"})"});
  }
  std::string rule(const char* peers) {
    std::string out = "{";
    if (auto n = below(3)) {
      out += std::string("\"") + peers + "\":[" + peer();
      while (--n) out += "," + peer();
      out += "]";
    }
    if (auto n = below(3)) {
      out += std::string(out.size() > 1 ? "," : "") + R"("ports":[)" + port();
      while (--n) out += "," + port();
      out += "]";
    }
    return out + "}";
  }
  std::string rules(const char* name, const char* peers) {
    std::string out = std::string(",\"") + name + "\":[";
    for (std::size_t n = below(3); n > 0; --n) out += rule(peers) + (n > 1 ? "," : "");
    return out + "]";
  }
  std::string cluster_peer(bool egress) {
    if (egress && below(3) == 0)
      return R"({"networks":)" +
             one({R"(["10.42.3.0/24"])", R"(["10.42.3.4/32","192.168.9.0/24"])", R"(["0.0.0.0/0"])"}) + "}";
    return below(2) ? R"({"namespaces":)" + namespaces() + "}"
                    : R"({"pods":{"namespaceSelector":)" + namespaces() + R"(,"podSelector":)" + pods() + "}}";
  }
  std::string cluster_rules(bool egress) {
    std::string out = "[";
    for (std::size_t n = 1 + below(3); n > 0; --n) {
      out += R"({"action":")" + one({"Accept", "Deny", "Pass"}) + R"(",")" + (egress ? "to" : "from") + R"(":[)" +
             cluster_peer(egress) + (below(2) ? "," + cluster_peer(egress) : "") + "]";
      if (below(2) == 0)
        out += R"(,"protocols":[)" +
               one({R"({"tcp":{"destinationPort":{"number":80}}})",
                    R"({"tcp":{"destinationPort":{"range":{"start":70,"end":80}}}})", R"({"udp":{}})", R"({"tcp":{}})",
                    R"({"destinationNamedPort":"web"})",
                    R"({"tcp":{"destinationPort":{"number":81}}},{"udp":{"destinationPort":{"number":80}}})"}) +
               "]";
      out += n > 1 ? "}," : "}";
    }
    return out + "]";
  }
  // Its priority is its name.
  value cluster_policy(std::size_t priority) {
    auto name = std::to_string(priority);
    return cluster_policy_of(
        name,
        R"({"tier":")" + one({"Admin", "Admin", "Baseline"}) + R"(","priority":)" + name + R"(,"subject":)" +
            (below(2) ? R"({"namespaces":)" + namespaces() + "}"
                      : R"({"pods":{"namespaceSelector":)" + namespaces() + R"(,"podSelector":)" + pods() + "}}") +
            (below(3) ? R"(,"ingress":)" + cluster_rules(false) : "") +
            (below(3) ? R"(,"egress":)" + cluster_rules(true) : "") + "}");
  }
  value policy(const std::string& ns, const std::string& name) {
    auto types = one({R"(["Ingress"])", R"(["Egress"])", R"(["Ingress","Egress"])"});
    return policy_of(ns, name,
                     R"({"podSelector":)" + pods() + R"(,"policyTypes":)" + types +
                         (types.contains("Ingress") ? rules("ingress", "from") : "") +
                         (types.contains("Egress") ? rules("egress", "to") : "") + "}");
  }
};

}  // namespace

TEST_CASE("policies: what can't be understood allows nothing, and what isn't there allows all") {
  auto p = decode_policy(policy_of("x", "p", R"({"podSelector":{},"ingress":[{"from":[{"ipBlock":{"cidr":"nonsense"}}]},
    {"ports":[{"port":0}]},{"ports":[{"port":5,"endPort":4}]},{},{"from":[],"ports":[]}]})"));
  REQUIRE(p);
  CHECK(p->isolates_ingress);
  CHECK_FALSE(p->isolates_egress);
  CHECK(p->ingress[0].peers->empty());
  CHECK(p->ingress[1].ports->empty());
  CHECK(p->ingress[2].ports->empty());
  CHECK_FALSE(p->ingress[3].peers);
  CHECK_FALSE(p->ingress[4].peers);
  CHECK_FALSE(p->ingress[4].ports);
  CHECK(decode_policy(policy_of("x", "p", R"({"podSelector":{},"egress":[{}]})"))->isolates_egress);
  // Pods at their end, whose addresses are others', and those on the host's network.
  CHECK_FALSE(decode_policy_pod(parsed(R"({"spec":{"hostNetwork":true}})")));
  CHECK_FALSE(decode_policy_pod(parsed(R"({"status":{"phase":"Succeeded","podIP":"10.42.0.9"}})")));
  CHECK(decode_policy_pod(parsed(R"({"status":{"phase":"Pending"}})")));
}

TEST_CASE("policies: of what was started here the addresses are known here, whatever the API has heard") {
  auto pod = [](const std::string& name, const std::string& address, const std::string& labels = "{}") {
    return *decode_policy_pod(pod_of("x", name, labels, address));
  };
  using keys = std::vector<std::string>;
  started_pods all;
  time_point t{};
  auto a = pod("a", "10.42.3.2"), old = a;
  old.addresses.clear();
  CHECK(all.find("x/a", nullptr, t) == nullptr);
  CHECK(all.find("x/a", &a, t) == &a);
  CHECK(all.start("x/a", a, t) == keys{"x/a"});
  CHECK(all.start("x/a", a, t).empty());
  CHECK(*all.find("x/a", nullptr, t) == a);  // the API's watch is late
  CHECK(*all.find("x/a", &old, t) == a);     // its status is
  // A new sandbox: another address; labels are the API's.
  auto again = pod("a", "10.42.3.9"), labelled = pod("a", "10.42.3.2", R"({"role":"db"})");
  CHECK(all.start("x/a", again, t) == keys{"x/a"});
  auto* now = all.find("x/a", &labelled, t);
  CHECK(now->addresses == again.addresses);
  CHECK(now->labels == labelled.labels);
  // Its address is another's, then it is gone.
  CHECK(all.start("x/b", pod("b", "10.42.3.9"), t) == keys{"x/b", "x/a"});
  CHECK(all.find("x/a", &labelled, t)->addresses.empty());
  CHECK(all.find("x/a", nullptr, t) == nullptr);
  // One of the same name is another pod.
  auto other = pod("b", "10.42.7.7");
  other.uid = "another";
  CHECK(*all.find("x/b", nullptr, t) == pod("b", "10.42.3.9"));
  CHECK(all.find("x/b", &other, t)->addresses == pod("b", "10.42.3.9").addresses);
  // What the API never shows is forgotten in the end.
  CHECK(all.forgotten(t).empty());
  CHECK(all.forgotten(t + unseen_pod_kept) == keys{"x/b"});
  CHECK(all.find("x/b", &other, t + unseen_pod_kept) == &other);
  CHECK(all.forgotten(t + unseen_pod_kept).empty());
}

TEST_CASE("policies: a selection that was told of changes is the one that was told of the end alone") {
  for (unsigned seed = 1; seed <= 30; ++seed) {
    maker make{std::mt19937(seed)};
    world w;
    // The peers' addresses as whoever follows the changes has them.
    std::map<policy_selection::number, std::set<ip_address>> followed;
    const char* const names[] = {"x", "y", "z"};
    const char* const labels[] = {R"({"pod":"a"})", R"({"pod":"b","tier":"web"})", R"({"tier":"db"})", "{}"};
    for (int step = 0; step < 120; ++step) {
      auto ns = make.one(names);
      auto name = std::to_string(make.below(5));
      switch (make.below(8)) {
        case 6: w.put(make.cluster_policy(make.below(4))); break;
        case 7: w.drop("/clusternetworkpolicies/" + std::to_string(make.below(4))); break;
        case 0: w.put(make.policy(ns, name)); break;
        case 1: w.drop(ns + "/" + name); break;
        case 2: w.drop_pod(ns + "/" + name); break;
        case 3: w.put_namespace(namespace_of(ns, make.below(2) ? R"(,"team":"red")" : "")); break;
        default:
          w.put_pod(pod_of(ns, name, make.one(labels), "10.42.0." + std::to_string(make.below(6)),
                           make.below(2) ? "here" : "there", make.below(2) ? named_ports : "[]"));
      }
      if (make.below(3) == 0) {
        auto c = w.all.take_changes();
        for (auto n : c.peers)
          if (!w.all.find_peers(n)) followed.erase(n);
        for (auto& [n, addresses] : c.addresses)
          for (auto& [a, came] : addresses) {
            CHECK(followed[n].contains(a) != came);
            came ? (void)followed[n].insert(a) : (void)followed[n].erase(a);
          }
        for (auto& [n, p] : w.all.all_peers()) {
          std::set<ip_address> now;
          for (auto& [a, count] : p.addresses) now.insert(a);
          CHECK(followed[n] == now);
        }
      }
    }
    world fresh;
    for (auto& [key, v] : w.policies) fresh.put(v);
    for (auto& [key, v] : w.pods) fresh.put_pod(v);
    for (auto& [key, v] : w.namespaces) fresh.put_namespace(v);
    CHECK_MESSAGE(dump(w, w.all) == dump(fresh, fresh.all), "seed " << seed);
    CHECK(w.all.groups().size() == fresh.all.groups().size());
    CHECK(w.all.all_peers().size() == fresh.all.all_peers().size());
    for (auto& [key, v] : w.policies) w.all.set_policy(key, nullptr);
    CHECK(w.all.groups().empty());
    CHECK(w.all.all_peers().empty());
  }
}

TEST_CASE("policies: one that no pod of this node has costs nothing, and one that goes on keeps its sets") {
  world w;
  w.put_namespace(namespace_of("x"));
  const std::string among_us =
      R"({"podSelector":{"matchLabels":{"pod":"a"}},"ingress":[{"from":[{"podSelector":{}}]}]})";
  w.put(policy_of("x", "p", among_us));
  w.put_pod(pod_of("x", "far", R"({"pod":"a"})", "10.42.7.1", "there"));
  w.put_pod(pod_of("x", "other", R"({"pod":"b"})", "10.42.3.8"));
  CHECK(w.all.all_peers().empty());
  CHECK(w.all.groups().empty());
  w.put_pod(pod_of("x", "near", R"({"pod":"a"})", "10.42.3.9"));
  REQUIRE(w.all.all_peers().size() == 1);
  CHECK(w.all.all_peers().begin()->second.addresses.size() == 3);
  auto number = w.all.all_peers().begin()->first;
  (void)w.all.take_changes();
  w.put(policy_of("x", "q", R"({"podSelector":{},"policyTypes":["Ingress","Egress"]})"));
  w.drop("x/q");
  CHECK(w.all.find_peers(number));
  CHECK(w.all.take_changes().addresses.empty());
  w.put_pod(pod_of("x", "near", R"({"pod":"c"})", "10.42.3.9"));
  CHECK(w.all.all_peers().empty());
  w.put_pod(pod_of("x", "near", R"({"pod":"a"})", "10.42.3.9"));
  CHECK(w.all.all_peers().size() == 1);
  w.drop_pod("x/near");
  CHECK(w.all.all_peers().empty());
  CHECK(w.all.groups().empty());
}

TEST_CASE("policies: packets have the fates that Kubernetes promises, whatever the policies") {
  lab l;
  if (!l.good) return;
  compare(l, "none");
  for (unsigned seed = 1; seed <= 25; ++seed) {
    maker make{std::mt19937(seed)};
    std::string context = "seed " + std::to_string(seed);
    const char* const names[] = {"x", "y", "z"};
    for (std::size_t n = 1 + make.below(3); n > 0; --n) {
      auto p = make.policy(make.one(names), std::to_string(make.below(3)));
      context += "\n" + json::write(p);
      l.w.put(p);
    }
    if (make.below(3) == 0) l.w.put_namespace(namespace_of("z", make.below(2) ? R"(,"team":"red")" : ""));
    if (make.below(3) == 0) l.put(xb, make.below(2) ? R"({"pod":"b"})" : R"({"pod":"a","tier":"db"})");
    if (make.below(2) == 0 && l.w.policies.size() > 3) l.w.drop(l.w.policies.begin()->first);
    l.apply();
    for (auto& [key, p] : l.w.policies) context += "\nhas " + json::write(p);
    compare(l, context);
  }
  while (!l.w.policies.empty()) l.w.drop(l.w.policies.begin()->first);
  l.apply();
  compare(l, "none again");
}

TEST_CASE("policies: packets have the fates that the tiers promise, whatever the policies of the cluster") {
  lab l;
  if (!l.good) return;
  for (unsigned seed = 100; seed < 125; ++seed) {
    maker make{std::mt19937(seed)};
    std::string context = "seed " + std::to_string(seed);
    const char* const names[] = {"x", "y", "z"};
    for (std::size_t n = 1 + make.below(2); n > 0; --n) l.w.put(make.cluster_policy(make.below(5)));
    if (make.below(2) == 0) l.w.put(make.policy(make.one(names), std::to_string(make.below(2))));
    if (make.below(3) == 0) l.w.put_namespace(namespace_of("z", make.below(2) ? R"(,"team":"red")" : ""));
    if (make.below(3) == 0) l.put(xb, make.below(2) ? R"({"pod":"b"})" : R"({"pod":"a","tier":"db"})");
    while (l.w.policies.size() > 5) l.w.drop(std::next(l.w.policies.begin(), long(make.below(5)))->first);
    l.apply();
    for (auto& [key, p] : l.w.policies) context += "\nhas " + json::write(p);
    compare(l, context);
  }
  while (!l.w.policies.empty()) l.w.drop(l.w.policies.begin()->first);
  l.apply();
  compare(l, "none again");
}

TEST_CASE("policies: what a policy of the cluster says that isn't known fails closed") {
  auto rules = [](const std::string& text) {
    return decode_cluster_policy(
               cluster_policy_of("p",
                                 R"({"tier":"Admin","priority":1,"subject":{"namespaces":{}},"egress":)" + text + "}"))
        ->egress;
  };
  CHECK(rules(R"([{"action":"Accept","to":[{"domainNames":["example.org"]}]}])").empty());
  auto denied = rules(R"([{"action":"Pass","to":[{"nodes":{}},{"namespaces":{}}],"protocols":[{"tcp":{}}]}])");
  REQUIRE(denied.size() == 1);
  CHECK(denied[0].action == policy_action::deny);
  CHECK_FALSE(denied[0].peers);
  CHECK_FALSE(denied[0].ports);
  // A protocol as well as a peer.
  for (std::string what : {R"({"esp":{}})", R"({"tcp":{"destinationPort":{"list":[80]}}})"}) {
    auto to = R"(,"to":[{"namespaces":{}}],"protocols":[{"udp":{}},)" + what + "]}]";
    CHECK(rules(R"([{"action":"Accept")" + to).empty());
    auto closed = rules(R"([{"action":"Deny")" + to);
    REQUIRE(closed.size() == 1);
    CHECK(closed[0].action == policy_action::deny);
    CHECK_FALSE(closed[0].peers);
    CHECK_FALSE(closed[0].ports);
  }
  CHECK_FALSE(decode_cluster_policy(cluster_policy_of("p", R"({"tier":"Admin","subject":{}})")));
  // The older kinds say the same in other words.
  const std::string older =
      R"({"priority":7,"subject":{"namespaces":{}},"ingress":[{"action":"Allow","from":[{"namespaces":{}}],"ports":)"
      R"([{"portNumber":{"protocol":"UDP","port":53}},{"portRange":{"start":80,"end":90}}]}]})";
  auto admin = decode_admin_policy(cluster_policy_of("a", older));
  auto baseline = decode_baseline_policy(cluster_policy_of("default", older));
  REQUIRE(admin);
  REQUIRE(baseline);
  CHECK(admin->tier == policy_tier::admin);
  CHECK(admin->priority == 7);
  CHECK(baseline->tier == policy_tier::baseline);
  CHECK(admin->ingress[0].action == policy_action::accept);
  CHECK(*admin->ingress[0].ports == std::vector<policy_port>{{transport::udp, 53, 53}, {transport::tcp, 80, 90}});
}

TEST_CASE("policies: groups that have a policy of the cluster share what it has of addresses") {
  world w;
  w.put_namespace(namespace_of("x"));
  constexpr int groups = 200, pods = 1'000;
  constexpr const char* ports = R"([{"name":"web","containerPort":80}])";
  for (int i = 0; i < groups; ++i) {
    auto label = R"({"own":")" + std::to_string(i) + R"("})";
    w.put(policy_of("x", std::to_string(i),
                    R"({"podSelector":{"matchLabels":)" + label + R"(},"policyTypes":["Egress"],"egress":[{}]})"));
    w.put_pod(pod_of("x", "here" + std::to_string(i), label, "10.42.0." + std::to_string(i + 1), "here", ports));
  }
  for (int i = 0; i < pods; ++i)
    w.put_pod(pod_of("x", "there" + std::to_string(i), "{}",
                     "10.43." + std::to_string(i / 200) + "." + std::to_string(i % 200 + 1), "there", ports));
  w.put(cluster_policy_of(
      "all", R"({"tier":"Admin","priority":1,"subject":{"namespaces":{}},"egress":[)"
             R"({"action":"Deny","to":[{"namespaces":{}}],"protocols":[{"destinationNamedPort":"web"}]}]})"));
  CHECK(w.all.groups().size() == groups);
  test_loop loop;
  policy_table table(true);
  const auto changes = w.all.take_changes();
  std::size_t bytes = 0;
  loop.run([](world& in, policy_table& t, const policy_selection::changes& c, std::size_t& size) -> task<void> {
    size = (co_await t.update(in.all, c, reactor::loop::current().now())).bytes();
  }(w, table, changes, bytes));
  constexpr std::size_t bytes_of_an_element = 128, bytes_of_a_group = 4096;
  CHECK(bytes < 2 * pods * bytes_of_an_element + groups * bytes_of_a_group);  // among the peers, and with its port
}

TEST_CASE("policies: a running connection is cut when it isn't allowed any more, in both directions") {
  lab l;
  if (!l.good) return;
  auto connection = [&](std::size_t from, std::size_t to) {
    int s = -1;
    l.host(from).run([&] {
      s = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      auto where = socket_address(l.addresses[to], 80);
      CHECK(::connect(s, reinterpret_cast<sockaddr*>(&where), sizeof where) == 0);
    });
    int taken = ::accept4(l.listens[0].fds[to], nullptr, nullptr, SOCK_CLOEXEC);
    pollfd p{l.listens[0].fds[to], POLLIN, 0};
    if (taken < 0 && ::poll(&p, 1, 2000) == 1) taken = ::accept4(l.listens[0].fds[to], nullptr, nullptr, SOCK_CLOEXEC);
    CHECK(taken >= 0);
    return std::pair(s, taken);
  };
  // Whether what one end says arrives at the other within a second.
  auto passes = [](int from, int to) {
    if (::send(from, "x", 1, MSG_NOSIGNAL) != 1) return false;
    pollfd p{to, POLLIN, 0};
    char c;
    return ::poll(&p, 1, 1000) == 1 && ::recv(to, &c, 1, 0) == 1;
  };
  for (bool server_speaks : {false, true}) {
    auto [client, server] = connection(ya, xa);
    auto [other, its] = connection(ya, zc);
    CHECK(passes(client, server));
    CHECK(passes(server, client));
    l.w.put(policy_of("x", "deny", deny_all));
    l.apply();
    bool passed = server_speaks ? passes(server, client) : passes(client, server);
    CHECK_FALSE(passed);
    CHECK_FALSE(passes(client, server));
    CHECK(passes(other, its));
    // The node's own go on: probes.
    CHECK(l.reaches(the_node, xa));
    CHECK_FALSE(l.reaches(xa, ya));
    l.w.drop("x/deny");
    l.apply();
    CHECK(l.reaches(ya, xa));
    for (int fd : {client, server, other, its}) ::close(fd);
  }
}

TEST_CASE("policies: datagrams, what a pod asks of its node, and IPv6") {
  lab l;
  if (!l.good) return;
  CHECK(datagram(l.hosts[ya], l.hosts[xa], l.addresses[xa], 5300) == l.addresses[ya]);
  l.w.put(
      policy_of("x", "dns-alone",
                R"({"podSelector":{"matchLabels":{"pod":"a"}},"policyTypes":["Ingress","Egress"],)"
                R"("ingress":[{"ports":[{"protocol":"UDP","port":5300}]}],)"
                R"("egress":[{"to":[{"ipBlock":{"cidr":"10.42.3.1/32"}}],"ports":[{"protocol":"TCP","port":80}]}]})"));
  l.apply();
  CHECK(datagram(l.hosts[ya], l.hosts[xa], l.addresses[xa], 5300) == l.addresses[ya]);
  CHECK(datagram(l.hosts[ya], l.hosts[xa], l.addresses[xa], 5301).empty());
  CHECK_FALSE(l.reaches(ya, xa));
  servers of_node;
  of_node.add(l.rt.node, 80);
  of_node.add(l.rt.node, 81);
  CHECK(of_node.ask(l.hosts[xa], "10.42.3.1", 80) != "refused");
  CHECK(of_node.ask(l.hosts[xa], "10.42.3.1", 81) == "refused");
  CHECK(of_node.ask(l.hosts[xb], "10.42.3.1", 81) != "refused");
  auto reaches6 = [&](std::size_t from, std::size_t to, std::string address = {}) {
    if (address.empty()) address = l.addresses6[to];
    int s = -1, why = -1;
    l.host(to).run([&] {
      s = ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockaddr_in6 at{};
      at.sin6_family = AF_INET6;
      at.sin6_port = htons(8000);
      CHECK(::bind(s, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
      CHECK(::listen(s, 8) == 0);
    });
    l.hosts[from].run([&] {
      int c = ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockaddr_in6 at{};
      at.sin6_family = AF_INET6;
      at.sin6_port = htons(8000);
      at.sin6_scope_id = static_cast<unsigned>(links::open().value().find("eth0")->index);
      ::inet_pton(AF_INET6, address.c_str(), &at.sin6_addr);
      timeval patience{.tv_sec = 5, .tv_usec = 0};
      ::setsockopt(c, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
      why = ::connect(c, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0 ? 0 : errno;
      ::close(c);
    });
    ::close(s);
    return why;
  };
  CHECK(reaches6(ya, zc) == 0);
  CHECK(reaches6(ya, xa) == ECONNREFUSED);
  // An address of the link alone is no way around, to a pod or to the node.
  auto of_link = [&](std::size_t whose) {
    std::string out;
    l.host(whose).run([&] {
      auto here = links::open().value();
      auto all = here.addresses(here.find(whose == the_node ? "cni0" : "eth0")->index).value();
      for (auto& a : all)
        if (a.address.is_v6() && a.address.is_link_local_unicast()) out = a.address.text();
    });
    return out;
  };
  for (auto to : {xa, zc, the_node}) CHECK(reaches6(ya, to, of_link(to)) == ECONNREFUSED);
  l.w.drop("x/dns-alone");
  l.apply();
  for (auto to : {xa, zc, the_node}) CHECK(reaches6(ya, to, of_link(to)) == 0);
  l.w.put(policy_of("x", "six",
                    R"({"podSelector":{"matchLabels":{"pod":"a"}},"policyTypes":["Ingress"],)"
                    R"("ingress":[{"from":[{"ipBlock":{"cidr":"fd42::/16"}}]}]})"));
  l.apply();
  CHECK(reaches6(ya, xa) == 0);
  CHECK_FALSE(l.reaches(ya, xa));
}

TEST_CASE("policies: SCTP's ports are its own") {
  lab l;
  if (!l.good) return;
  sctp_servers sctp;
  for (std::uint16_t port : {3868, 3869, 80}) sctp.add(l.hosts[xa], port);
  auto ask = [&](std::uint16_t port) { return sctp.ask(l.hosts[ya], l.addresses[xa], port); };
  CHECK(ask(3868) == "0 " + l.addresses[ya]);
  CHECK(ask(3869) == "1 " + l.addresses[ya]);
  auto put = [&](const std::string& ports) {
    l.w.put(policy_of("x", "sctp",
                      R"({"podSelector":{"matchLabels":{"pod":"a"}},"policyTypes":["Ingress"],"ingress":[{"ports":)" +
                          ports + "}]}"));
    l.apply();
  };
  put(R"([{"protocol":"SCTP","port":3868}])");
  CHECK(ask(3868) == "0 " + l.addresses[ya]);
  CHECK(ask(3869) == "refused");
  CHECK_FALSE(l.reaches(ya, xa));
  put(R"([{"protocol":"SCTP","port":3869,"endPort":3900}])");
  CHECK(ask(3868) == "refused");
  CHECK(ask(3869) == "1 " + l.addresses[ya]);
  put(R"([{"protocol":"SCTP"}])");
  CHECK(ask(3868) == "0 " + l.addresses[ya]);
  CHECK(ask(80) == "2 " + l.addresses[ya]);
  // TCP's port of the same number is another.
  put(R"([{"protocol":"TCP","port":80}])");
  CHECK(ask(80) == "refused");
  CHECK(l.reaches(ya, xa));
}

TEST_CASE("policies: a change costs what changed, and what is gone leaves nothing") {
  lab l;
  if (!l.good) return;
  l.w.put(policy_of("x", "many",
                    R"({"podSelector":{},"policyTypes":["Ingress"],"ingress":[{"from":[{"namespaceSelector":{}}]}]})"));
  for (int i = 0; i < 500; ++i)
    l.w.put_pod(pod_of("y", "p" + std::to_string(i), "{}", "10.42.7." + std::to_string(i % 250 + 1),
                       i < 250 ? "there" : "elsewhere"));
  l.apply();
  auto nothing = l.apply();
  l.w.put_pod(pod_of("y", "one-more", "{}", "10.42.9.9", "there"));
  CHECK(l.apply() < nothing + 200);
  CHECK(l.reaches(ya, xa));
  // Two pods had each address: one of them ends.
  l.w.drop_pod("y/p7");
  CHECK(l.apply() == nothing);
  l.w.drop_pod("y/p257");
  CHECK(l.apply() > nothing);
  auto listed = [&](const char* what) {
    std::string out;
    l.rt.node.run([&] {
      if (auto* p = ::popen((std::string("nft list ") + what).c_str(), "r")) {
        char piece[4096];
        while (auto n = ::fread(piece, 1, sizeof piece, p)) out.append(piece, n);
        ::pclose(p);
      }
    });
    return out;
  };
  CHECK(listed("ruleset").contains("table ip kedge-policies"));
  l.w.drop("x/many");
  l.apply();
  CHECK_FALSE(listed("ruleset").contains("kedge-policies"));
}
