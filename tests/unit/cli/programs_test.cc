#include "cli/commands/programs.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "temporary.h"

using namespace kedge;
using namespace kedge::cli;
using namespace kedge::cli::commands;
using words = std::vector<std::string>;
using variables = std::vector<std::pair<std::string, std::string>>;

namespace {

machine with_programs(const temporary_folder& folder, variables more = {}) {
  for (const char* name : {"bin/kubectl", "bin/crictl", "bin/ctr"}) folder.write(name, "#!/bin/sh\n", 0755);
  more.emplace_back("PATH", folder.path + "/empty:" + folder.path + "/bin");
  more.emplace_back("HOME", folder.path);
  return {.environment = std::move(more), .host_name = "h", .root = true};
}

}  // namespace

TEST_CASE("kubectl gets the kubeconfig of the server, unless told otherwise") {
  const temporary_folder folder;
  const auto file = folder.write("k3s.yaml", "");
  const auto here = with_programs(folder, {{"K3S_KUBECONFIG_OUTPUT", file}});
  const auto plan = plan_kubectl({"get", "nodes"}, here);
  REQUIRE(plan);
  CHECK(plan->path == folder.path + "/bin/kubectl");
  CHECK(plan->arguments == words{"get", "nodes"});
  CHECK(plan->additions == variables{{"KUBECONFIG", file}});

  CHECK(plan_kubectl({"--kubeconfig=/x", "get"}, here)->additions.empty());
  CHECK(plan_kubectl({"--kubeconfig", "/x", "get"}, here)->additions.empty());
  CHECK(plan_kubectl({"get"}, with_programs(folder, {{"KUBECONFIG", "/mine"}}))->additions.empty());
  // Behind -- stands another program's command line.
  CHECK(plan_kubectl({"exec", "p", "--", "x", "--kubeconfig=/x"}, here)->additions.size() == 1);
}

TEST_CASE("--data-dir is Kedge's own and names that server's kubeconfig") {
  const temporary_folder folder;
  const auto admin = folder.write("data/server/cred/admin.kubeconfig", "");
  for (const auto& given : {words{"--data-dir", folder.path + "/data", "get", "nodes"},
                            words{"get", "nodes", "--data-dir=" + folder.path + "/data"}}) {
    const auto plan = plan_kubectl(given, with_programs(folder, {{"KUBECONFIG", "/mine"}}));
    REQUIRE(plan);
    CHECK(plan->arguments == words{"get", "nodes"});
    CHECK(plan->additions == variables{{"KUBECONFIG", admin}});
  }
  const auto absent = plan_kubectl({"--data-dir=" + folder.path + "/none", "get"}, with_programs(folder));
  REQUIRE(!absent);
  CHECK(absent.error().code == errc::not_found);
}

TEST_CASE("a program that is missing says how to install it") {
  const temporary_folder folder;
  const machine bare = {
      .environment = {{"PATH", folder.path}, {"KUBECONFIG", "/mine"}}, .host_name = "h", .root = true};
  const auto plan = plan_kubectl({}, bare);
  REQUIRE(!plan);
  CHECK(plan.error().message.starts_with("kubectl is not installed: "));
  CHECK(plan.error().message.find("kubernetes-client") != std::string::npos);
}

TEST_CASE("a link to this very program is not taken for the real one") {
  const temporary_folder folder;
  const auto here = with_programs(folder);
  std::filesystem::create_directories(folder.path + "/empty");
  std::filesystem::create_symlink("/proc/self/exe", folder.path + "/empty/kubectl");
  CHECK(*find_program("kubectl", here) == folder.path + "/bin/kubectl");
}

TEST_CASE("crictl and ctr are pointed at this node's containerd") {
  const temporary_folder folder;
  const auto here = with_programs(folder);
  CHECK(plan_crictl({"--data-dir", folder.path, "ps"}, here)->additions ==
        variables{{"CONTAINER_RUNTIME_ENDPOINT", "unix:///run/k3s/containerd/containerd.sock"}});
  const auto file = folder.write("agent/etc/crictl.yaml", "");
  const auto plan = plan_crictl({"--data-dir", folder.path, "ps"}, here);
  CHECK(plan->additions == variables{{"CRI_CONFIG_FILE", file}});
  CHECK(plan->arguments == words{"ps"});
  CHECK(plan_ctr({"images", "ls"}, here)->additions ==
        variables{{"CONTAINERD_ADDRESS", "/run/k3s/containerd/containerd.sock"}, {"CONTAINERD_NAMESPACE", "k8s.io"}});
}
