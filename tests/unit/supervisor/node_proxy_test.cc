#include "supervisor/node_proxy.h"

#include <doctest/doctest.h>

#include "json/parse.h"

using namespace kedge;
using namespace kedge::supervisor;

TEST_CASE("the name of a proxied resource has scheme, name and port") {
  using row = std::pair<const char*, proxied_name>;
  for (auto& [text, wanted] : {row{"web", {"", "web", ""}}, row{"web:8080", {"", "web", "8080"}}, row{"web:http", {"", "web", "http"}},
                               row{"https:web:8443", {"https", "web", "8443"}}, row{"http:web:", {"http", "web", ""}}, row{":web:", {"", "web", ""}}}) {
    auto got = parse_proxied_name(text);
    REQUIRE_MESSAGE(got.has_value(), text);
    CHECK_MESSAGE(*got == wanted, text);
  }
  for (auto* bad : {"", ":", "web:", "ftp:web:21", "a:b:c:d", "https::8443", "web:80/x"}) CHECK_MESSAGE(!parse_proxied_name(bad).has_value(), bad);
}

TEST_CASE("a Node says where its kubelet is") {
  auto node = json::parse(R"({"status":{"addresses":[{"type":"Hostname","address":"edge-1"},{"type":"ExternalIP","address":"1.2.3.4"},
    {"type":"InternalIP","address":"10.0.0.1"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":10350}}}})");
  CHECK(kubelet_port_of(*node) == 10350);
  CHECK(address_of(*node) == "10.0.0.1");
  CHECK(kubelet_port_of({}) == 10250);
  CHECK(address_of({}).empty());
}
