// arguments.h: how containerd calls a shim (its core/runtime/v2/README.md).
#pragma once

#include <string>

#include "base/error.h"

namespace kedge::shim {

struct arguments {
  std::string space;           // -namespace
  std::string id;              // -id: of the container
  std::string bundle;          // -bundle: only for delete
  std::string address;         // -address: containerd's, for gRPC
  std::string publish_binary;  // -publish-binary
  bool debug = false;          // -debug: containerd logs in detail; given on, a shim has nothing more to say
  bool version = false, info = false;
  std::string action;  // "start", "delete", or empty: serve
};

// In the syntax of Go's flag package: -name value, -name=value, with one dash or two.
result<arguments> read_arguments(int argc, char** argv);

// The actions; each is a process's main function and gives its exit code.
int start(const arguments& a);
int clean_up(const arguments& a);
int tell_info();
int serve(const arguments& a);

}  // namespace kedge::shim
