#include "supervisor/config_document.h"

#include <doctest/doctest.h>

#include "json/parse.h"
#include "json/write.h"
#include "k3s_config.h"

using namespace kedge;
using namespace kedge::supervisor;

namespace {

// As the K3s server of k3s_config was started.
config same_settings() {
  config c;
  c.data_dir = "/var/lib/rancher/k3s";
  c.node_name = "k3sn";
  c.cluster_cidrs = {"10.42.0.0/16"};
  c.service_cidrs = {"10.43.0.0/16"};
  c.cluster_dns = {"10.43.0.10"};
  c.flannel_backend = "none";
  c.write_kubeconfig = "/var/lib/rancher/k3s-kc.yaml";
  c.disables = {"coredns", "local-storage", "metrics-server", "servicelb", "traefik"};
  c.default_local_storage_path = "/var/lib/rancher/k3s/storage";
  c.disable_network_policy = true;
  return c;
}

}  // namespace

TEST_CASE("the answer to an agent has K3s's fields, and its values where the servers are alike") {
  const auto theirs = json::parse(k3s_config);
  REQUIRE(theirs);
  std::vector<std::string> sans;
  for (const auto& s : *(*theirs)["SANs"].array()) sans.emplace_back(s.as_string());
  const auto ours = config_document(same_settings(), std::string((*theirs)["IPSECPSK"].as_string()), sans);
  REQUIRE(ours.is_object());
  for (const auto& [name, value] : *theirs->object()) {
    CAPTURE(name);
    const auto* found = ours.find(name);
    REQUIRE(found != nullptr);
    if (name == "APIServerPort") {
      CHECK(*found == json::value(6443));  // one port for all
    } else {
      CHECK(json::write(*found) == json::write(value));
    }
  }
  for (const auto& [name, value] : *ours.object()) {
    CAPTURE(name);
    CHECK(theirs->find(name) != nullptr);
  }
}

TEST_CASE("the answer to an agent tells no secret but the one it is for") {
  auto c = same_settings();
  c.token = "server-secret";
  c.agent_token = "agent-secret";
  const auto text = json::write(config_document(c, std::string(96, 'a'), {"127.0.0.1"}));
  CHECK(text.find("-secret") == std::string::npos);
}

TEST_CASE("addresses are counted from the start of a range") {
  struct row {
    const char* cidr;
    unsigned offset;
    const char* address;
  };
  for (const auto& r : {row{"10.43.0.0/16", 1, "10.43.0.1"}, row{"10.43.0.0/16", 10, "10.43.0.10"},
                        row{"10.43.0.255/16", 1, "10.43.0.1"}, row{"fd00:43::/112", 1, "fd00:43::1"},
                        row{"fd00:43::ffff/112", 1, "fd00:43::1"}, row{"10.43.0.0", 1, ""}, row{"10.43.0.0/33", 1, ""},
                        row{"nonsense/8", 1, ""}, row{"", 1, ""}}) {
    CAPTURE(r.cidr);
    CHECK(first_address(r.cidr, r.offset) == r.address);
  }
}
