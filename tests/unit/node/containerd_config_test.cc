#include "node/runtime/containerd_config.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "crypto/files.h"
#include "json/parse.h"
#include "node/network/cni_config.h"
#include "support/temporary_folder.h"

using namespace kedge;
using namespace kedge::node;

TEST_CASE("the right to lower an oom score is capability 24") {
  CHECK(may_lower_oom_score("Name:\tx\nCapEff:\t000001ffffffffff\n"));
  CHECK_FALSE(may_lower_oom_score("CapEff:\t000001fffeffffff\n"));
  CHECK_FALSE(may_lower_oom_score("CapBnd:\t000001ffffffffff\n"));
  CHECK_FALSE(may_lower_oom_score(""));
}

TEST_CASE("containerd's configuration follows the settings") {
  containerd_settings s;
  s.root_folder = "/d/agent/containerd";
  s.state_folder = "/run/k3s/containerd";
  s.socket = "/run/k3s/containerd/containerd.sock";
  s.cni_bin_folder = "/usr/lib/cni";
  s.cni_conf_folder = "/d/agent/etc/cni/net.d";
  s.snapshotter = "overlayfs";
  s.pause_image = "p\"q";
  s.restrict_oom_score = true;
  auto text = containerd_config(s);
  for (auto* line :
       {"version = 2\n", "root = \"/d/agent/containerd\"\n", "state = \"/run/k3s/containerd\"\n",
        "  address = \"/run/k3s/containerd/containerd.sock\"\n", "  restrict_oom_score_adj = true\n",
        "  bin_dir = \"/usr/lib/cni\"\n", "  conf_dir = \"/d/agent/etc/cni/net.d\"\n",
        "  snapshotter = \"overlayfs\"\n", "  sandbox_image = \"p\\\"q\"\n", "  stream_server_port = \"10010\"\n"}) {
    CAPTURE(line);
    CHECK(text.contains(line));
  }
  CHECK(text.contains("  enable_selinux = false\n"));
  s.selinux = true;
  CHECK(containerd_config(s).contains("  enable_selinux = true\n"));
}

TEST_CASE("programs are found in PATH first, and only if they can be run") {
  CHECK(find_program("sh", "/nowhere:/bin") == "/bin/sh");
  CHECK(find_program("no-such-program-anywhere", "/bin").empty());
  CHECK(find_program("passwd", "/etc") != "/etc/passwd");
}

TEST_CASE("pods that K3s left are kept by K3s's containerd, and no others") {
  namespace fs = std::filesystem;
  temporary_folder folder;
  auto data = folder.path() + "/k3s", state = folder.path() + "/run";
  auto programs = data + "/data/current/bin";
  auto bundle = state + "/io.containerd.runtime.v2.task/k8s.io/0123";
  agent_config config;
  config.data_dir = data;
  config.runtime_state_folder = state;
  fs::create_directories(programs);
  fs::create_directories(bundle);
  fs::copy_file("/bin/sh", programs + "/containerd");
  fs::create_directories(data + "/bin");
  fs::copy_file("/bin/sh", data + "/bin/containerd");
  CHECK(detect_containerd(config).spare_binary.empty());
  // As Kedge's shim and those of containerd 1.6 have it; and what can't be read.
  for (auto* text : {R"({"version":2,"address":"unix:///run/containerd/s/1","protocol":"ttrpc"})", "{", "[3]"}) {
    CHECK(crypto::write_file(bundle + "/bootstrap.json", text));
    CHECK(detect_containerd(config).spare_binary.empty());
  }
  CHECK(crypto::write_file(bundle + "/bootstrap.json",
                           R"({"version":3,"address":"unix:///run/containerd/s/1","protocol":"ttrpc"})"));
  CHECK(detect_containerd(config).binary == data + "/bin/containerd");
  CHECK(detect_containerd(config).spare_binary == programs + "/containerd");
  config.containerd_binary = "/opt/containerd";
  CHECK(detect_containerd(config).binary == "/opt/containerd");
  CHECK(detect_containerd(config).spare_binary.empty());

  // Only what is too old for them gives way to K3s's.
  CHECK_FALSE(knows_newer_shims("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u2\n"));
  CHECK_FALSE(knows_newer_shims("containerd\n"));
  CHECK(knows_newer_shims("containerd github.com/containerd/containerd 1.7.24 1.7.24~ds1-6\n"));
  CHECK(knows_newer_shims("containerd github.com/containerd/containerd/v2 v2.1.4 75cb2b7\n"));
}

TEST_CASE("the network configuration is K3s's, and names places only where they are not the usual ones") {
  auto v = json::parse(cni_conflist({})).value();
  CHECK(v == json::parse(R"({"cniVersion":"1.0.0","name":"cbr0","plugins":[
    {"type":"flannel","delegate":{"hairpinMode":true,"forceAddress":true,"isDefaultGateway":true}},
    {"type":"portmap","capabilities":{"portMappings":true}}]})")
                 .value());
  auto own = json::parse(cni_conflist({.subnet_file = "/d/subnet.env", .leases = "/d/leases"})).value();
  CHECK(own["plugins"][0]["subnetFile"] == "/d/subnet.env");
  CHECK(own["plugins"][0]["ipam"]["dataDir"] == "/d/leases");
}
