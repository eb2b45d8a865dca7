#include "node/pods/env_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/descriptor.h"
#include "base/strings.h"
#include "node/pods/limits.h"

namespace kedge::node {

namespace {

using json::value;

// A file of the volume; links in it lead to what is in it.
result<std::string> read_in(const std::string& folder, const std::string& path) {
  descriptor root(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (root.get() < 0) return fail(os_error(errno, folder));
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  descriptor file(static_cast<int>(::syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof how)));
  struct stat about{};
  if (file.get() < 0 || ::fstat(file.get(), &about) != 0) return fail(os_error(errno, path));
  if (!S_ISREG(about.st_mode)) return fail(errc::invalid, path + " is no file");
  std::string out;
  std::array<char, 4096> piece{};
  for (;;) {
    auto n = ::read(file.get(), piece.data(), piece.size());
    if (n < 0) return fail(os_error(errno, path));
    if (n == 0) return out;
    out.append(piece.data(), static_cast<std::size_t>(n));
    if (out.size() > env_file_bytes_max) return fail(errc::too_large, path + " is too large");
  }
}

std::string_view without_blanks(std::string_view s) {
  auto at = s.find_first_not_of(" \t");
  return at == std::string_view::npos ? std::string_view() : s.substr(at);
}

// So that it is no reference to another variable any more.
std::string as_it_is(std::string_view text) {
  std::string out;
  for (auto c : text) out.append(c == '$' ? 2 : 1, c);
  return out;
}

}  // namespace

result<std::optional<std::string>> find_in_env_file(std::string_view text, std::string_view key) {
  auto lines = split(text, '\n');
  auto wrong = [](std::string_view what) {
    return fail(errc::invalid, fmt::format("invalid environment variable format: {}", what));
  };
  auto text_of_line = [&](std::size_t i) {
    return lines[i].ends_with('\r') ? lines[i].substr(0, lines[i].size() - 1) : lines[i];
  };
  for (std::size_t i = 0; i < lines.size(); ++i) {
    auto line = without_blanks(text_of_line(i));
    if (line.empty() || line.starts_with('#')) continue;
    auto equals = line.find('=');
    if (equals == std::string_view::npos) return wrong("missing '='");
    auto name = line.substr(0, equals), rest = line.substr(equals + 1);
    if (without_blanks(name).empty()) return wrong("empty variable name");
    if (name.ends_with(' ') || name.ends_with('\t')) return wrong("whitespace before '=' is not allowed");
    // As a shell reads it: nothing.
    if (without_blanks(rest).size() != rest.size()) {
      if (name == key) return std::optional<std::string>();
      continue;
    }
    if (!rest.starts_with('\'')) return wrong("value must be enclosed in single quotes");
    rest.remove_prefix(1);
    std::string found;
    for (auto end = rest.find('\''); end == std::string_view::npos; end = rest.find('\'')) {
      found += rest;
      found += '\n';
      if (++i == lines.size()) return wrong("unclosed single quote");
      rest = text_of_line(i);
    }
    auto end = rest.find('\'');
    found += rest.substr(0, end);
    if (auto behind = without_blanks(rest.substr(end + 1)); !behind.empty() && !behind.starts_with('#'))
      return wrong("unexpected content after closing quote");
    if (name == key) return found.empty() ? std::optional<std::string>() : std::optional(std::move(found));
  }
  return std::optional<std::string>();
}

bool has_variables_of_files(const value& container) {
  if (auto* all = container["env"].array())
    for (auto& e : *all)
      if (e["valueFrom"]["fileKeyRef"].is_object()) return true;
  return false;
}

result<value> with_values_of_files(value container, const std::string& folder) {
  json::array env;
  for (auto& e : *container["env"].array()) {
    auto& ref = e["valueFrom"]["fileKeyRef"];
    if (!ref.is_object()) {
      env.push_back(e);
      continue;
    }
    auto volume = fmt::format("{}/volumes/kubernetes.io~empty-dir/{}", folder, ref["volumeName"].as_string());
    auto path = std::string(ref["path"].as_string());
    auto text = read_in(volume, path);
    auto found = text ? find_in_env_file(*text, ref["key"].as_string())
                      : result<std::optional<std::string>>(std::unexpected(text.error()));
    if (!found) return fail(errc::invalid, "couldn't parse env file");
    if (!*found && ref["optional"].as_bool()) continue;
    if (!*found)
      return fail(errc::not_found, fmt::format("environment variable key \"{}\" not found in file \"{}/{}\"",
                                               ref["key"].as_string(), volume, path));
    env.push_back(json::object{{"name", e["name"]}, {"value", as_it_is(**found)}});
  }
  container.set("env", std::move(env));
  return container;
}

}  // namespace kedge::node
