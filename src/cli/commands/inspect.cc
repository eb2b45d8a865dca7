// inspect.cc: `kedge inspect`: one archive for whoever is to help: configuration, state, certificates' dates, log and
// metrics of this machine. Nothing secret is in it: configurations are masked, keys and tokens are files whose names
// and sizes alone are listed, and no object of the cluster but its Nodes.
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/strings.h"
#include "cli/commands/admin.h"
#include "cli/commands/commands.h"
#include "cli/commands/common_flags.h"
#include "cli/options_load.h"
#include "cli/version.h"
#include "crypto/files.h"
#include "json/write.h"
#include "node/machine/certificates.h"

namespace kedge::cli::commands {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t listed_files_max = 20'000;  // of the data directory
constexpr std::size_t text_bytes_max = 8 << 20;   // of one text: the log's end, all metrics
constexpr int log_lines = 20'000;
constexpr std::size_t block = 512;  // of tar

constexpr flag flags[] = {data_dir_flag,
                          {.name = "config",
                           .short_name = 'c',
                           .env = "K3S_CONFIG_FILE",
                           .who = audience::both,
                           .help = "Configuration file (default: /etc/rancher/k3s/config.yaml)"},
                          {.name = "output",
                           .short_name = 'o',
                           .who = audience::both,
                           .help = "The archive (default: kedge-inspect-HOST-TIME.tar.gz here)"}};

// A tar.gz of texts (POSIX ustar).
class archive {
 public:
  static result<archive> create(const std::string& path, wall_time now) {
    ::umask(0077);
    auto* file = ::gzopen(path.c_str(), "wbe");
    if (!file) return fail(os_error(errno, "create " + path));
    return archive(path, file, now);
  }
  archive(archive&& o) noexcept : path_(std::move(o.path_)), file_(std::exchange(o.file_, nullptr)), now_(o.now_) {}
  archive& operator=(archive&&) = delete;
  ~archive() {
    if (file_) ::gzclose(file_);
  }

  result<void> add(std::string_view name, std::string_view text) {
    text = text.substr(text.size() > text_bytes_max ? text.size() - text_bytes_max : 0);
    char head[block] = {};
    auto seconds = std::chrono::floor<std::chrono::seconds>(now_).time_since_epoch().count();
    std::snprintf(head, 100, "kedge-inspect/%s", std::string(name).c_str());
    std::snprintf(head + 100, 8, "0000600");
    std::snprintf(head + 108, 8, "0000000");
    std::snprintf(head + 116, 8, "0000000");
    std::snprintf(head + 124, 12, "%011llo", static_cast<unsigned long long>(text.size()));
    std::snprintf(head + 136, 12, "%011llo", static_cast<unsigned long long>(seconds));
    std::memset(head + 148, ' ', 8);  // the sum is taken with blanks in its place
    head[156] = '0';
    std::memcpy(head + 257, "ustar\00000", 8);
    unsigned sum = 0;
    for (char c : head) sum += static_cast<unsigned char>(c);
    std::snprintf(head + 148, 8, "%06o", sum);
    KEDGE_CHECK(put({head, block}));
    KEDGE_CHECK(put(text));
    return put(std::string((block - text.size() % block) % block, '\0'));
  }
  result<void> finish() {
    KEDGE_CHECK(put(std::string(2 * block, '\0')));
    if (::gzclose(std::exchange(file_, nullptr)) != Z_OK) return fail(os_error(errno, "write " + path_));
    return {};
  }

 private:
  archive(std::string path, gzFile file, wall_time now) : path_(std::move(path)), file_(file), now_(now) {}
  result<void> put(std::string_view text) {
    if (text.empty() || ::gzwrite(file_, text.data(), static_cast<unsigned>(text.size())) > 0) return {};
    return fail(os_error(errno, "write " + path_));
  }

