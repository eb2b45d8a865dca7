#include "server/etcd/member_process.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/log.h"
#include "base/strings.h"
#include "reactor/loop.h"
#include "reactor/offload.h"

namespace kedge::server {

namespace {

constexpr auto restart_pause = std::chrono::seconds(1);
// One that runs for so long has started; and so many that didn't, in a row, never will.
constexpr auto started_after = std::chrono::seconds(20);
constexpr int starts_max = 5;
constexpr auto stop_time = std::chrono::seconds(10);        // etcd hands its leadership over first
constexpr std::size_t last_words_bytes = 64 * 1024;         // it says much when it stops
constexpr std::uintmax_t log_bytes_max = 16 * 1024 * 1024;  // of warnings; it begins anew beyond that
constexpr auto log_look = std::chrono::minutes(1);

// Empty: this process's own. Before 3.5 etcd starts on arm64 only where it is told that nobody tests it there.
std::vector<std::string> environment() {
  std::vector<std::string> out;
#if defined(__aarch64__)
  for (char** variable = environ; *variable; ++variable) out.emplace_back(*variable);
  out.emplace_back("ETCD_UNSUPPORTED_ARCH=arm64");
#endif
  return out;
}

bool runs(const std::string& path) { return ::access(path.c_str(), X_OK) == 0; }

// The end of a file, from there on.
std::string tail(const std::string& path, std::size_t begin) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return {};
  auto size = static_cast<std::size_t>(in.tellg());
  if (begin > size) begin = 0;  // it was cut
  auto from = std::max(begin, size > last_words_bytes ? size - last_words_bytes : 0);
  in.seekg(static_cast<std::streamoff>(from));
  std::string out(size - from, '\0');
  in.read(out.data(), static_cast<std::streamsize>(out.size()));
  return out;
}

std::string last_line(std::string_view text) {
  text = trim(text);
  auto last = text.rfind('\n');
  return std::string(last == std::string_view::npos ? text : text.substr(last + 1));
}

// Whether etcd says that, of itself: its messages are fixed texts. What stands beside them, such as the key of a
// request that took long, users have named, and a Role may be called anything.
bool says(std::string_view log, std::string_view words) {
  constexpr std::string_view begin = "\"msg\":\"";  // quotes within a value are escaped
  for (auto at = log.find(begin); at != log.npos; at = log.find(begin, at)) {
    at += begin.size();
    if (log.substr(at, log.find('"', at) - at).find(words) != log.npos) return true;
  }
  return false;
}

}  // namespace

result<std::string> find_etcd(const std::string& wanted) {
  if (!wanted.empty()) return wanted;
  std::error_code failed;
  auto self = std::filesystem::read_symlink("/proc/self/exe", failed);
  if (auto beside = self.parent_path() / "etcd"; !failed && runs(beside)) return beside.string();
  const char* path = std::getenv("PATH");
  for (auto folder : split(path ? path : "/usr/bin:/usr/local/bin", ':'))
    if (auto there = std::string(folder) + "/etcd"; !folder.empty() && runs(there)) return there;
  return fail(errc::not_found,
              "etcd isn't there, neither beside this program nor on PATH: install it (Debian: etcd-server), or put its "
              "binary beside kedge");
}

