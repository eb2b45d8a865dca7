#include "node/images/archive_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/strings.h"
#include "crypto/hasher.h"
#include "node/images/tar.h"
#include "node/limits.h"

namespace kedge::node {

namespace {

// Bytes in, unpacked bytes out.
class unpacker {
 public:
  virtual ~unpacker() = default;
  // Takes all of `in`, or as much as makes `out` full; gives how much it took. errc::invalid: it is malformed.
  virtual result<std::size_t> unpack(std::string_view in, std::string& out) = 0;
  virtual bool is_complete() const = 0;  // whether the bytes may end here
};

class plain final : public unpacker {
 public:
  result<std::size_t> unpack(std::string_view in, std::string& out) override {
    out = in;
    return in.size();
  }
  bool is_complete() const override { return true; }
};

class gzip_unpacker final : public unpacker {
 public:
  gzip_unpacker() { fine_ = inflateInit2(&z_, 15 + 16) == Z_OK; }
  gzip_unpacker(const gzip_unpacker&) = delete;
  gzip_unpacker& operator=(const gzip_unpacker&) = delete;
  ~gzip_unpacker() override { inflateEnd(&z_); }

  result<std::size_t> unpack(std::string_view in, std::string& out) override {
    out.resize(image_piece_bytes);
    // One member may follow another.
    if (ended_ && !in.empty()) {
      inflateReset(&z_);
      ended_ = false;
    }
    z_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
    z_.avail_in = static_cast<uInt>(in.size());
    z_.next_out = reinterpret_cast<Bytef*>(out.data());
    z_.avail_out = static_cast<uInt>(out.size());
    auto code = fine_ ? inflate(&z_, Z_NO_FLUSH) : Z_MEM_ERROR;
    if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)
      return fail(errc::invalid, std::string("gzip: ") + (z_.msg ? z_.msg : "it can't be unpacked"));
    ended_ = code == Z_STREAM_END;
    out.resize(out.size() - z_.avail_out);
    return in.size() - z_.avail_in;
  }
  bool is_complete() const override { return ended_; }

 private:
  z_stream z_{};
  bool fine_ = false, ended_ = false;
};

class zstd_unpacker final : public unpacker {
 public:
  zstd_unpacker() : z_(ZSTD_createDCtx()) {
    if (z_) ZSTD_DCtx_setParameter(z_, ZSTD_d_windowLogMax, zstd_window_log_max);
  }
  zstd_unpacker(const zstd_unpacker&) = delete;
  zstd_unpacker& operator=(const zstd_unpacker&) = delete;
  ~zstd_unpacker() override { ZSTD_freeDCtx(z_); }

  result<std::size_t> unpack(std::string_view in, std::string& out) override {
    out.resize(image_piece_bytes);
    ZSTD_inBuffer from{in.data(), in.size(), 0};
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    if (!z_) return fail(errc::exhausted, "zstd: no memory");
    auto code = ZSTD_decompressStream(z_, &to, &from);
    if (ZSTD_isError(code)) return fail(errc::invalid, std::string("zstd: ") + ZSTD_getErrorName(code));
    ended_ = code == 0;
    out.resize(to.pos);
    return from.pos;
  }
  bool is_complete() const override { return ended_; }

 private:
  ZSTD_DCtx* z_;
  bool ended_ = false;
};

constexpr std::string_view plain_names[] = {".tar"}, gzip_names[] = {".tar.gz", ".tgz"},
                           zstd_names[] = {".tar.zst", ".tzst"};

bool ends_with_any(std::string_view name, std::span<const std::string_view> endings) {
  auto text = lower(name);
  return std::any_of(endings.begin(), endings.end(), [&](auto e) { return text.ends_with(e); });
}

std::unique_ptr<unpacker> unpacker_for(std::string_view name) {
  if (ends_with_any(name, plain_names)) return std::make_unique<plain>();
  if (ends_with_any(name, gzip_names)) return std::make_unique<gzip_unpacker>();
  if (ends_with_any(name, zstd_names)) return std::make_unique<zstd_unpacker>();
  return nullptr;
}

class file_source final : public archive_source, private tar_sink {
 public:
  file_source(int fd, std::unique_ptr<unpacker> u) : fd_(fd), unpacker_(std::move(u)) {}
  file_source(const file_source&) = delete;
  file_source& operator=(const file_source&) = delete;
  ~file_source() override { ::close(fd_); }

