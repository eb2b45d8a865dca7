// info.cc: `-info`, by which containerd 2 asks what a shim and its OCI runtime can do.

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "base/kubernetes_version.h"
#include "base/protobuf_wire.h"
#include "shim/arguments.h"
#include "shim/files.h"
#include "shim/limits.h"
#include "shim/messages.h"
#include "shim/runtime.h"
#include "shim/spawn.h"

namespace kedge::shim {

namespace {

// What `runc features` prints, JSON; empty where the runtime has no such command.
std::string features_of(const std::string& binary) {
  auto output = memory_file({});
  if (!output) return {};
  auto pid = spawn({.argv = {binary, "features"}, .out = output->get()});
  int status = 0;
  if (!pid || ::waitpid(*pid, &status, 0) < 0 || status != 0) return {};
  return read_all(output->get(), output_bytes_max);
}

}  // namespace

// RuntimeInfo: name 1, version 2 (version 1, revision 2), options 3, features 4.
int tell_info() {
  auto given = read_all(0, output_bytes_max);
  auto message = decode_any(given);
  auto options =
      message ? decode_options(*message, [](const std::string& path) { return read_file(path, output_bytes_max); })
              : result<runtime_options>(fail(message.error()));
  if (!options) {
    std::fprintf(stderr, "failed to read runtime options: %s\n", options.error().message.c_str());
    return 1;
  }
  auto binary = choose_runtime(options->binary);
  if (binary.empty()) {
    std::fprintf(stderr, "failed to look up the path of the OCI runtime\n");
    return 1;
  }
  wire::writer out;
  out.text(1, "io.containerd.kedge.v2").message(2, wire::writer().text(1, kedge_version).take());
  if (!message->type.empty()) out.message(3, encode_any("containerd.runc.v1.Options", encode_options(*options)));
  if (auto features = features_of(binary); !features.empty())
    out.message(4, encode_any("types.containerd.io/opencontainers/runtime-spec/1/features/Features", features));
  return write_all(1, out.take()) ? 0 : 1;
}

}  // namespace kedge::shim
