#include "api/audit/log.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <deque>
#include <mutex>
#include <vector>

#include "api/audit/limits.h"
#include "base/log.h"
#include "crypto/files.h"
#include "reactor/loop.h"
#include "reactor/offload.h"

namespace kedge::api {
namespace {

constexpr std::size_t time_characters = 23;  // 2026-11-21T04-50-38.000, in a rotated file's name
constexpr std::size_t compressed_piece_bytes = 64 * 1024;

// `path` by gzip as `path`.gz, which takes its place.
result<void> compress_file(const std::string& path) {
  auto from = std::fopen(path.c_str(), "rbe");
  if (!from) return fail(os_error(errno, "open " + path));
  const auto to = path + ".gz";
  const int descriptor = ::open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  gzFile out = descriptor < 0 ? nullptr : ::gzdopen(descriptor, "wb");
  bool good = out != nullptr;
  if (!out && descriptor >= 0) ::close(descriptor);
  std::vector<char> piece(compressed_piece_bytes);
  while (good) {
    const auto n = std::fread(piece.data(), 1, piece.size(), from);
    if (n == 0) break;
    good = ::gzwrite(out, piece.data(), static_cast<unsigned>(n)) == static_cast<int>(n);
  }
  good = good && std::ferror(from) == 0;
  if (out) good = ::gzclose(out) == Z_OK && good;
  std::fclose(from);
  if (!good) {
    ::unlink(to.c_str());
    return fail(errc::io, "compress " + path);
  }
  ::unlink(path.c_str());
  return {};
}

// When a file was rotated, by what stands in its name between `prefix` and `ending`.
std::optional<wall_time> rotated_at(std::string_view name, std::string_view prefix, std::string_view ending) {
  if (name.ends_with(".gz")) name.remove_suffix(3);
  if (!name.starts_with(prefix) || !name.ends_with(ending)) return std::nullopt;
  name = name.substr(prefix.size(), std::max(name.size() - prefix.size(), ending.size()) - ending.size());
  if (name.size() != time_characters) return std::nullopt;
  std::string time(name);
  time[13] = time[16] = ':';
  auto when = parse_rfc3339(time + "Z");
  return when ? std::optional(*when) : std::nullopt;
}

}  // namespace

// The queue and the file. The queue's mutex is held for a push or a swap only; the file belongs to who holds its own,
// which is one job of the offload pool at a time (or flush()).
struct audit_log::file {
  audit_log_settings settings;
  std::shared_ptr<std::atomic<std::uint64_t>> lost;  // the log's count

  std::mutex mutex;
  std::deque<std::string> waiting;
  std::size_t waiting_bytes = 0;
  std::uint64_t pushed = 0, written = 0;        // lines, counted from 1
  std::uint64_t lost_first = 0, lost_last = 0;  // of the last batch that could not be written; 0: none
  bool writing = false;                         // a job of batch mode is on its way

  std::mutex file_mutex;
  int descriptor = -1;
  std::uint64_t size = 0;

  ~file() {
    if (descriptor > STDERR_FILENO) ::close(descriptor);
  }

  bool is_output() const noexcept { return settings.path == "-"; }

