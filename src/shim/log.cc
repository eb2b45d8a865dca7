#include "shim/log.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>

#include <array>
#include <string>

#include "base/descriptor.h"
#include "shim/json.h"

namespace kedge::shim {

namespace {

struct log_file {
  std::string path;
  descriptor fd;
};
log_file& file() {
  static log_file f;
  return f;
}

void reopen() { file().fd = descriptor(::open(file().path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC)); }

}  // namespace

void open_log(std::string_view bundle) {
  file().path = std::string(bundle) + "/log";
  reopen();
}

void log(std::string_view message) {
  auto& f = file();
  if (f.path.empty()) return;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  ::gmtime_r(&now.tv_sec, &parts);
  std::array<char, 32> time;
  auto n = ::strftime(time.data(), time.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  auto line = "time=\"" + std::string(time.data(), n) + "\" level=warning msg=" + json::quote(message) + "\n";
  // The reader may be another containerd than the last time.
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (f.fd && ::write(f.fd.get(), line.data(), line.size()) >= 0) return;
    if (f.fd && errno == EAGAIN) return;
    reopen();
  }
}

}  // namespace kedge::shim
