// What users configure of the cluster's DNS: CoreDNS' text, and what it means.
#include "node/dns/custom.h"

#include <doctest/doctest.h>

#include "base/strings.h"
#include "node/dns/limits.h"

using namespace kedge;
using namespace kedge::node::dns;
using words = std::vector<std::string>;

namespace {

auto ip(std::string_view t) { return ip_address::parse(t).value(); }

query asks(std::string name, type t = type::a) {
  auto m = write_query(7, name, t);
  return *parse_query(as_bytes(m)).query;
}

// "192…1/60", "SERVFAIL", "nothing" (NODATA), "on" (asked elsewhere)
std::string host(const custom_zone& z, const std::string& name, type t = type::a) {
  auto found = z.find_host(asks(name, t));
  if (!found) return "on";
  if (found->code == rcode::server_failure) return "SERVFAIL";
  words out;
  for (auto& r : found->answers) {
    if (r.type == type::ptr)
      out.push_back("name");
    else if (r.type == type::a)
      out.push_back(std::to_string(static_cast<unsigned char>(r.data[0])) + "…" +
                    std::to_string(static_cast<unsigned char>(r.data[3])) + "/" + std::to_string(r.ttl));
    else
      out.push_back("six/" + std::to_string(r.ttl));
  }
  return out.empty() ? "nothing" : join(out, " ");
}

}  // namespace

TEST_CASE("corefile: words, quotes, comments, blocks") {
  auto all = parse_servers(R"(
# a comment
example.org:53, example.net {   # two zones
    hosts {
        192.0.2.7 nas "two words"
        fallthrough
    }
    forward . 192.0.2.53 dns://192.0.2.54
    a"quote" b#c
}
b.test {
}
)");
  REQUIRE(all);
  REQUIRE(all->size() == 2);
  CHECK((*all)[0].zones == words{"example.org:53", "example.net"});
  auto& plugins = (*all)[0].plugins;
  REQUIRE(plugins.size() == 3);
  CHECK(plugins[0].words == words{"hosts"});
  CHECK(plugins[0].block == std::vector<words>{{"192.0.2.7", "nas", "two words"}, {"fallthrough"}});
  CHECK(plugins[1].words == words{"forward", ".", "192.0.2.53", "dns://192.0.2.54"});
  CHECK(plugins[2].words == words{"a\"quote\"", "b#c"});
  CHECK((*all)[1].plugins.empty());
  auto alone = parse_plugins("log\nhosts {\n 1.2.3.4 a\n}\n");
  REQUIRE(alone);
  CHECK(alone->size() == 2);

  struct row {
    std::string text, message;
  };
  for (auto& r :
       {row{"a {\n log\n", "line 2: a server block has no end"},
        row{"a {\n hosts {\n 1.2.3.4 b\n", "line 2: a block has no end"},
        row{"a {\n x {\n y {\n z\n}\n}\n}\n", "line 3: no plugin has a block within its block"},
        row{"a {\n \"b\n", "line 2: a quote has no end"}, row{"{\n log\n}\n", "line 1: a server block of no zone"},
        row{"log\nerrors\n", "line 2: a server block begins with its zones and a brace"},
        row{"} {\n}\n", "line 1: a brace that is out of place"}}) {
    auto refused = parse_servers(r.text);
    REQUIRE_MESSAGE(!refused, r.text);
    CHECK(refused.error().message == r.message);
  }
  CHECK(parse_plugins("log\n}\n").error().message == "line 2: a brace that nothing opens");
  CHECK(parse_servers("").value().empty());
  // Every beginning of a text is read or refused.
  const std::string text =
      "a.test, b {\n hosts {\n 1.2.3.4 \"x y\" # c\n }\n forward . 1.1.1.1 {\n policy random\n}\n}\n";
  for (std::size_t n = 0; n < text.size(); ++n) {
    (void)parse_servers(text.substr(0, n));
    (void)parse_plugins(text.substr(n));
  }
}

