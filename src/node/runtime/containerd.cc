#include "node/runtime/containerd.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "base/kubernetes_version.h"
#include "base/log.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "node/limits.h"
#include "node/network/cni_config.h"
#include "reactor/offload.h"

extern char** environ;

namespace kedge::node {

namespace {

constexpr std::size_t template_bytes_max = 1024 * 1024;
constexpr std::string_view level_variable = "CONTAINERD_LOG_LEVEL=";

// The configuration, through the user's template where there is one.
result<std::string> configuration_of(const containerd_settings& s) {
  auto base = containerd_config(s);
  auto text = crypto::read_file(s.template_file, template_bytes_max);
  if (!text && text.error().code == errc::not_found) return base;
  if (text) text = fill_template(*text, base);
  if (!text) return fail(text.error().code, s.template_file + ": " + text.error().message);
  return text;
}

result<void> prepare(containerd_settings& s) {
  // Images keep their files' modes, setuid bits too: no user of the machine gets at them (CVE-2021-41103,
  // CVE-2024-25621).
  KEDGE_CHECK(crypto::make_folder(s.root_folder, 0700));
  if (::chmod(s.root_folder.c_str(), 0700) < 0) return fail(os_error(errno, "chmod " + s.root_folder));
  KEDGE_CHECK(crypto::make_folder(s.state_folder, 0711));  // pods with user namespaces go through it
  for (auto* file : {&s.config_file, &s.crictl_file})
    KEDGE_CHECK(crypto::make_folder(file->substr(0, file->find_last_of('/')), 0755));
  // containerd watches this folder for the network configuration; it must be there for that.
  KEDGE_CHECK(crypto::make_folder(s.cni_conf_folder, 0755));
  if (s.links_plugins) KEDGE_CHECK(link_plugins(s.cni_bin_folder, true));
  KEDGE_TRY(s.known_registries, read_registries(s.registries_file));
  KEDGE_TRY(auto configuration, configuration_of(s));
  KEDGE_CHECK(crypto::write_file(s.config_file, configuration));
  // Pods that were begun with it read it for each container, also when the shim is to find the runtime by itself since.
  if (!s.shim_oci.empty() || ::access(s.shim_options.c_str(), F_OK) == 0)
    KEDGE_CHECK(crypto::write_file(s.shim_options, shim_options(s)));
  KEDGE_CHECK(crypto::write_file(s.crictl_file, "runtime-endpoint: unix://" + s.socket + "\n", {.mode = 0644}));
  struct stat log{};
  if (::stat(s.log_file.c_str(), &log) == 0 && static_cast<std::size_t>(log.st_size) > runtime_log_bytes_max)
    ::rename(s.log_file.c_str(), (s.log_file + ".1").c_str());
  return {};
}

// K3s's rule: CONTAINERD_X=… reaches containerd as X=…, and goes over the X that Kedge itself has (proxies, mostly).
// containerd looks for a shim by its name, in PATH.
std::vector<std::string> child_environment(const containerd_settings& s) {
  constexpr std::string_view prefix = "CONTAINERD_";
  std::vector<std::string> plain, renamed;
  for (char** e = environ; *e; ++e) {
    std::string_view entry = *e;
    if (entry.starts_with("NOTIFY_SOCKET=")) continue;  // it is not its place to say that we are ready
    if (entry.starts_with(level_variable)) continue;    // an option, see command_of
    if (entry.starts_with(prefix))
      renamed.emplace_back(entry.substr(prefix.size()));
    else
      plain.emplace_back(entry);
  }
  for (auto& entry : renamed) {
    auto name = entry.substr(0, entry.find('=') + 1);
    std::erase_if(plain, [&](auto& other) { return other.starts_with(name); });
    plain.push_back(std::move(entry));
  }
  // Measured with 40 containers: a fifth less heap (21 to 17 MB) for a fifth more processor time while they start.
  if (std::ranges::none_of(plain, [](auto& entry) { return entry.starts_with("GOGC="); }))
    plain.emplace_back("GOGC=40");
  auto path = std::ranges::find_if(plain, [](auto& entry) { return entry.starts_with("PATH="); });
  if (path == plain.end())
    path = plain.insert(plain.end(), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  // Last: what else lies beside them isn't containerd's business. K3s's containerd has its runc and that one's shim
  // there.
  for (auto& program : {s.shim, s.binary})
    if (auto slash = program.find_last_of('/'); slash != std::string::npos) *path += ":" + program.substr(0, slash);
  return plain;
}

std::vector<std::string> command_of(const containerd_settings& s) {
  std::vector<std::string> out = {s.binary, "--config", s.config_file};
  for (char** e = environ; *e; ++e)
    if (std::string_view entry = *e; entry.starts_with(level_variable) && entry.size() > level_variable.size())
      out.insert(out.end(), {"--log-level", std::string(entry.substr(level_variable.size()))});
  return out;
}

}  // namespace

namespace {

task<result<std::string>> version_of(std::string program, std::string option) {
  constexpr std::size_t answer_bytes_max = 4096;
  KEDGE_CO_TRY(auto child, reactor::process::spawn({.argv = {program, option}, .capture_output = true}));
  KEDGE_CO_TRY(auto answer, co_await child.output(answer_bytes_max));
  KEDGE_CO_TRY(int code, co_await child.wait());
  if (code != 0)
    co_return fail(errc::io, option + " ended with code " + std::to_string(code) + ": " + std::string(trim(answer)));
  co_return answer;
}

// What a shim says of its version. One that can't be run, or is another release's, must not be given pods.
task<result<void>> check_shim(std::string program) {
  KEDGE_CO_TRY(auto answer, co_await version_of(std::move(program), "-v"));
  if (!answer.contains(kedge_version))
    co_return fail(errc::conflict, "it is of another release than " + std::string(kedge_version));
  co_return result<void>();
}

}  // namespace

task<void> containerd::choose_runtime() {
  std::string why = "containerd-shim-kedge-v2 was found neither beside this program nor in PATH";
  if (!settings_.shim.empty()) {
    auto checked =
        co_await reactor::with_deadline(check_shim(settings_.shim), reactor::loop::current().now() + stop_grace);
    if (checked) {
      auto* path = std::getenv("PATH");
      auto crun = find_program("crun", path ? path : "");
      if (crun.empty() || settings_.binary.empty()) co_return;
      const auto deadline = reactor::loop::current().now() + stop_grace;
      auto version = co_await reactor::with_deadline(version_of(crun, "--version"), deadline);
      auto of_containerd = co_await reactor::with_deadline(version_of(settings_.binary, "--version"), deadline);
      if (version && of_containerd && is_usable_crun(*version, *of_containerd)) settings_.shim_oci = crun;
      co_return;
    }
    why = settings_.shim + ": " + checked.error().message;
    settings_.shim.clear();
  }
  if (settings_.default_runtime == shim_runtime) settings_.default_runtime = "runc";
  if (config_.default_runtime.empty() || config_.default_runtime == shim_runtime)
    log::warning("pods are kept by runc's shim, which takes some 13 MB for each: {}", why);
}

task<result<int>> containerd::run_once() {
  KEDGE_CO_TRY(settings_, co_await reactor::offload([c = config_] { return detect_containerd(c); }));
  if (!settings_.spare_binary.empty()) {
    auto version = co_await reactor::with_deadline(version_of(settings_.binary, "--version"),
                                                   reactor::loop::current().now() + stop_grace);
    if (!version || !knows_newer_shims(*version)) settings_.binary = settings_.spare_binary;
  }
  co_await choose_runtime();
  if (settings_.binary.empty())
    co_return fail(errc::not_found,
                   "containerd was not found; install it (Debian: apt-get install containerd), or name a runtime with "
                   "--container-runtime-endpoint");
  KEDGE_CO_TRY(auto prepared, co_await reactor::offload([s = settings_]() mutable -> result<containerd_settings> {
                 KEDGE_CHECK(prepare(s));
                 return s;
               }));
  KEDGE_CO_TRY(settings_, std::move(prepared));
  for (auto& warning : settings_.known_registries.warnings) log::warning("{}: {}", settings_.registries_file, warning);
  std::string mirror;
  do {
    mirror = config_.own_mirror_url;
    KEDGE_CO_CHECK(co_await write_registries());
  } while (mirror != config_.own_mirror_url);
  if (stopping_) co_return 0;
  KEDGE_CO_TRY(auto child, reactor::process::spawn({
                               .argv = command_of(settings_),
                               .environment = child_environment(settings_),
                               .output_file = settings_.log_file,
                           }));
  log::info("containerd started (pid {}), its log is {}", child.pid(), settings_.log_file);
  struct registered {
    reactor::process*& place;
    ~registered() { place = nullptr; }
  } guard{process_};
  process_ = &child;
  problem_.clear();
  co_return co_await child.wait();
}

task<result<void>> containerd::write_registries() {
  auto r = settings_.known_registries;
  if (!config_.own_mirror_url.empty()) {
    auto agent = config_.agent_folder();
    r.nodes = node_mirror{.url = config_.own_mirror_url,
                          .config = {.credentials = {},
                                     .tls = registry_tls{.ca_file = agent + "/server-ca.crt",
                                                         .cert_file = agent + "/client-kubelet.crt",
                                                         .key_file = agent + "/client-kubelet.key"}}};
  }
  auto written = co_await reactor::offload(
      [r = std::move(r), folder = settings_.hosts_folder, fallback = settings_.registry_fallback] {
        return write_hosts(folder, hosts_files(r, fallback));
      });
  KEDGE_CO_TRY(auto done, std::move(written));
  co_return done;
}

task<result<void>> containerd::use_mirror(std::string url) {
  config_.own_mirror_url = std::move(url);
  if (!process_) co_return result<void>();  // its next start writes it
  co_return co_await write_registries();
}

task<void> containerd::run() {
  auto pause = restart_first;
  while (!stopping_) {
    auto began = reactor::loop::current().now();
    auto code = co_await run_once();
    if (stopping_) break;
    if (std::exchange(anew_, false)) continue;
    problem_ = "container runtime is down: " +
               (code ? "containerd ended with code " + std::to_string(*code) + ", see " + settings_.log_file
                     : code.error().message);
    if (reactor::loop::current().now() - began > restart_most) pause = restart_first;
    log::warning("{}; trying again in {}", problem_, format_duration(pause));
    if (co_await stop_asked_.wait_until(reactor::loop::current().now() + pause)) break;
    pause = std::min(pause * 2, restart_most);
  }
  ended_.set();
}

void containerd::begin_anew(agent_config config) {
  config_ = std::move(config);
  if (!process_) return;  // its next start reads it
  anew_ = true;
  process_->signal(SIGTERM);
}

task<void> containerd::stop() {
  stopping_ = true;
  stop_asked_.set();
  if (process_) process_->signal(SIGTERM);
  auto deadline = reactor::loop::current().now() + stop_grace;
  if (co_await ended_.wait_until(deadline)) co_return;
  log::warning("containerd did not end in {}; it is killed", format_duration(stop_grace));
  if (process_) process_->signal(SIGKILL);
  co_await ended_.wait();
}

}  // namespace kedge::node
