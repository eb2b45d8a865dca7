#include "node/logs/log_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <vector>

#include "base/descriptor.h"
#include "base/strings.h"
#include "node/limits.h"
#include "node/logs/log_lines.h"

namespace kedge::node {

namespace {

constexpr std::string_view compressed = ".gz", unfinished = ".tmp";

std::unexpected<error> last_error(std::string_view what, const std::string& path) {
  return fail(os_error(errno, fmt::format("{} {}", what, quote(path))));
}

// `path` below `logs`, through no symbolic link.
int open_beneath(const std::string& logs, const std::string& path, int flags) {
  if (!path.starts_with(logs + "/")) {
    errno = EXDEV;
    return -1;
  }
  // The folder of logs itself may be a link: it is the machine owner's.
  descriptor root(::open(logs.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return -1;
  struct open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  return static_cast<int>(::syscall(SYS_openat2, root.get(), path.substr(logs.size() + 1).c_str(), &how, sizeof how));
}

// A file of `folder`, if it is a plain one; a pipe in its place doesn't block.
int open_plain(int folder, const std::string& name) {
  descriptor file(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  struct stat about{};
  if (!file || ::fstat(file.get(), &about) != 0 || !S_ISREG(about.st_mode)) return -1;
  return file.release();
}

// Where a log lies, as long as one looks at it.
struct log_place {
  descriptor folder;
  std::string name;  // of the log
};
log_place place_of(const std::string& logs, const std::string& path) {
  auto slash = path.find_last_of('/');
  return {descriptor(open_beneath(logs, path.substr(0, slash), O_RDONLY | O_DIRECTORY)), path.substr(slash + 1)};
}

// What was set aside of the log, the oldest first.
std::vector<std::string> set_aside(const log_place& at) {
  std::vector<std::string> out;
  auto fd = ::openat(at.folder.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  auto* list = fd < 0 ? nullptr : ::fdopendir(fd);
  if (!list) {
    if (fd >= 0) ::close(fd);
    return out;
  }
  while (auto* entry = ::readdir(list)) {
    std::string name = entry->d_name;
    if (name.starts_with(at.name + ".") && out.size() < log_folder_entries_max) out.push_back(std::move(name));
  }
  ::closedir(list);
  std::sort(out.begin(), out.end());
  return out;
}

void remove(const log_place& at, const std::string& name) { ::unlinkat(at.folder.get(), name.c_str(), 0); }

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    auto n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

bool compress_into(int from, int to) {
  z_stream z{};
  constexpr int gzip_window = 15 + 16;
  if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, gzip_window, 8, Z_DEFAULT_STRATEGY) != Z_OK) return false;
  std::string in(log_piece_bytes, '\0'), out(log_piece_bytes, '\0');
  bool fine = true;
  for (bool end = false; fine && !end;) {
    auto n = ::read(from, in.data(), in.size());
    if (n < 0 && errno == EINTR) continue;
    fine = n >= 0;
    end = n == 0;
    z.next_in = reinterpret_cast<Bytef*>(in.data());
    z.avail_in = fine ? static_cast<uInt>(n) : 0;
    do {
      z.next_out = reinterpret_cast<Bytef*>(out.data());
      z.avail_out = static_cast<uInt>(out.size());
      deflate(&z, end ? Z_FINISH : Z_NO_FLUSH);
      fine = fine && write_all(to, std::string_view(out).substr(0, out.size() - z.avail_out));
    } while (fine && z.avail_out == 0);
  }
  deflateEnd(&z);
  return fine;
}

result<void> compress(const log_place& at, const std::string& name) {
  descriptor from(open_plain(at.folder.get(), name));
  struct stat about{};
  if (!from || ::fstat(from.get(), &about) != 0) {
    remove(at, name);  // nothing that a log can be
    return {};
  }
  auto making = name + std::string(unfinished);
  remove(at, making);
  descriptor to(::openat(at.folder.get(), making.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                         about.st_mode & 0777));
  if (!to) return last_error("create", making);
  if (!compress_into(from.get(), to.get()) ||
      ::renameat(at.folder.get(), making.c_str(), at.folder.get(), (name + std::string(compressed)).c_str()) != 0) {
    auto failed = last_error("compress", name);
    remove(at, making);
    return failed;
  }
  remove(at, name);
  return {};
}

// Whether an earlier turn that ended in between left it: half written, or compressed already.
bool is_leftover(const std::string& name, const std::vector<std::string>& all) {
  if (name.ends_with(unfinished)) return true;
  return !name.ends_with(compressed) && std::binary_search(all.begin(), all.end(), name + std::string(compressed));
}

}  // namespace

result<std::shared_ptr<log_file>> log_file::open(const std::string& logs, const std::string& path) {
  descriptor file(open_beneath(logs, path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  if (!file) return last_error("failed to open log file", path);
  struct stat about{};
  if (::fstat(file.get(), &about) != 0) return last_error("failed to open log file", path);
  if (!S_ISREG(about.st_mode)) return fail(errc::invalid, fmt::format("log file {} is no plain file", quote(path)));
  return std::make_shared<log_file>(file.release());
}

log_file::~log_file() { ::close(fd_); }

result<std::string> log_file::read(std::uint64_t at, std::size_t most) const {
  std::string out(most, '\0');
  auto n = ::pread(fd_, out.data(), most, static_cast<off_t>(at));
  if (n < 0) return fail(os_error(errno, "read a log"));
  out.resize(static_cast<std::size_t>(n));
  return out;
}

std::uint64_t log_file::size() const {
  struct stat about{};
  return ::fstat(fd_, &about) == 0 ? static_cast<std::uint64_t>(about.st_size) : 0;
}

bool log_file::is(const log_file& other) const {
  struct stat own{}, there{};
  return ::fstat(fd_, &own) == 0 && ::fstat(other.fd_, &there) == 0 && own.st_ino == there.st_ino &&
         own.st_dev == there.st_dev;
}

std::uint64_t log_file::tail_begins(std::int64_t lines) const {
  std::string text;
  for (auto at = size(); at > 0;) {
    auto n = static_cast<std::size_t>(std::min<std::uint64_t>(at, log_piece_bytes));
    auto piece = read(at - n, n);
    if (!piece) return 0;
    at -= n;
    text.insert(0, *piece);
    if (auto found = tail_bytes(text, lines)) return at + text.size() - *found;
    if (text.size() > log_tail_max) return at;
  }
  return lines == 0 ? size() : 0;
}

result<void> set_log_aside(const std::string& logs, const std::string& path, int files_max, const std::string& stamp) {
  auto at = place_of(logs, path);
  if (!at.folder) return last_error("open the folder of", path);
  auto older = set_aside(at);
  std::erase_if(older, [&, all = older](auto& name) {
    const bool left = is_leftover(name, all);
    if (left) remove(at, name);
    return left;
  });
  // The log that is set aside now, and the one that begins, are two of them.
  auto kept = static_cast<std::size_t>(std::max(files_max - 2, 0));
  while (older.size() > kept) {
    remove(at, older.front());
    older.erase(older.begin());
  }
  for (auto& name : older)
    if (!name.ends_with(compressed)) KEDGE_CHECK(compress(at, name));
  if (::renameat(at.folder.get(), at.name.c_str(), at.folder.get(), (at.name + "." + stamp).c_str()) != 0)
    return last_error("set aside", path);
  return {};
}

result<void> put_log_back(const std::string& logs, const std::string& path, const std::string& stamp) {
  auto at = place_of(logs, path);
  if (!at.folder || ::renameat(at.folder.get(), (at.name + "." + stamp).c_str(), at.folder.get(), at.name.c_str()) != 0)
    return last_error("put back", path);
  return {};
}

result<void> remove_logs(const std::string& logs, const std::string& path) {
  auto at = place_of(logs, path);
  if (!at.folder) {
    if (errno == ENOENT) return {};
    return last_error("open the folder of", path);
  }
  for (auto& name : set_aside(at)) remove(at, name);
  remove(at, at.name);
  return {};
}

}  // namespace kedge::node