TEST_CASE("custom names: hosts") {
  auto c = read_custom(
      {.custom = {{"a.override", "hosts {\n 192.0.2.7 NAS.intern nas\n fd00::7 nas\n 192.0.2.8 nas\n ttl 9\n}"},
                  {"b.server",
                   "lan {\n hosts {\n 192.0.2.9 printer.lan\n no_reverse\n }\n}\n"
                   "home {\n hosts home {\n 192.0.2.10 tv.home\n fallthrough\n }\n forward . 192.0.2.1\n}"}},
       .node_hosts = "192.0.2.20 mine\n10.9.9.9 edge-1\n"});
  CHECK(c.problems.empty());
  auto& all = c.zone_of("nas");
  CHECK(host(all, "nas.intern") == "192…7/9");
  CHECK(host(all, "nas") == "192…7/9 192…8/9");
  CHECK(host(all, "nas", type::aaaa) == "six/9");
  CHECK(host(all, "nas", type::srv) == "nothing");
  CHECK(host(all, "other") == "on");
  CHECK(host(all, "mine") == "192…20/9");  // a line of NodeHosts
  CHECK(host(all, "7.2.0.192.in-addr.arpa", type::ptr) == "name name");
  auto& lan = c.zone_of("x.printer.LAN");
  auto& small = c.zone_of("printer.lan");
  CHECK(&lan == &c.everything);  // names come lower-case
  CHECK(host(small, "printer.lan") == "192…9/3600");
  CHECK(host(small, "printer.lan", type::aaaa) == "nothing");
  CHECK(host(small, "nobody.lan") == "SERVFAIL");
  CHECK(host(c.zone_of("tv.home"), "tv.home") == "192…10/3600");
  CHECK(host(c.zone_of("pc.home"), "pc.home") == "on");
  CHECK(c.zone_of("pc.home").forward_of("pc.home"));
  CHECK(c.zone_of("homes").name.empty());
  // NodeHosts alone, with K3s's time to live.
  CHECK(host(read_custom({.node_hosts = "192.0.2.20 mine"}).everything, "mine") == "192…20/60");
}

TEST_CASE("custom names: each pair of a name and an address is had once, whatever names it, and tables have bounds") {
  auto c = read_custom({.custom = {{"a.override", "hosts {\n 192.0.2.7 a b\n 192.0.2.7 b a\n no_reverse\n}"}},
                        .node_hosts = "192.0.2.7 a\n192.0.2.8 a\n192.0.2.7 a\n"});
  REQUIRE(c.everything.hosts);
  CHECK(c.everything.hosts->addresses["a"].size() == 2);
  CHECK(c.everything.hosts->addresses["b"].size() == 1);
  std::string one_name = "hosts {\n", many_zones = "hosts";
  for (int i = 0; i < 9000; ++i)
    one_name += " 10.1." + std::to_string(i / 250) + "." + std::to_string(i % 250) + " a\n";
  for (int i = 0; i < 1000; ++i) many_zones += " z" + std::to_string(i);
  c = read_custom({.custom = {{"a.override", one_name + "}"}, {"b.override", many_zones + " {\n 10.0.0.1 z1\n}"}}});
  CHECK(c.everything.hosts->addresses["a"].size() == 9000);
  CHECK(c.problems == std::vector<std::string>{"b.override: plugin hosts: more zones than can be kept"});
}