  std::string path_;
  gzFile file_;
  wall_time now_;
};

std::string machine_text() {
  utsname u{};
  ::uname(&u);
  auto out = fmt::format("kedge {} ({})\n{} {} {} {}\ncpus {}\n\n", version, commit, u.sysname, u.release, u.version,
                         u.machine, ::sysconf(_SC_NPROCESSORS_ONLN));
  for (auto* file : {"/etc/os-release", "/proc/meminfo", "/proc/mounts", "/proc/net/dev", "/proc/net/route",
                     "/proc/pressure/cpu", "/proc/pressure/memory", "/proc/pressure/io"})
    if (auto text = crypto::read_file(file, text_bytes_max)) out += fmt::format("== {}\n{}\n", file, *text);
  return out;
}

// What the start was told, as the node's annotations have it: secrets are stars.
std::string configuration_text(const scanned& given, const machine& here) {
  std::vector<std::string> words;
  for (auto name : {"config", "data-dir"})
    if (given.has(name)) words.push_back(fmt::format("--{}={}", name, given.value(name)));
  auto loaded = load_options(audience::server, words, here);
  if (!loaded) return "it can't be read: " + loaded.error().message + "\n";
  std::string out;
  for (auto& a : loaded->options.agent.node_args) out += a + "\n";
  for (auto& [name, value] : loaded->options.agent.node_env) out += fmt::format("{}={}\n", name, value);
  for (auto& w : loaded->warnings) out += "warning: " + w + "\n";
  return out;
}

// Names, sizes, rights and times; no content.
std::string files_text(const std::string& data_dir) {
  std::string out;
  std::error_code wrong;
  fs::recursive_directory_iterator i(data_dir, fs::directory_options::skip_permission_denied, wrong);
  for (std::size_t n = 0; !wrong && i != fs::recursive_directory_iterator() && n < listed_files_max;
       i.increment(wrong), ++n) {
    auto path = i->path().string();
    struct stat s{};
    if (::lstat(path.c_str(), &s) != 0) continue;
    if (path == data_dir + "/agent/containerd") i.disable_recursion_pending();  // the runtime's own
    out += fmt::format("{:06o} {:>12} {} {}\n", s.st_mode, s.st_size,
                       format_rfc3339(wall_time(std::chrono::seconds(s.st_mtime))), path);
  }
  return out;
}

std::string certificates_text(const std::string& data_dir, wall_time now) {
  auto r = node::report_certificates(data_dir, now);
  return r.metrics + "\n" + join(r.leaves, "\n") + "\n" + join(r.authorities, "\n") + "\n";
}

std::string log_text() {
  auto command =
      fmt::format("journalctl --no-pager -q -n {} -u k3s -u k3s-agent -u kedge -u kedge-agent 2>/dev/null", log_lines);
  auto* pipe = ::popen(command.c_str(), "re");
  if (!pipe) return {};
  std::string out;
  char part[16 << 10];
  for (std::size_t n; out.size() < text_bytes_max && (n = std::fread(part, 1, sizeof part, pipe)) > 0;)
    out.append(part, n);
  ::pclose(pipe);
  return out;
}

result<void> inspect(const scanned& given, const machine& here) {
  const auto now = system_wall_time();
  const auto data = data_dir_of(given, here);
  auto path = given.value("output");
  if (path.empty()) {
    auto time = std::chrono::floor<std::chrono::seconds>(now).time_since_epoch().count();
    path = fmt::format("kedge-inspect-{}-{}.tar.gz", here.host_name, time);
  }
  KEDGE_TRY(auto out, archive::create(path, now));
  KEDGE_CHECK(out.add("machine.txt", machine_text()));
  KEDGE_CHECK(out.add("configuration.txt", configuration_text(given, here)));
  KEDGE_CHECK(out.add("files.txt", files_text(data)));
  KEDGE_CHECK(out.add("certificates.txt", certificates_text(data, now)));
  KEDGE_CHECK(out.add("log.txt", log_text()));
  // Of the server, where one runs here: what it says of itself, and the Nodes.
  if (auto access = administrator(given, here)) {
    constexpr std::pair<std::string_view, std::string_view> asked[] = {{"readyz.txt", "/readyz?verbose"},
                                                                       {"version.json", "/version"},
                                                                       {"nodes.json", "/api/v1/nodes"},
                                                                       {"metrics.txt", "/metrics"}};
    for (auto& [name, where] : asked) {
      auto text = ask(*access, {.path = std::string(where)});
      KEDGE_CHECK(out.add(name, text ? *text : "no answer: " + text.error().message + "\n"));
      if (!text && text.error().code != errc::unavailable) break;  // it isn't there
    }
  }
  KEDGE_CHECK(out.finish());
  fmt::print("{}\n", path);
  return {};
}

}  // namespace

std::span<const flag> inspect_flags() { return flags; }

int inspect(const invocation& call) {
  constexpr std::string_view name = "inspect";
  const auto given = scan_flags_only(flags, call.arguments);
  if (!given) return report(name, given.error());
  const auto done = inspect(*given, call.here);
  return done ? 0 : report(name, done.error());
}

}  // namespace kedge::cli::commands
