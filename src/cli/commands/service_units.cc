#include "cli/commands/service_units.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "base/strings.h"
#include "cli/commands/services.h"

namespace kedge::cli::commands {

namespace {

namespace fs = std::filesystem;

struct place {
  std::string_view folder;
  service_manager manager;
  bool of_package;
};
// What an administrator has stands before a package's of the same name, with systemd as here.
constexpr place places[] = {{"/etc/systemd/system", service_manager::systemd, false},
                            {"/usr/lib/systemd/system", service_manager::systemd, true},
                            {"/lib/systemd/system", service_manager::systemd, true},
                            {"/etc/init.d", service_manager::openrc, false}};

std::string_view without_quotes(std::string_view word) {
  const auto is_quote = [](char c) { return c == '"' || c == '\''; };
  while (!word.empty() && is_quote(word.front())) word.remove_prefix(1);
  while (!word.empty() && is_quote(word.back())) word.remove_suffix(1);
  return word;
}

// In the line that says what is run, as install.sh writes it.
std::string data_dir_of(const std::string& file) {
  std::ifstream in(file);
  std::string found;
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("ExecStart=") && !line.starts_with("command_args=")) continue;
    std::vector<std::string> words;
    for (auto word : split(line, ' ')) words.emplace_back(without_quotes(word));
    if (auto at = data_dir_in(words); !at.empty()) found = (fs::path("/") / at).string();
  }
  return found;
}

bool is_service(const fs::directory_entry& entry, service_manager manager) {
  const auto name = entry.path().filename().string();
  std::error_code none;
  if (!name.starts_with("kedge") || entry.is_symlink(none)) return false;
  if (manager == service_manager::systemd) return name.ends_with(".service");
  std::ifstream in(entry.path());
  std::string first;
  return std::getline(in, first) && first.ends_with("/openrc-run");
}

void remove_file(const std::string& path) {
  std::error_code ignored;
  fs::remove(path, ignored);
}

}  // namespace

std::vector<service_unit> service_units(const std::string& root) {
  std::vector<service_unit> out;
  for (auto& at : places) {
    std::error_code none;
    fs::directory_iterator it(root + std::string(at.folder), none), end;
    for (; !none && it != end; it.increment(none)) {
      const auto& entry = *it;
      const auto name = entry.path().filename().string();
      if (!is_service(entry, at.manager) || std::ranges::count(out, name, &service_unit::name) > 0) continue;
      const auto file = entry.path().string();
      out.push_back({name, at.manager, file, data_dir_of(file), at.of_package});
    }
  }
  std::ranges::sort(out, {}, &service_unit::name);
  return out;
}

result<void> stop_unit(const service_unit& unit) {
  if (unit.manager == service_manager::openrc) return run_tool({"rc-service", "--ifstarted", unit.name, "stop"});
  return run_tool({"systemctl", "stop", unit.name});
}

void remove_unit(const service_unit& unit) {
  if (unit.manager == service_manager::openrc) {
    (void)run_tool({"rc-update", "--all", "--quiet", "del", unit.name});
    remove_file(unit.file);
    remove_file(fmt::format("/etc/rancher/k3s/{}.env", unit.name));
    remove_file("/etc/logrotate.d/" + unit.name);
    return;
  }
  (void)run_tool({"systemctl", "disable", unit.name});
  if (!unit.of_package) {
    remove_file(unit.file);
    remove_file(unit.file + ".env");
  }
  (void)run_tool({"systemctl", "daemon-reload"});
  (void)run_tool({"systemctl", "reset-failed", "--quiet", unit.name});
}

}  // namespace kedge::cli::commands
