#include "server/file_follower.h"

#include <chrono>

#include "api/configuration/limits.h"
#include "base/log.h"
#include "crypto/files.h"
#include "reactor/loop.h"
#include "reactor/offload.h"

namespace kedge::server {
namespace {

// kube-apiserver is told of changes by the kernel, and looks once a minute besides; people expect some seconds.
constexpr std::chrono::seconds look_again{2};

}  // namespace

task<void> follow_file(std::string path, std::string content, std::function<task<void>(std::string)> changed) {
  bool unreadable = false;
  for (;;) {
    co_await reactor::sleep_for(look_again);
    auto read =
        co_await reactor::offload([path] { return crypto::read_file(path, api::configuration_file_max_bytes); });
    if (!read) continue;  // too much waits there
    if (!*read) {
      if (!std::exchange(unreadable, true)) log::error("{} can't be read any more: {}", path, read->error().message);
      continue;
    }
    unreadable = false;
    if (**read == content) continue;
    content = **std::move(read);
    co_await changed(content);
  }
}

}  // namespace kedge::server
