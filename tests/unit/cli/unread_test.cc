#include "cli/unread.h"

#include <doctest/doctest.h>

#include "temporary.h"

using namespace kedge;
using namespace kedge::cli;
using words = std::vector<std::string>;

namespace {

server_options options_in(const temporary_folder& folder) {
  server_options o;
  o.agent.data_dir = folder.path + "/data";
  return o;
}

words warnings(audience who, const server_options& o, const machine& here = {}) {
  auto found = look_for_unread(who, o, here);
  REQUIRE(found);
  std::erase_if(*found, [](auto& w) { return w.starts_with("/var/lib/rancher/"); });  // the machine's own
  return *found;
}

}  // namespace

TEST_CASE("files that nobody reads are told of, each by who would read it") {
  const temporary_folder folder;
  auto o = options_in(folder);
  CHECK(warnings(audience::server, o).empty());
  folder.write("data/agent/images/.cache.json", "");
  CHECK(warnings(audience::server, o).empty());
  folder.write("data/server/manifests/read.yaml", "");
  folder.write("data/agent/etc/containerd/config-v3.toml.tmpl", "");
  folder.write("data/agent/etc/containerd/rdt_config.yaml", "");
  const auto containerd = folder.path + "/data/agent/etc/containerd/";
  const words of_node = {containerd +
                             "config-v3.toml.tmpl has no effect: Kedge's configuration of containerd has version 2; "
                             "config.toml.tmpl and config.toml.d go with it",
                         containerd + "rdt_config.yaml has no effect: Kedge does not tell containerd of it yet"};
  CHECK(warnings(audience::agent, o) == of_node);
  CHECK(warnings(audience::server, o) == of_node);
  o.disable_agent = true;
  CHECK(warnings(audience::server, o).empty());
}

TEST_CASE("variables that nobody reads are told of") {
  const temporary_folder folder;
  const machine here{.environment = {{"K3S_TOKEN", "x"},
                                     {"K3S_CONFIG_FILE", "x"},
                                     {"K3S_URL", "x"},
                                     {"K3S_ROOTLESS_MTU", "1500"},
                                     {"K3S_TOKNE", "secret"},
                                     {"K3S_EMPTY", ""},
                                     {"CONTAINERD_LOG_LEVEL", "debug"},
                                     {"CONTAINERD_PATH", "x"},
                                     {"PATH", "x"}},
                     .host_name = "h"};
  CHECK(warnings(audience::agent, options_in(folder), here) ==
        words{"K3S_ROOTLESS_MTU has no effect: Kedge's agent needs root",
              "K3S_TOKNE has no effect: Kedge knows no such setting"});
}
