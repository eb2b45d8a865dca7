#include "node/policy/spans.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "json/parse.h"
#include "node/policy/records.h"

using namespace kedge;
using namespace kedge::node;

TEST_CASE("policies: spans are united, and what is excepted is taken out of them") {
  auto peers = [](const std::string& text) {
    auto policy = json::parse(
        R"({"metadata":{"namespace":"x","name":"p"},"spec":{"podSelector":{},"ingress":[{"from":)" + text + "}]}}");
    return *decode_policy(policy.value())->ingress[0].peers;
  };
  auto told = [&](const std::string& text, bool v4 = true) {
    std::string out;
    for (auto& s : addresses_of_blocks(peers(text), v4)) {
      char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
      ::inet_ntop(v4 ? AF_INET : AF_INET6, s.from.data(), from, sizeof from);
      ::inet_ntop(v4 ? AF_INET : AF_INET6, s.to.data(), to, sizeof to);
      out += std::string(from) + "-" + to + " ";
    }
    return out;
  };
  CHECK(told(R"([{"ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.0/16","10.255.0.0/16"]}}])") ==
        "10.0.0.0-10.0.255.255 10.2.0.0-10.254.255.255 ");
  CHECK(told(R"([{"ipBlock":{"cidr":"0.0.0.0/0","except":["0.0.0.0/1","255.255.255.255/32"]}}])") ==
        "128.0.0.0-255.255.255.254 ");
  // What one block excepts another has; neighbours are one.
  CHECK(told(R"([{"ipBlock":{"cidr":"10.0.0.0/24","except":["10.0.0.7/32"]}},{"ipBlock":{"cidr":"10.0.0.7/32"}},)"
             R"({"ipBlock":{"cidr":"10.0.1.0/24"}}])") == "10.0.0.0-10.0.1.255 ");
  CHECK(told(R"([{"ipBlock":{"cidr":"10.0.0.0/24","except":["10.0.0.0/24"]}}])").empty());
  CHECK(told(R"([{"ipBlock":{"cidr":"fd00::/16","except":["fd00:1::/32"]}},{"ipBlock":{"cidr":"10.0.0.0/8"}}])",
             false) == "fd00::-fd00:0:ffff:ffff:ffff:ffff:ffff:ffff fd00:2::-fd00:ffff:ffff:ffff:ffff:ffff:ffff:ffff ");
  auto ports = numbers_of_ports({{transport::tcp, 80, 90},
                                 {transport::udp, 85, 85},
                                 {transport::tcp, 91, 95},
                                 {transport::tcp, 82, 83},
                                 {transport::tcp, 0, 0, "web"},
                                 {transport::tcp, 97, 97}});
  CHECK(ports == std::vector<port_span>{{transport::tcp, 80, 95}, {transport::tcp, 97, 97}, {transport::udp, 85, 85}});
}
