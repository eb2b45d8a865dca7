#include "node/services/conntrack_limits.h"

#include "namespaces.h"
#include "node/network/sysctl.h"

using namespace kedge;
using namespace kedge::node;

TEST_CASE("conntrack: limits grow with the machine, as kube-proxy's") {
  kube_proxy_settings usual;
  CHECK(wanted_connections(usual, 1) == 131'072);
  CHECK(wanted_connections(usual, 4) == 131'072);
  CHECK(wanted_connections(usual, 5) == 163'840);
  CHECK(wanted_connections(usual, 64) == 1'048'576);
  CHECK(wanted_connections({.conntrack_per_processor = 1000, .conntrack_min = 10}, 3) == 3'000);
  CHECK(wanted_connections({.conntrack_per_processor = 0}, 3) == 0);
}

TEST_CASE("conntrack: that it is full is told once, and once that it is over") {
  conntrack_fullness f;
  CHECK(f.see({.now = 949, .most = 1000}) == std::nullopt);
  CHECK(f.see({.now = 950, .most = 1000}) == true);
  CHECK(f.see({.now = 1000, .most = 1000}) == std::nullopt);
  CHECK(f.see({.now = 900, .most = 1000}) == std::nullopt);
  CHECK(f.see({.now = 799, .most = 1000}) == false);
  CHECK(f.see({.now = 0, .most = 1000}) == std::nullopt);
  CHECK(f.see({.now = 1, .most = 1}) == true);
}

TEST_CASE("conntrack: what a node may set is set, whatever it may not") {
  test_namespace node;
  if (!node) return;
  node.run([] {
    auto at = [](const char* name) { return read_sysctl(std::string("netfilter/nf_conntrack_") + name); };
    auto before = at("udp_timeout");
    if (!before) return;  // a kernel without it
    GOOD(write_sysctl("netfilter/nf_conntrack_tcp_timeout_established", "432000"));
    (void)apply_conntrack_limits({});
    CHECK(at("tcp_timeout_established") == 86'400);
    CHECK(at("tcp_timeout_close_wait") == 3'600);
    CHECK(at("tcp_be_liberal") == 0);
    CHECK(at("udp_timeout") == before);
    using namespace std::chrono_literals;
    (void)apply_conntrack_limits({.tcp_established = 0s, .tcp_close_wait = 77s, .udp = 44s, .tcp_be_liberal = true});
    CHECK(at("tcp_timeout_established") == 86'400);
    CHECK(at("tcp_timeout_close_wait") == 77);
    CHECK(at("tcp_be_liberal") == 1);
    CHECK(at("udp_timeout") == 44);
  });
}