TEST_CASE("custom names: rewrites, in their order") {
  auto c = read_custom({.custom = {{"a.override", R"(
rewrite name old.example.com web.default.svc.cluster.local
rewrite name exact A.Example.Org. b.example.org
rewrite continue name prefix dev. prod
rewrite stop name suffix .corp .svc.cluster.local answer auto
rewrite name substring staging live
)"}}});
  CHECK(c.problems.empty());
  auto& z = c.everything;
  CHECK(z.rewritten("old.example.com") == "web.default.svc.cluster.local");
  CHECK(z.rewritten("x.old.example.com") == "x.old.example.com");
  CHECK(z.rewritten("a.example.org") == "b.example.org");
  CHECK(z.rewritten("dev.x.ns.corp") == "prod.x.ns.svc.cluster.local");
  CHECK(z.rewritten("dev-x.ns.corp") == "dev-x.ns.svc.cluster.local");
  CHECK(z.rewritten("web.staging.corp") == "web.staging.svc.cluster.local");  // who stops stops
  CHECK(z.rewritten("staging.staging.test") == "live.live.test");
}

TEST_CASE("custom names: where to ask, and what isn't known here is told") {
  auto c = read_custom(
      {.custom = {{"a.override",
                   "forward . 192.0.2.53:5353 [fd00::53]:53 {\n except intern.example svc\n policy sequential\n}\n"
                   "acl x\nrewrite type ANY A\nrewrite name regex a( b\ntemplate IN A {\n answer \"{{ .Remote "
                   "}} A 1.2.3.4\"\n}\ntemplate IN MX"},
                  {"b.server",
                   "corp.example:53 {\n errors\n cache 30\n forward . https://192.0.2.1 /etc/resolv.conf\n autopath "
                   "@kubernetes\n health\n}\n"
                   "corp.example:5353 {\n}\n. {\n forward . 192.0.2.1\n}"},
                  {"c.server", "broken {"},
                  {"notes.txt", "anything"}}});
  auto& all = c.everything;
  REQUIRE(all.forward_of("www.example.com"));
  CHECK(all.forward_of("www.example.com")->to);
  CHECK_FALSE(all.forward_of("a.intern.example"));
  CHECK(all.forward_of("ntern.example"));
  auto& corp = c.zone_of("a.corp.example");
  CHECK(corp.name == "corp.example");
  CHECK(corp.errors);
  CHECK_FALSE(corp.forward_of("a.corp.example")->to);  // the machine's resolvers
  CHECK(c.problems ==
        words{"a.override: plugin acl isn't known here", "a.override: \"rewrite type ANY A\" isn't known here",
              "a.override: plugin rewrite: \"a(\" is no regular expression: missing ): a(",
              "a.override: plugin template: {{ .Remote }} isn't known here",
              "a.override: plugin template: type MX isn't known here",
              "b.server: plugin forward: \"https://192.0.2.1\" can't be asked here",
              "b.server: plugin autopath isn't known here", "b.server: zone corp.example:5353 can't be served here",
              "b.server: zone . can't be served here", "c.server: line 1: a server block has no end"});
}

// As K3s packages it.
static const std::string k3s_corefile = R"(
.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
      pods insecure
      fallthrough in-addr.arpa ip6.arpa
    }
    hosts /etc/coredns/NodeHosts {
      ttl 60
      reload 15s
      fallthrough
    }
    prometheus :9153
    cache 30
    loop
    reload
    loadbalance
    import /etc/coredns/custom/*.override
    forward . /etc/resolv.conf
}
import /etc/coredns/custom/*.server
)";

TEST_CASE("corefile: K3s's own says what is so without one") {
  const config_texts custom{{"a.override", "forward corp 192.0.2.1\nhosts {\n 192.0.2.7 nas\n}\n"},
                            {"b.server", "lan {\n forward . 192.0.2.2\n}\n"},
                            {"notes.txt", "hosts {"}};
  const char* nodes = "192.0.2.20 mine\nnonsense { here\n192.0.2.21 # nobody\n";
  auto with = read_custom({.custom = custom, .node_hosts = nodes, .corefile = k3s_corefile}),
       without = read_custom({.custom = custom, .node_hosts = nodes});
  // What it is measured by isn't here.
  CHECK(with.problems == words{"Corefile: plugin prometheus isn't known here"});
  CHECK(without.problems.empty());
  for (auto* c : {&with, &without}) {
    auto& all = c->everything;
    CHECK(host(all, "nas").starts_with("192…7/"));
    CHECK(host(all, "mine").starts_with("192…20/"));
    CHECK(host(all, "other") == "on");
    CHECK(all.cluster_names);
    CHECK(all.forward_of("a.corp")->to);
    CHECK(c->zone_of("x.lan").forward_of("x.lan")->to);
    CHECK_FALSE(c->zone_of("x.lan").cluster_names);
    CHECK(all.kept.time_of("x", true, 3600) == std::chrono::seconds(30));
    CHECK(c->machine.cache == cache_options{});
    CHECK(c->cluster_ttl == 5);
  }
}

TEST_CASE("corefile: another's is obeyed, and what isn't is told") {
  auto c = read_custom({.custom = {{"a.hosts", "192.0.2.9 printer.lan\n"}, {"broken.override", "hosts {"}},
                        .corefile = R"(
.:53 {
    kubernetes k8s.test in-addr.arpa {
        ttl 30
        pods verified
        fallthrough
    }
    cache 60 {
        disable success k8s.test
        prefetch 10
        serve_stale 30m verify
    }
    import /etc/coredns/custom/*.override
    import snippets
    forward . /etc/resolv.conf {
        max_concurrent 100
        policy sequential
        tls_servername
    }
}
k8s.test:53 {
    kubernetes k8s.test
}
lan:53 {
    hosts /etc/coredns/custom/a.hosts /etc/coredns/custom/b.hosts
    forward . tls://192.0.2.1 192.0.2.2:5353 /etc/resolv.conf {
        health_check 5s nonsense
    }
}
b.test:1053 {
}
import /etc/coredns/other/*
)",
                        .domain = "k8s.test"});
  CHECK(c.cluster_ttl == 30);
  CHECK(c.machine.cache.success == std::chrono::seconds(60));
  CHECK(c.machine.cache.stale == std::chrono::minutes(30));
  CHECK_FALSE(c.machine.cache.stale_at_once);
  CHECK(c.machine.first == forward_options::order::listed);
  CHECK(c.machine.at_once == 100);
  CHECK(c.zone_of("a.k8s.test").cluster_names);
  CHECK(host(c.zone_of("printer.lan"), "printer.lan") == "192…9/3600");
  CHECK(c.zone_of("x.lan").forward_of("x.lan")->to->upstreams_text() == "tls://192.0.2.1:853, 192.0.2.2:5353");
  CHECK(c.problems == words{"broken.override: line 1: a block has no end",
                            "Corefile: import snippets: there is no such file here",
                            "Corefile: plugin cache: \"prefetch 10\" isn't known here",
                            "Corefile: plugin kubernetes: \"pods verified\" isn't known here",
                            "Corefile: plugin forward: \"tls_servername\" isn't known here",
                            "Corefile: plugin hosts: there is no file /etc/coredns/custom/b.hosts here",
                            "Corefile: plugin forward: \"/etc/resolv.conf\" beside others can't be asked here",
                            "Corefile: plugin forward: \"health_check 5s nonsense\" isn't known here",
                            "Corefile: zone b.test:1053 can't be served here",
                            "Corefile: import /etc/coredns/other/*: there is no such file here"});
  // Names are more than the file's fault.
  auto broken = read_custom({.custom = {{"a.override", "hosts {\n 192.0.2.7 nas\n}\n"}}, .corefile = ".:53 {\n"});
  CHECK(broken.problems == words{"Corefile: line 1: a server block has no end; as if there were none"});
  CHECK(host(broken.everything, "nas") == "192…7/3600");
}

TEST_CASE("custom names: what the asker brings is none of the rule's text") {
  auto c = read_custom(
      {.custom = {{"a.override", "rewrite name regex ^([^.]+)[.]([^.]+)[.]([^.]+)[.]x[.]$ {3}.{1}.{2}.{7}.test"}}});
  CHECK(c.problems.empty());
  CHECK(c.everything.rewritten("a.b.c.x") == "c.a.b.{7}.test");
  // Each of these in the place of the one before: a name that is many times as long.
  CHECK(c.everything.rewritten("{2}{2}{2}.{3}{3}{3}.zz.x") == "zz.{2}{2}{2}.{3}{3}{3}.{7}.test");
}

TEST_CASE("custom names: a configuration that would fill each node is told, and ends") {
  constexpr std::size_t bytes = 900 * 1024;  // nearly all that a ConfigMap holds
  auto many = [&](auto one) {
    std::string out;
    for (std::size_t i = 0; out.size() < bytes; ++i) out += one(i);
    return out;
  };
  std::string zones;
  for (int i = 0; i < 250; ++i) zones += "z" + std::to_string(i) + ".test ";
  auto served = [&](auto one) { return zones + "{\n" + many(one) + "}\n"; };
  auto number = [](std::size_t i) { return std::to_string(i); };
  const std::pair<const char*, std::string> all[] = {
      {"plugins", served([&](auto i) { return "p" + number(i) + "\n"; })},
      {"rewrites", served([&](auto i) { return "rewrite name regex ^" + number(i) + "(.*)$ b\n"; })},
      {"templates", served([&](auto i) { return "template IN A {\n match " + number(i) + "\n}\n"; })},
      {"forwards", served([&](auto i) { return "forward f" + number(i) + " 192.0.2.1\n"; })},
      {"names of one address",
       "test {\nhosts {\n192.0.2.1 " + many([&](auto i) { return "h" + number(i) + ".test "; }) + "\n}\n}\n"},
      {"addresses of one name", "test {\nhosts {\n" + many([&](auto i) {
                                  return "10." + number(i >> 16) + "." + number(i >> 8 & 255) + "." + number(i & 255) +
                                         " h.test\n";
                                }) + "}\n}\n"},
  };
  auto again = many([](auto) { return "import /etc/coredns/custom/*.override\n"; });
  auto imports = read_custom({.custom = {{"a.override", many([&](auto i) { return "p" + number(i) + "\n"; })}},
                              .corefile = ".:53 {\n" + again + "}\n"});
  CHECK(imports.problems.size() <= custom_problems_max + 1);
  for (auto& [what, text] : all) {
    CAPTURE(what);
    auto c = read_custom({.custom = {{"a.server", text}}, .node_hosts = "192.0.2.20 mine"});
    CHECK_FALSE(c.problems.empty());
    CHECK(c.problems.size() <= custom_problems_max + 1);
    std::size_t rules = 0, hosts = 0;
    for (auto& z : c.zones) {
      rules += z.rewrites.size() + z.templates.size() + z.forwards.size();
      if (!z.hosts) continue;
      for (auto& [name, addresses] : z.hosts->addresses) hosts += addresses.size();
    }
    CHECK(rules <= custom_patterns_max);
    CHECK(hosts <= custom_hosts_max);
    CHECK(host(c.everything, "mine") == "192…20/60");  // the nodes' own aren't less for it
  }
}

TEST_CASE("custom names: this resolver isn't asked again by itself") {
  auto c = read_custom({.custom = {{"a.override", "forward . 10.43.0.10 dns://10.43.0.10:53 [fd00::a]:53"}},
                        .own = {ip("10.43.0.10"), ip("fd00::a")}});
  CHECK(c.problems == words{"a.override: plugin forward: \"10.43.0.10\" is this resolver itself",
                            "a.override: plugin forward: \"dns://10.43.0.10:53\" is this resolver itself",
                            "a.override: plugin forward: \"[fd00::a]:53\" is this resolver itself"});
  CHECK(c.everything.forward_of("example.com"));  // and nobody else is, as of all that can't be asked
}
