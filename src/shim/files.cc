#include "shim/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>

#include "shim/limits.h"

namespace kedge::shim {

result<std::string> read_file(const std::string& path, std::size_t limit) {
  descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail(os_error(errno, "open " + path));
  auto text = read_all(fd.get(), limit + 1);
  if (text.size() > limit) return fail(errc::too_large, path + " is too large");
  return text;
}

std::string read_all(int fd, std::size_t limit) {
  ::lseek(fd, 0, SEEK_SET);
  std::string out;
  std::array<char, 4096> part;
  while (out.size() < limit) {
    auto n = ::read(fd, part.data(), std::min(part.size(), limit - out.size()));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    out.append(part.data(), static_cast<std::size_t>(n));
  }
  return out;
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    auto n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

result<void> write_file(const std::string& path, std::string_view text, unsigned mode) {
  auto beside = path + ".new";
  descriptor fd(::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!fd) return fail(os_error(errno, "open " + beside));
  if (!write_all(fd.get(), text) || ::rename(beside.c_str(), path.c_str()) < 0) {
    auto e = os_error(errno, "write " + path);
    ::unlink(beside.c_str());
    return fail(std::move(e));
  }
  return {};
}

result<descriptor> memory_file(std::string_view text) {
  descriptor fd(::memfd_create("kedge-shim", MFD_CLOEXEC));
  if (!fd || !write_all(fd.get(), text) || ::lseek(fd.get(), 0, SEEK_SET) < 0)
    return fail(os_error(errno, "a file in memory"));
  return fd;
}

std::string find_program(std::string_view name) {
  if (name.contains('/')) return std::string(name);
  std::string folders = std::getenv("PATH") ? std::getenv("PATH") : "";
  folders += ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (std::string_view rest = folders; !rest.empty();) {
    auto folder = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(folder.size() + 1, rest.size()));
    if (folder.empty()) continue;
    auto file = std::string(folder) + "/" + std::string(name);
    struct stat s{};
    if (::stat(file.c_str(), &s) == 0 && S_ISREG(s.st_mode) && ::access(file.c_str(), X_OK) == 0) return file;
  }
  return {};
}

bool is_identifier(std::string_view text) {
  constexpr std::size_t length_max = 76;  // containerd's
  auto plain = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  return !text.empty() && text.size() <= length_max && plain(text.front()) && plain(text.back()) &&
         std::ranges::all_of(text, [&](char c) { return plain(c) || c == '.' || c == '_' || c == '-'; });
}

}  // namespace kedge::shim