  result<void> open_file() {
    if (is_output()) {
      descriptor = STDOUT_FILENO;
      return {};
    }
    // Audit events name users and objects: for root only, as kube-apiserver's.
    descriptor = ::open(settings.path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (descriptor < 0) return fail(os_error(errno, "open audit log " + settings.path));
    struct stat s{};
    size = ::fstat(descriptor, &s) == 0 ? static_cast<std::uint64_t>(s.st_size) : 0;
    return {};
  }

  // "audit.log" becomes "audit-2026-11-21T04-50-38.000.log", as lumberjack (which kube-apiserver uses) names it.
  void rotate() {
    auto slash = settings.path.rfind('/');
    auto dot = settings.path.rfind('.');
    if (dot == std::string::npos || (slash != std::string::npos && dot < slash)) dot = settings.path.size();
    auto stem = settings.path.substr(0, dot) + '-', ending = settings.path.substr(dot);
    auto now = system_wall_time();
    auto time = format_rfc3339_micro(now).substr(0, time_characters);
    std::replace(time.begin(), time.end(), ':', '-');
    ::close(std::exchange(descriptor, -1));
    const auto old = stem + time + ending;
    if (::rename(settings.path.c_str(), old.c_str()) != 0)
      log::error("audit log {} can't be rotated: {}", settings.path, os_error(errno, "rename").message);
    if (auto opened = open_file(); !opened) log::error("{}", opened.error().message);
    if (settings.compress)
      if (auto done = compress_file(old); !done) log::error("audit log: {}", done.error().message);
    remove_old(stem, ending, now);
  }

  void remove_old(const std::string& stem, const std::string& ending, wall_time now) const {
    auto slash = stem.rfind('/');
    auto folder = slash == std::string::npos ? std::string("./") : stem.substr(0, slash + 1);
    auto prefix = slash == std::string::npos ? stem : stem.substr(slash + 1);
    std::vector<std::pair<wall_time, std::string>> old;
    auto opened = ::opendir(folder.c_str());
    if (!opened) return;
    while (auto entry = ::readdir(opened))
      if (auto when = rotated_at(entry->d_name, prefix, ending)) old.emplace_back(*when, entry->d_name);
    ::closedir(opened);
    std::sort(old.rbegin(), old.rend());  // newest first
    const auto oldest = now - std::chrono::hours(24) * settings.max_age_days;
    for (std::size_t i = 0; i < old.size(); ++i) {
      const bool aged = settings.max_age_days > 0 && old[i].first < oldest;
      if ((settings.max_backups > 0 && i >= settings.max_backups) || aged) ::unlink((folder + old[i].second).c_str());
    }
  }

  bool write_all(std::string_view text) {
    if (settings.max_bytes > 0 && !is_output() && size > 0 && size + text.size() > settings.max_bytes) rotate();
    if (descriptor < 0 && !open_file()) return false;
    while (!text.empty()) {
      auto n = ::write(descriptor, text.data(), text.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        log::error("{}", os_error(errno, "write audit log " + settings.path).message);
        return false;
      }
      size += static_cast<std::uint64_t>(n);
      text.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }

  // The line's number; 0 when there is no room.
  std::uint64_t push(std::string&& line, std::size_t events_max) {
    std::scoped_lock lock(mutex);
    if (waiting.size() >= events_max || waiting_bytes + line.size() > audit_queue_max_bytes) return 0;
    waiting_bytes += line.size();
    waiting.push_back(std::move(line));
    return ++pushed;
  }

  // Writes what waits, in batches, until nothing does.
  void drain() {
    std::scoped_lock own(file_mutex);
    for (;;) {
      std::string batch;
      std::uint64_t lines = 0;
      {
        std::scoped_lock lock(mutex);
        while (!waiting.empty() && (batch.empty() || batch.size() + waiting.front().size() <= audit_batch_max_bytes)) {
          batch += waiting.front();
          waiting_bytes -= waiting.front().size();
          waiting.pop_front();
          ++lines;
        }
        if (lines == 0) {
          writing = false;
          return;
        }
      }
      const bool good = write_all(batch);
      std::scoped_lock lock(mutex);
      if (!good) {
        lost->fetch_add(lines, std::memory_order_relaxed);
        lost_first = written + 1;
        lost_last = written + lines;
      }
      written += lines;
    }
  }

  bool is_written(std::uint64_t number) {
    std::scoped_lock lock(mutex);
    return written >= number;
  }
  bool is_lost(std::uint64_t number) {
    std::scoped_lock lock(mutex);
    return number >= lost_first && number <= lost_last;
  }
};

result<std::shared_ptr<audit_log>> audit_log::open(audit_log_settings settings) {
  auto f = std::make_shared<file>();
  f->settings = std::move(settings);
  if (auto slash = f->settings.path.rfind('/'); slash != std::string::npos && slash > 0)
    if (auto made = crypto::make_folder(f->settings.path.substr(0, slash), 0700); !made)
      return fail(std::move(made).error().with("audit log " + f->settings.path + ": "));
  KEDGE_CHECK(f->open_file());
  std::shared_ptr<audit_log> made(new audit_log(f->settings.common, f));
  f->lost = made->lost_;
  return made;
}

audit_log::~audit_log() { flush(); }

std::string audit_log::text_of(const audit_event& e, audit_stage stage, wall_time at) const {
  auto text = audit_backend::text_of(e, stage, at);
  if (text.empty()) return text;
  if (file_->settings.legacy) text = audit_text(e, stage);
  text += '\n';
  return text;
}

bool audit_log::post(std::string text) {
  const auto most = mode() == audit_mode::batch ? common_.buffer_events : SIZE_MAX;
  if (file_->push(std::move(text), most) == 0) {
    if (lost_events() == 0)
      log::warning("audit log {}: the disk doesn't keep up, events are lost", file_->settings.path);
    lost();
    return false;
  }
  {
    std::scoped_lock lock(file_->mutex);
    if (std::exchange(file_->writing, true)) return true;
  }
  // The pool refuses when too much waits there: the next event tries again, what waits is kept.
  if (!reactor::offload_post([f = file_] { f->drain(); })) {
    std::scoped_lock lock(file_->mutex);
    file_->writing = false;
  }
  return true;
}

task<bool> audit_log::write(std::string text) {
  std::uint64_t number = 0;
  while ((number = file_->push(std::move(text), SIZE_MAX)) == 0) co_await reactor::sleep_for(audit_look_again);
  while (!file_->is_written(number)) {
    auto done = co_await reactor::offload([f = file_] {
      f->drain();
      return true;
    });
    if (!done) co_await reactor::sleep_for(audit_look_again);  // too much waits there already
  }
  co_return !file_->is_lost(number);
}

void audit_log::flush() { file_->drain(); }

}  // namespace kedge::api
