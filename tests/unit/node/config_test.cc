#include "node/config.h"

#include <doctest/doctest.h>

using namespace kedge;
using namespace kedge::node;

TEST_CASE("a node taint is key, optional value, and effect") {
  struct row {
    const char* text;
    taint wanted;
  };
  for (auto& [text, wanted] : {
           row{"k3s-controlplane=true:NoExecute", {"k3s-controlplane", "true", "NoExecute"}},
           row{"example.com/dedicated:NoSchedule", {"example.com/dedicated", "", "NoSchedule"}},
           row{"a=:PreferNoSchedule", {"a", "", "PreferNoSchedule"}},
       }) {
    CAPTURE(text);
    CHECK(parse_taint(text).value() == wanted);
  }
  for (auto* bad : {"", "a", "a=b", "a=b:Never", "=b:NoSchedule", "a b=c:NoSchedule", "a=b c:NoSchedule",
                    "a=b:", "/a=b:NoSchedule", "-a=b:NoSchedule", "UPPER.example/a=b:NoSchedule"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_taint(bad));
  }
}

TEST_CASE("a node label is key=value in Kubernetes' grammar") {
  CHECK(parse_label("zone=a").value() == std::pair<std::string, std::string>("zone", "a"));
  CHECK(parse_label("example.com/x=").value() == std::pair<std::string, std::string>("example.com/x", ""));
  std::string long_name(63, 'a');
  CHECK(parse_label(long_name + "=b"));
  CHECK_FALSE(parse_label(long_name + "a=b"));
  for (auto* bad : {"", "zone", "=a", "zone=a b", "zone=-a", "zone=a=b", "a/b/c=d"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_label(bad));
  }
}

TEST_CASE("the configuration's hash is K3s's") {
  CHECK(config_hash(R"(["agent"])", "{}") == "VAWHMSYNSNUR43ZLPF5HNYNNZAVNFT4N6LI6244Z75TE72KHCAKA====");
}

TEST_CASE("only K3s's own data folder uses K3s's runtime folder") {
  CHECK(default_runtime_state_folder("/var/lib/rancher/k3s") == "/run/k3s/containerd");
  auto other = default_runtime_state_folder("/srv/node-2");
  CHECK(other != "/run/k3s/containerd");
  CHECK(other.size() + sizeof "/containerd.sock.ttrpc" < 108);  // sun_path
}
