#include "base/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <string>

#include "base/strings.h"
#include "base/time.h"

namespace kedge::log {

namespace {

// Set by configure before threads start, except `least`, which --debug may change while running.
std::atomic<level> least{level::info};
format form = format::text;
int out = STDERR_FILENO;

constexpr std::string_view names[] = {"debug", "info", "warning", "error"};

std::string json_quote(std::string_view text) {
  std::string q = "\"";
  for (unsigned char c : text) {
    if (c == '"' || c == '\\') {
      q += '\\';
      q += static_cast<char>(c);
    } else if (c < 0x20) {
      q += fmt::format("\\u{:04x}", c);
    } else {
      q += static_cast<char>(c);
    }
  }
  return q + "\"";
}

}  // namespace

bool configure(const options& o) {
  least = o.least;
  form = o.as;
  if (o.file) {
    int fd = open(o.file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return false;
    out = fd;
  }
  return true;
}

bool enabled(level l) noexcept { return l >= least.load(std::memory_order_relaxed); }

void write(level l, std::string_view message) {
  auto now = format_rfc3339_nano(system_wall_time());
  auto name = names[static_cast<int>(l)];
  auto line = form == format::text
                  ? fmt::format("time=\"{}\" level={} msg={}\n", now, name, quote(message))
                  : fmt::format("{{\"time\":\"{}\",\"level\":\"{}\",\"msg\":{}}}\n", now, name, json_quote(message));
  // One write per line keeps lines of several threads whole; a full pipe loses the line rather than stop a core.
  [[maybe_unused]] auto n = ::write(out, line.data(), line.size());
}

}  // namespace kedge::log
