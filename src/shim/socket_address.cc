#include "shim/socket_address.h"

#include <dirent.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace kedge::shim {

namespace {

constexpr int backlog = 128;

// FNV-1a with 128 bits: nobody chooses these names to collide.
std::string hash(std::string_view text) {
  constexpr char digits[] = "0123456789abcdef";
  constexpr unsigned __int128 prime = (static_cast<unsigned __int128>(1) << 88) + 0x13b;
  unsigned __int128 h = (static_cast<unsigned __int128>(0x6c62272e07bb0142) << 64) + 0x62b821756295c58d;
  for (char c : text) h = (h ^ static_cast<unsigned char>(c)) * prime;
  std::string out;
  for (int shift = 124; shift >= 0; shift -= 4) out += digits[static_cast<unsigned>(h >> shift) & 15];
  return out;
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un out{.sun_family = AF_UNIX, .sun_path = {}};
  std::memcpy(out.sun_path, path.data(), std::min(path.size(), sizeof out.sun_path - 1));
  return out;
}

}  // namespace

std::string socket_path(std::string_view containerd_address, std::string_view space, std::string_view group) {
  std::string text;
  for (auto part : {containerd_address, space, group}) {
    text += part;
    text += '\0';
  }
  return std::string(socket_folder) + "/" + hash(text);
}

bool is_listened_at(const std::string& path) {
  auto address = address_of(path);
  descriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 || errno == EAGAIN;
}

result<descriptor> listen_at(const std::string& path) {
  auto folder = path.substr(0, path.find_last_of('/'));
  ::mkdir(folder.substr(0, folder.find_last_of('/')).c_str(), 0711);
  ::mkdir(folder.c_str(), 0700);
  descriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail(os_error(errno, "socket"));
  auto address = address_of(path);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(fd.get(), generic, sizeof address) < 0) {
    if (errno != EADDRINUSE) return fail(os_error(errno, "create new shim socket " + path));
    if (is_listened_at(path)) return fail(errc::already_exists, path);
    ::unlink(path.c_str());
    if (::bind(fd.get(), generic, sizeof address) < 0) return fail(os_error(errno, "create new shim socket " + path));
  }
  if (::chmod(path.c_str(), 0600) < 0 || ::listen(fd.get(), backlog) < 0) {
    auto e = os_error(errno, "create new shim socket " + path);
    ::unlink(path.c_str());
    return fail(std::move(e));
  }
  return fd;
}

namespace {

// Younger ones may be about to be listened at.
bool is_old(const std::string& path) {
  constexpr time_t age_s = 10;
  struct stat s{};
  return ::lstat(path.c_str(), &s) == 0 && s.st_mtim.tv_sec + age_s < ::time(nullptr);
}

bool is_shims(std::string_view name) {
  constexpr std::size_t hash_digits = 32;
  auto own = name.substr(0, name.find('.'));
  return own.size() == hash_digits && own.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

void remove_dead_socket(const std::string& path) {
  auto folder = path.substr(0, path.find_last_of('/') + 1);
  struct stat s{};
  if (::lstat(path.c_str(), &s) < 0 || is_listened_at(path)) return;
  ::unlink(path.c_str());
  auto* d = ::opendir(folder.c_str());
  if (!d) return;
  while (auto* e = ::readdir(d)) {
    std::string_view name = e->d_name;
    auto other = folder + std::string(name);
    bool beside = other.starts_with(path + ".");
    if (beside || (is_shims(name) && is_old(other) && !is_listened_at(other))) ::unlink(other.c_str());
  }
  ::closedir(d);
}

}  // namespace kedge::shim