  result<std::vector<archive_event>> next() override {
    events_.clear();
    std::string out;
    while (events_.empty()) {
      if (at_ == in_.size() && !out_was_full_) {
        KEDGE_TRY(auto more, fill());
        if (!more) {
          if (!unpacker_->is_complete()) return fail(errc::invalid, "it is cut short");
          KEDGE_CHECK(tar_.finish());
          break;
        }
      }
      KEDGE_TRY(auto took, unpacker_->unpack(std::string_view(in_).substr(at_), out));
      out_was_full_ = out.size() == image_piece_bytes;
      if (took == 0 && out.empty() && at_ < in_.size()) return fail(errc::invalid, "it can't be unpacked");
      at_ += took;
      KEDGE_CHECK(tar_.feed(out));
    }
    return std::move(events_);
  }
  const archive_files& files() const override { return files_; }

 private:
  result<bool> fill() {
    in_.resize(image_piece_bytes);
    ssize_t n = 0;
    while ((n = ::read(fd_, in_.data(), in_.size())) < 0 && errno == EINTR) {}
    if (n < 0) return fail(os_error(errno, "read"));
    in_.resize(static_cast<std::size_t>(n));
    at_ = 0;
    return n > 0;
  }

  result<void> begin(const tar_entry& e) override {
    if (files_.blobs.size() + files_.links.size() >= archive_entries_max)
      return fail(errc::too_large, "it has too many files");
    name_ = e.name;
    while (name_.starts_with("./")) name_.erase(0, 2);
    current_ = {.digest = {}, .size = e.size, .text = {}};
    is_file_ = e.is_file;
    head_.clear();
    if (!is_file_ && !e.link.empty()) files_.links.insert_or_assign(name_, e.link);
    if (is_file_) events_.push_back({archive_event::kind::begins, name_});
    return {};
  }
  result<void> data(std::string_view piece) override {
    if (!is_file_) return {};
    hasher_.update(piece);
    if (head_.size() < magic_bytes) head_ += piece.substr(0, magic_bytes - head_.size());
    const bool may_be_json = head_.starts_with('{') || head_.starts_with('[');
    if (may_be_json && current_.size <= archive_text_max) {
      texts_ += piece.size();
      if (texts_ > archive_texts_max) return fail(errc::too_large, "it has too many descriptions");
      current_.text += piece;
    }
    events_.push_back({archive_event::kind::bytes, std::string(piece)});
    return {};
  }
  result<void> end() override {
    if (!is_file_) return {};
    current_.digest = "sha256:" + hasher_.hex();
    current_.gzip = head_.starts_with("\x1f\x8b");
    current_.zstd = head_.starts_with("\x28\xb5\x2f\xfd");
    events_.push_back({archive_event::kind::ends, current_.digest});
    files_.blobs.insert_or_assign(name_, std::move(current_));
    return {};
  }

  static constexpr std::size_t magic_bytes = 4;
  int fd_;
  std::unique_ptr<unpacker> unpacker_;
  std::string in_;
  std::size_t at_ = 0;
  bool out_was_full_ = false;
  tar_reader tar_{*this};
  archive_files files_;
  std::vector<archive_event> events_;
  // of the entry that is read
  std::string name_, head_;
  blob current_;
  bool is_file_ = false;
  crypto::sha256_hasher hasher_;
  std::size_t texts_ = 0;
};

}  // namespace

bool is_archive_name(std::string_view name) { return unpacker_for(name) != nullptr; }

result<std::unique_ptr<archive_source>> archive_source::open(const std::string& path) {
  auto unpack = unpacker_for(path);
  if (!unpack) return fail(errc::unsupported, "it is neither .tar, .tar.gz, .tgz, .tar.zst nor .tzst");
  auto fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) return fail(os_error(errno, "open"));
  auto out = std::make_unique<file_source>(fd, std::move(unpack));
  struct stat about{};
  if (::fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)) return fail(errc::invalid, "it is no plain file");
  return out;
}

}  // namespace kedge::node
