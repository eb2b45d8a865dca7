#include "balancer/state_file.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace kedge;

TEST_CASE("the state file is K3s's, byte for byte") {
  CHECK(balancer::state_text("https://fixed:6443", {"10.0.0.1:6443", "[fd00::1]:6443"}) ==
        "{\n  \"ServerURL\": \"https://fixed:6443\",\n  \"ServerAddresses\": [\n    \"10.0.0.1:6443\",\n    "
        "\"[fd00::1]:6443\"\n  ]\n}");
  CHECK(balancer::state_text("https://fixed:6443", {}) ==
        "{\n  \"ServerURL\": \"https://fixed:6443\",\n  \"ServerAddresses\": []\n}");
  auto text = balancer::state_text("https://fixed:6443", {"a:1", "b:2"});
  CHECK(balancer::parse_state(text, "https://fixed:6443").value() == std::vector<std::string>{"a:1", "b:2"});
  CHECK(balancer::parse_state(text, "https://other:6443").value().empty());
  CHECK(balancer::parse_state("{\"ServerURL\":\"u\",\"ServerAddresses\":null}", "u").value().empty());
  CHECK_FALSE(balancer::parse_state("[]", "u").has_value());
  CHECK_FALSE(balancer::parse_state(text.substr(0, 40), "u").has_value());
}

TEST_CASE("the state file is written whole and read back") {
  char pattern[] = "/tmp/kedge-balancer-XXXXXX";
  std::string folder = mkdtemp(pattern);
  auto path = folder + "/state.json";
  CHECK(balancer::read_state_file(path, "https://f").value().empty());
  REQUIRE(balancer::write_state_file(path, balancer::state_text("https://f", {"a:1"})).has_value());
  CHECK(balancer::read_state_file(path, "https://f").value() == std::vector<std::string>{"a:1"});
  CHECK(std::filesystem::status(path).permissions() == static_cast<std::filesystem::perms>(0644));
  std::ofstream(path) << "torn {";
  CHECK_FALSE(balancer::read_state_file(path, "https://f").has_value());
  CHECK_FALSE(balancer::write_state_file(folder + "/none/x", "{}").has_value());
  std::filesystem::remove_all(folder);
}

TEST_CASE("the default server of a URL") {
  using row = std::pair<const char*, const char*>;
  for (auto [url, address] :
       {row{"https://a:6443", "a:6443"}, row{"https://a", "a:443"}, row{"http://a/x", "a:80"},
        row{"https://[fd00::1]", "[fd00::1]:443"}, row{"https://[fd00::1]:6443/", "[fd00::1]:6443"}})
    CHECK(balancer::default_address(url).value() == address);
  for (auto* bad : {"a:6443", "", "https://", "https://user@a"})
    CHECK_FALSE(balancer::default_address(bad).has_value());
}