std::vector<std::string> arguments_of(const member_options& o) {
  auto at = [&](unsigned port) {
    bool v6 = o.address.find(':') != std::string::npos;
    return fmt::format("https://{}{}{}:{}", v6 ? "[" : "", o.address, v6 ? "]" : "", port);
  };
  auto metrics = std::string("http://127.0.0.1:2381");
  if (o.expose_metrics) metrics += ",http" + at(2381).substr(5);
  auto tls = [&](std::string_view file) { return fmt::format("{}/{}", o.certificates, file); };
  std::vector<std::string> out{o.binary,
                               "--name=" + o.name,
                               "--data-dir=" + o.data,
                               "--listen-client-urls=https://127.0.0.1:2379" + (o.alone ? "" : "," + at(2379)),
                               "--advertise-client-urls=" + at(2379),
                               "--listen-peer-urls=" + (o.alone ? "https://127.0.0.1:2380" : at(2380)),
                               "--initial-advertise-peer-urls=" + at(2380),
                               "--listen-metrics-urls=" + metrics,
                               "--initial-cluster=" + o.cluster,
                               std::string("--initial-cluster-state=") + (o.joins ? "existing" : "new"),
                               "--client-cert-auth",
                               "--trusted-ca-file=" + tls("server-ca.crt"),
                               "--cert-file=" + tls("server-client.crt"),
                               "--key-file=" + tls("server-client.key"),
                               "--peer-client-cert-auth",
                               "--peer-trusted-ca-file=" + tls("peer-ca.crt"),
                               "--peer-cert-file=" + tls("peer-server-client.crt"),
                               "--peer-key-file=" + tls("peer-server-client.key"),
                               "--logger=zap",
                               "--log-level=warn",
                               "--log-outputs=stderr"};
  if (o.one_of) out.push_back("--force-new-cluster");
  return out;
}

result<void> member_process::spawn() {
  std::error_code none;
  auto there = std::filesystem::file_size(options_.log_file, none);
  log_from_ = none ? 0 : static_cast<std::size_t>(there);
  KEDGE_TRY(running_,
            reactor::process::spawn(
                {.argv = arguments_of(options_), .environment = environment(), .output_file = options_.log_file}));
  return {};
}

result<void> member_process::start() {
  watching_.spawn(bound_log());
  KEDGE_CHECK(spawn());
  watching_.spawn(keep());
  return {};
}

// etcd appends, so it may be cut while etcd writes: on a slow disk it warns of every request.
task<void> member_process::bound_log() {
  for (;; co_await reactor::sleep_for(log_look))
    (void)co_await reactor::offload([file = options_.log_file] {
      std::error_code ignored;
      if (std::filesystem::file_size(file, ignored) > log_bytes_max && !ignored)
        std::filesystem::resize_file(file, 0, ignored);
      return true;
    });
}

// What starting it again doesn't help against.
std::optional<error> member_process::hopeless(std::string_view said) const {
  if (says(said, "data-dir used by this member must be removed"))
    return error(errc::expired, "this server's member was removed from the cluster's etcd");
  if (says(said, "lower than determined cluster version"))
    return error(errc::unsupported,
                 fmt::format("{} is older than what is in {} was written by: install a newer etcd, or put its binary "
                             "beside kedge ({})",
                             options_.binary, options_.data, last_line(said)));
  return std::nullopt;
}

task<void> member_process::keep() {
  auto& loop = reactor::loop::current();
  for (int failed = 0;;) {
    auto began = loop.now();
    auto code = co_await running_->wait();
    running_.reset();
    if (stopping_) break;
    failed = loop.now() - began < started_after ? failed + 1 : 1;
    auto words = co_await reactor::offload([file = options_.log_file, from = log_from_] { return tail(file, from); });
    if (stopping_) break;
    if (why_ = hopeless(words ? *words : std::string()); why_) {
      gave_up_.set();
      break;
    }
    auto said = fmt::format("etcd has ended ({}): {}", code ? *code : -1, last_line(words ? *words : std::string()));
    if (failed == starts_max) {
      why_ = error(errc::unavailable, fmt::format("{}; its log is {}", said, options_.log_file));
      gave_up_.set();
      break;
    }
    log::warning("{}; it is started again", said);
    co_await reactor::sleep_for(restart_pause);
    if (auto again = spawn(); !again) {
      why_ = again.error();
      gave_up_.set();
      break;
    }
  }
  ended_.set();
}

task<void> member_process::stop() {
  stopping_ = true;
  if (running_) {
    running_->signal(SIGTERM);
    co_await ended_.wait_until(reactor::loop::current().now() + stop_time);
  }
  watching_.cancel();
  running_.reset();
}

}  // namespace kedge::server
