#include "node/machine/oom_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/strings.h"
#include "reactor/descriptor.h"

namespace kedge::node {

namespace {

constexpr std::size_t record_bytes_max = 8192;  // CONSOLE_EXT_LOG_MAX: of one read of /dev/kmsg

// What is between `name` and the next comma, or the end.
std::optional<std::string_view> member(std::string_view line, std::string_view name) {
  auto at = line.find(name);
  if (at == std::string_view::npos) return std::nullopt;
  auto rest = line.substr(at + name.size());
  return rest.substr(0, rest.find(','));
}

}  // namespace

std::optional<oom_kill> oom_parser::take(std::string_view message) {
  if (message.contains("invoked oom-killer:")) {
    now_ = {};
    begun_ = true;
    return std::nullopt;
  }
  if (!begun_) return std::nullopt;
  auto ended = [&] {
    begun_ = false;
    return std::optional(std::exchange(now_, {}));
  };
  if (message.contains("oom-kill:constraint=")) {
    auto group = member(message, ",oom_memcg="), task = member(message, ",task="), pid = member(message, ",pid=");
    if (!group || !task || !pid) return std::nullopt;  // the machine's: the line that follows has the process
    now_.group = *group;
    now_.process = *task;
    now_.pid = parse_int(*pid).value_or(0);
    return ended();
  }
  constexpr std::string_view killed = "Killed process ";
  if (auto at = message.find(killed); at != std::string_view::npos) {
    auto rest = message.substr(at + killed.size());
    auto open = rest.find(" ("), close = rest.find(')', open == std::string_view::npos ? 0 : open);
    auto pid = parse_int(rest.substr(0, open));
    if (!pid || close == std::string_view::npos) return std::nullopt;
    now_.pid = *pid;
    now_.process = rest.substr(open + 2, close - open - 2);
    return ended();
  }
  return std::nullopt;
}

task<result<void>> watch_oom_kills(std::string file, std::function<void(const oom_kill&)> tell) {
  auto fd = ::open(file.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) co_return fail(os_error(errno, "open " + file));
  (void)::lseek(fd, 0, SEEK_END);
  reactor::descriptor log(fd);
  oom_parser parser;
  std::array<char, record_bytes_max> record;
  for (;;) {
    // A record a read: "6,1234,5678,-;message", and lines of more that begin with a blank.
    auto n = ::read(log.fd(), record.data(), record.size());
    if (n > 0) {
      std::string_view text(record.data(), static_cast<std::size_t>(n));
      auto semicolon = text.find(';');
      text = text.substr(semicolon == std::string_view::npos ? 0 : semicolon + 1);
      if (auto kill = parser.take(text.substr(0, text.find('\n')))) tell(*kill);
      co_await reactor::maybe_yield();
    } else if (n < 0 && errno == EAGAIN) {
      KEDGE_CO_CHECK(co_await log.readable());
    } else if (n < 0 && (errno == EPIPE || errno == EINTR)) {
      co_await reactor::maybe_yield();  // records were overwritten before they were read: it goes on with the next
    } else {
      co_return fail(n == 0 ? error(errc::closed, file + " ended") : os_error(errno, "read " + file));
    }
  }
}

}  // namespace kedge::node
