// main.cc: containerd-shim-kedge-v2.

#include <cstdio>

#include "base/kubernetes_version.h"
#include "shim/arguments.h"

int main(int argc, char** argv) {
  using namespace kedge::shim;
  auto a = read_arguments(argc, argv);
  if (!a) {
    std::fprintf(stderr, "containerd-shim-kedge-v2: %s\n", a.error().message.c_str());
    return 2;
  }
  if (a->version) {
    std::printf("containerd-shim-kedge-v2:\n  Version:  %s\n", kedge::kedge_version);
    return 0;
  }
  if (a->info) return tell_info();
  if (a->space.empty()) {
    std::fprintf(stderr, "containerd-shim-kedge-v2: shim namespace cannot be empty\n");
    return 1;
  }
  if (a->action == "start") return start(*a);
  if (a->action == "delete") return clean_up(*a);
  return serve(*a);
}
