#include "crypto/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace kedge::crypto {

namespace {

class file {
 public:
  explicit file(int fd) : fd_(fd) {}
  file(const file&) = delete;
  file& operator=(const file&) = delete;
  ~file() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

result<void> write_all(int fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    auto n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(os_error(errno, "write " + path));
    content.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

timespec to_timespec(wall_time t) {
  auto seconds = std::chrono::floor<std::chrono::seconds>(t);
  return {static_cast<time_t>(seconds.time_since_epoch().count()), static_cast<long>((t - seconds).count())};
}

result<void> fill_temporary(const std::string& path, std::string_view content, const write_options& options) {
  // A left-over of a crash may have other rights or be a link: never write through it.
  ::unlink(path.c_str());
  file out(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (out.get() < 0) return fail(os_error(errno, "create " + path));
  if (::fchmod(out.get(), options.mode) < 0) return fail(os_error(errno, "change the mode of " + path));
  KEDGE_CHECK(write_all(out.get(), content, path));
  if (options.modified) {
    timespec times[2] = {to_timespec(*options.modified), to_timespec(*options.modified)};
    if (::futimens(out.get(), times) < 0) return fail(os_error(errno, "set the time of " + path));
  }
  if (options.sync && ::fsync(out.get()) < 0) return fail(os_error(errno, "sync " + path));
  return {};
}

}  // namespace

result<std::string> read_file(const std::string& path, std::size_t max_bytes) {
  file in(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (in.get() < 0) return fail(os_error(errno, "open " + path));
  std::string out;
  char part[16 << 10];
  for (;;) {
    auto n = ::read(in.get(), part, sizeof part);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(os_error(errno, "read " + path));
    if (n == 0) return out;
    if (out.size() + static_cast<std::size_t>(n) > max_bytes)
      return fail(errc::too_large, path + " is larger than " + std::to_string(max_bytes) + " bytes");
    out.append(part, static_cast<std::size_t>(n));
  }
}

// The new name is durable only once its folder is.
static result<void> sync_folder_of(const std::string& path) {
  auto slash = path.rfind('/');
  auto folder = slash == std::string::npos ? std::string(".") : path.substr(0, slash + 1);
  file dir(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (dir.get() < 0) return fail(os_error(errno, "open " + folder));
  if (::fsync(dir.get()) < 0 && errno != EINVAL) return fail(os_error(errno, "sync " + folder));
  return {};
}

result<void> write_file(const std::string& path, std::string_view content, const write_options& options) {
  auto temporary = path + ".tmp";
  if (auto done = fill_temporary(temporary, content, options); !done) {
    ::unlink(temporary.c_str());
    return done;
  }
  if (::rename(temporary.c_str(), path.c_str()) < 0) {
    auto e = os_error(errno, "rename " + temporary + " to " + path);
    ::unlink(temporary.c_str());
    return fail(std::move(e));
  }
  return options.sync ? sync_folder_of(path) : result<void>();
}

result<void> sync_file(const std::string& path) {
  file f(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (f.get() < 0) return fail(os_error(errno, "open " + path));
  if (::fsync(f.get()) < 0) return fail(os_error(errno, "sync " + path));
  return sync_folder_of(path);
}

result<void> make_folder(const std::string& path, unsigned mode) {
  for (std::size_t at = 1; at <= path.size(); ++at) {
    if (at < path.size() && path[at] != '/') continue;
    auto part = path.substr(0, at);
    if (::mkdir(part.c_str(), mode) < 0 && errno != EEXIST) return fail(os_error(errno, "create folder " + part));
  }
  return {};
}

result<wall_time> modified_time(const std::string& path) {
  struct stat s;
  if (::stat(path.c_str(), &s) < 0) return fail(os_error(errno, "stat " + path));
  return wall_time(std::chrono::seconds(s.st_mtim.tv_sec) + std::chrono::nanoseconds(s.st_mtim.tv_nsec));
}

}  // namespace kedge::crypto
