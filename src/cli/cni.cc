// cni.cc: kedge-cni, the CNI plugins as a program of their own. Links with their names lead to it
// (node/network/cni_config.h).

#include <cstdio>
#include <string_view>

#include "base/kubernetes_version.h"
#include "node/cni/plugin.h"

int main(int argc, char** argv) {
  std::string_view program = argc > 0 ? argv[0] : "";
  auto name = program.substr(program.find_last_of('/') + 1);
  if (kedge::node::cni::is_plugin(name)) return kedge::node::cni::run_plugin(name);
  if (argc != 2 || argv[1] != std::string_view("-v")) {
    std::fputs("kedge-cni is called by the name of a CNI plugin, or with -v\n", stderr);
    return 2;
  }
  std::puts(kedge::kedge_version);
  return 0;
}
