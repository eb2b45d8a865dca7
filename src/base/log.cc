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

// Bytes of the UTF-8 sequence that `text` begins with (RFC 3629); 0: it begins with none.
std::size_t utf8_length(std::string_view text) {
  auto at = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto more = [&](std::size_t i) { return (at(i) & 0xc0) == 0x80; };
  unsigned c = at(0);
  if (c < 0x80) return 1;
  if (c >= 0xc2 && c <= 0xdf && more(1)) return 2;
  bool surrogate = c == 0xed && at(1) >= 0xa0, long_form = (c == 0xe0 && at(1) < 0xa0) || (c == 0xf0 && at(1) < 0x90);
  if (c >= 0xe0 && c <= 0xef && more(1) && more(2) && !surrogate && !long_form) return 3;
  if (c >= 0xf0 && c <= 0xf4 && more(1) && more(2) && more(3) && !long_form && !(c == 0xf4 && at(1) >= 0x90)) return 4;
  return 0;
}

// What clients send may stand in a message: bytes that aren't UTF-8 would make the line unreadable for a strict parser.
std::string json_quote(std::string_view text) {
  std::string q = "\"";
  while (!text.empty()) {
    auto length = utf8_length(text);
    if (length != 1) {
      q += length ? text.substr(0, length) : "\\ufffd";
      text.remove_prefix(length ? length : 1);
      continue;
    }
    auto c = static_cast<unsigned char>(text.front());
    text.remove_prefix(1);
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
