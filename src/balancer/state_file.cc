#include "balancer/state_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "balancer/limits.h"
#include "base/strings.h"
#include "json/parse.h"

namespace kedge::balancer {

std::string state_text(std::string_view server_url, const std::vector<std::string>& addresses) {
  // URLs and host:port are checked where they come in: quoting never meets what JSON and Go spell differently.
  std::string out = "{\n  \"ServerURL\": " + quote(server_url) + ",\n  \"ServerAddresses\": [";
  for (std::size_t i = 0; i < addresses.size(); ++i) out += (i ? ",\n    " : "\n    ") + quote(addresses[i]);
  return out + (addresses.empty() ? "]\n}" : "\n  ]\n}");
}

result<std::vector<std::string>> parse_state(std::string_view text, std::string_view server_url) {
  KEDGE_TRY(auto v, json::parse(text));
  if (!v.is_object()) return fail(errc::invalid, "the load balancer's state file holds no object");
  std::vector<std::string> out;
  if (v["ServerURL"].as_string() != server_url) return out;
  if (auto* all = v["ServerAddresses"].array())
    for (auto& a : *all)
      if (a.is_string() && out.size() < servers_max) out.emplace_back(a.as_string());
  return out;
}

result<std::vector<std::string>> read_state_file(const std::string& path, std::string_view server_url) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT) return std::vector<std::string>();
    return fail(os_error(errno, "open " + path));
  }
  std::string text(state_file_max_bytes + 1, '\0');
  auto n = ::read(fd, text.data(), text.size());
  ::close(fd);
  if (n < 0) return fail(os_error(errno, "read " + path));
  if (static_cast<std::size_t>(n) > state_file_max_bytes) return fail(errc::too_large, path + " is no state file");
  text.resize(static_cast<std::size_t>(n));
  auto parsed = parse_state(text, server_url);
  if (!parsed) return fail(std::move(parsed).error().with(path + ": "));
  return parsed;
}

result<void> write_state_file(const std::string& path, std::string_view text) {
  auto fresh = path + ".new";
  int fd = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return fail(os_error(errno, "create " + fresh));
  ::fchmod(fd, 0644);
  auto n = ::write(fd, text.data(), text.size());
  auto problem = n == static_cast<ssize_t>(text.size()) ? 0 : n < 0 ? errno : ENOSPC;
  if (!problem && ::fsync(fd) != 0) problem = errno;
  ::close(fd);
  if (!problem && ::rename(fresh.c_str(), path.c_str()) != 0) problem = errno;
  if (!problem) return {};
  ::unlink(fresh.c_str());
  return fail(os_error(problem, "write " + path));
}

result<std::string> default_address(std::string_view url) {
  auto rest = url;
  std::string_view port = ":443";
  if (rest.starts_with("https://")) {
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
    port = ":80";
  } else {
    return fail(errc::invalid, "not a server URL: " + quote(url));
  }
  rest = rest.substr(0, rest.find_first_of("/?#"));
  if (rest.empty() || rest.find('@') != std::string_view::npos)
    return fail(errc::invalid, "not a server URL: " + quote(url));
  auto colon = rest.rfind(':');
  bool has_port = colon != std::string_view::npos && rest.find(']', colon) == std::string_view::npos;
  std::string out(rest);
  if (!has_port) out += port;
  return out;
}

}  // namespace kedge::balancer
