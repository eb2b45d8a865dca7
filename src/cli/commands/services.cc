#include "cli/commands/services.h"

#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>

#include "base/strings.h"
#include "crypto/files.h"

extern char** environ;

namespace kedge::cli::commands {

namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr auto farewell_time = 90s;  // systemd's, too
constexpr auto kill_time = 10s;      // of a process in the middle of a write to a slow disk
constexpr auto look_again = 50ms;

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

std::vector<std::string> words_of(pid_t process) {
  std::vector<std::string> out;
  auto text = read(fmt::format("/proc/{}/cmdline", process));
  if (text.ends_with('\0')) text.pop_back();
  for (auto part : split(text, '\0')) out.emplace_back(part);
  return out;
}

std::string_view last_part(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// Of this very machine: the same mounts and the same network.
bool is_here(pid_t process) {
  for (auto* kind : {"mnt", "net"}) {
    struct stat ours{}, theirs{};
    if (::stat(fmt::format("/proc/self/ns/{}", kind).c_str(), &ours) != 0 ||
        ::stat(fmt::format("/proc/{}/ns/{}", process, kind).c_str(), &theirs) != 0 || ours.st_ino != theirs.st_ino)
      return false;
  }
  return true;
}

bool is_daemon(const std::vector<std::string>& words) {
  if (words.size() < 2) return false;
  const auto name = last_part(words[0]);
  return (name == "kedge" || name == "k3s") && (words[1] == "server" || words[1] == "agent");
}

bool is_shim(const std::vector<std::string>& words) {
  if (words.empty() || !last_part(words[0]).starts_with("containerd-shim")) return false;
  for (std::size_t i = 0; i + 1 < words.size(); ++i)
    if (words[i] == "-address" && words[i + 1].starts_with("/run/k3s")) return true;
  return false;
}

// Whether it is root's, and that program indeed: anybody may call a program of his "kedge server", or sudo, and name a
// folder; and root removes what is named.
bool may_name_folders(pid_t process) {
  struct stat about{};
  if (::stat(fmt::format("/proc/{}", process).c_str(), &about) != 0 || about.st_uid != 0) return false;
  std::error_code gone;
  auto program = fs::read_symlink(fmt::format("/proc/{}/exe", process), gone).filename().string();
  if (constexpr std::string_view replaced = " (deleted)"; program.ends_with(replaced))  // by an upgrade
    program.resize(program.size() - replaced.size());
  return program == "kedge" || program == "k3s";
}

std::vector<pid_t> all_processes() {
  std::vector<pid_t> out;
  std::error_code gone;
  for (auto& entry : fs::directory_iterator("/proc", gone))
    if (auto number = parse_uint(entry.path().filename().string())) out.push_back(static_cast<pid_t>(*number));
  return out;
}

bool lives(pid_t process) {
  const auto stat = read(fmt::format("/proc/{}/stat", process));
  const auto at = stat.rfind(')');
  return at != stat.npos && at + 2 < stat.size() && stat[at + 2] != 'Z' && stat[at + 2] != 'X';
}

bool gone_within(const std::vector<pid_t>& processes, std::chrono::nanoseconds time) {
  const auto until = std::chrono::steady_clock::now() + time;
  while (std::ranges::any_of(processes, lives)) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(look_again);
  }
  return true;
}

void send(const std::vector<pid_t>& processes, int number) {
  for (auto p : processes) (void)::kill(p, number);
}

result<void> still_there(const std::vector<pid_t>& processes) {
  std::vector<std::string> left;
  for (auto p : processes)
    if (lives(p)) left.push_back(std::to_string(p));
  if (left.empty()) return {};
  return fail(errc::timeout, "processes that can't be ended: " + join(left, ", "));
}

}  // namespace

std::string data_dir_in(const std::vector<std::string>& words) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string_view word = words[i];
    for (std::string_view name : {"--data-dir", "-data-dir", "-d"}) {
      if (word == name && i + 1 < words.size()) return words[i + 1];
      if (word.starts_with(name) && word.size() > name.size() && word[name.size()] == '=')
        return std::string(word.substr(name.size() + 1));
    }
  }
  return {};
}

result<void> run_tool(std::vector<std::string> words) {
  std::vector<char*> arguments;
  for (auto& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  if (int code = ::posix_spawnp(&child, arguments[0], nullptr, nullptr, arguments.data(), environ); code != 0)
    return fail(os_error(code, "run " + words[0]));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return fail(os_error(errno, "wait for " + words[0]));
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return fail(errc::io,
              fmt::format("{} ended with {}", join(words, " "), WIFEXITED(status) ? WEXITSTATUS(status) : 128));
}

running find_running() {
  running out;
  for (auto process : all_processes()) {
    // As the first of a container it only waits for the one that is meant (first_process.h).
    if (process == ::getpid() || process == 1) continue;
    const auto words = words_of(process);
    const bool daemon = is_daemon(words);
    if ((!daemon && !is_shim(words)) || !is_here(process)) continue;
    (daemon ? out.daemons : out.shims).push_back(process);
    auto folder = daemon ? data_dir_in(words) : std::string();
    if (folder.empty() || !may_name_folders(process)) continue;
    std::error_code gone;
    const auto its_own = fs::read_symlink(fmt::format("/proc/{}/cwd", process), gone);  // a relative one is below it
    if (!gone || folder.starts_with('/')) out.data_dirs.insert((its_own / folder).string());
  }
  return out;
}

result<void> end_orderly(const std::vector<pid_t>& processes) {
  send(processes, SIGTERM);
  if (gone_within(processes, farewell_time)) return {};
  send(processes, SIGKILL);
  (void)gone_within(processes, kill_time);
  return still_there(processes);
}

result<void> end_families(const std::vector<pid_t>& processes) {
  std::multimap<pid_t, pid_t> children;
  for (auto process : all_processes()) {
    const auto stat = read(fmt::format("/proc/{}/stat", process));
    const auto at = stat.rfind(')');
    if (at == stat.npos || at + 4 >= stat.size()) continue;
    const auto parent = std::string_view(stat).substr(at + 4);
    if (auto number = parse_uint(parent.substr(0, parent.find(' ')))) children.emplace(*number, process);
  }
  auto all = processes;
  for (std::size_t i = 0; i < all.size(); ++i)
    for (auto [at, end] = children.equal_range(all[i]); at != end; ++at) all.push_back(at->second);
  send(all, SIGKILL);
  (void)gone_within(all, kill_time);
  return still_there(all);
}

}  // namespace kedge::cli::commands
