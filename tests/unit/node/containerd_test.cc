// The real containerd, started in a folder of the test's own.
#include "node/runtime/containerd.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/files.h"
#include "loop.h"
#include "node/network/cni_config.h"
#include "node/runtime/cri.h"
#include "support/skipped.h"
#include "support/temporary_folder.h"

using namespace kedge;
using namespace kedge::node;
using namespace std::chrono_literals;

namespace {

bool can_run_containerd() {
  if (::geteuid() == 0 && !find_program("containerd", "").empty()) return true;
  tests::skip("needs root and containerd (apt-get install containerd)");
  return false;
}

agent_config config_in(const temporary_folder& folder) {
  agent_config c;
  c.data_dir = folder.path() + "/data";
  c.runtime_state_folder = folder.path() + "/run";
  return c;
}

// Asks until it answers: at most 10 s.
task<result<cri_version>> first_version(cri_client& cri, containerd& daemon) {
  std::string last;
  for (int i = 0; i < 200; ++i) {
    cri.use(daemon.socket());
    auto v = co_await cri.version();
    if (v) co_return v;
    last = v.error().message;
    co_await reactor::sleep_for(50ms);
  }
  co_return fail(errc::timeout, "containerd does not answer: " + last + "; " + daemon.problem());
}

}  // namespace

TEST_CASE("containerd is started, answers, comes back after a crash, takes the network configuration, and stops") {
  if (!can_run_containerd()) return;
  temporary_folder folder;
  auto config = config_in(folder);
  test_loop t;
  t.run([](agent_config c) -> task<void> {
    containerd daemon(c);
    cri_client cri;
    reactor::scope children;
    children.spawn(daemon.run());
    auto version = co_await first_version(cri, daemon);
    NEEDS(version);
    CHECK(version->runtime_name == "containerd");
    struct stat root{};
    CHECK(::stat((c.data_dir + "/agent/containerd").c_str(), &root) == 0);
    CHECK((root.st_mode & 07777) == 0700);
    CHECK_FALSE(version->runtime_version.empty());
    CHECK(daemon.problem().empty());
    int first_pid = daemon.pid();

    auto status = co_await cri.status();
    NEEDS(status);
    CHECK(status->runtime.ready);
    CHECK_FALSE(status->network.ready);
    CHECK(status->network.reason == "NetworkPluginNotReady");
    CHECK((co_await cri.list_images()).value().empty());
    auto disks = co_await cri.image_fs_info();
    NEEDS(disks);
    CHECK(disks->size() == 1);

    CHECK(crypto::write_file(c.cni_conf_folder() + "/" + std::string(cni_file_name),
                             cni_conflist({.leases = c.data_dir + "/cni"})));
    bool network = false;
    for (int i = 0; i < 100 && !network; ++i) {
      network = (co_await cri.status()).value().network.ready;
      if (!network) co_await reactor::sleep_for(50ms);
    }
    CHECK(network);

    ::kill(first_pid, SIGKILL);
    for (int i = 0; i < 100 && daemon.pid() == first_pid; ++i) co_await reactor::sleep_for(20ms);
    CHECK(daemon.problem().contains("containerd ended with code 137"));
    CHECK((co_await first_version(cri, daemon)));
    CHECK(daemon.pid() != first_pid);

    co_await daemon.stop();
    CHECK_FALSE(daemon.running());
    CHECK(crypto::read_file(c.agent_folder() + "/containerd/containerd.log"));
    CHECK(crypto::read_file(c.agent_folder() + "/etc/crictl.yaml"));
  }(config));
}

TEST_CASE("without a containerd binary the problem says what to do") {
  temporary_folder folder;
  auto config = config_in(folder);
  config.containerd_binary = folder.path() + "/none";
  test_loop t;
  t.run([](agent_config c) -> task<void> {
    containerd daemon(c);
    reactor::scope children;
    children.spawn(daemon.run());
    for (int i = 0; i < 100 && !daemon.problem().contains("/none"); ++i) co_await reactor::sleep_for(10ms);
    CHECK(daemon.problem().starts_with("container runtime is down: "));
    CHECK(daemon.problem().contains(c.containerd_binary));
    co_await daemon.stop();
  }(config));
}

TEST_CASE("a runtime that isn't there is an error, not a wait") {
  test_loop t;
  t.run([]() -> task<void> {
    cri_client cri;
    CHECK((co_await cri.status()).error().code == errc::unavailable);
    cri.use("/nowhere/containerd.sock");
    CHECK_FALSE((co_await cri.status()));
  }());
}

TEST_CASE("runtime endpoints") {
  CHECK(runtime_socket("unix:///run/x.sock").value() == "/run/x.sock");
  CHECK(runtime_socket("/run/x.sock").value() == "/run/x.sock");
  CHECK_FALSE(runtime_socket("tcp://1.2.3.4:5"));
  CHECK_FALSE(runtime_socket(""));
  CHECK_FALSE(runtime_socket("/" + std::string(200, 'a')));
}
