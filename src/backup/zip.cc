#include "backup/zip.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/descriptor.h"

namespace kedge::backup {

namespace {

// APPNOTE.TXT 6.3.10, §4.3: the records, each behind its signature.
constexpr std::uint32_t local_signature = 0x04034b50, central_signature = 0x02014b50, end_signature = 0x06054b50;
constexpr std::size_t local_bytes = 30, central_bytes = 46, end_bytes = 22, comment_bytes_max = 65535;
constexpr std::uint32_t elsewhere = 0xffffffff;  // zip64 has the number
constexpr std::size_t piece_bytes = 256 * 1024;

template <typename T>
T number(std::string_view in, std::size_t at) {
  T out = 0;
  for (std::size_t i = 0; i < sizeof(T) && at + i < in.size(); ++i)
    out = static_cast<T>(out | static_cast<T>(static_cast<unsigned char>(in[at + i])) << 8 * i);
  return out;
}

std::string read_at(int file, std::uint64_t at, std::size_t size) {
  std::string out(size, '\0');
  std::size_t got = 0;
  while (got < size) {
    auto n = ::pread(file, out.data() + got, size - got, static_cast<off_t>(at + got));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    got += static_cast<std::size_t>(n);
  }
  out.resize(got);
  return out;
}

result<void> write_all(int file, std::string_view text) {
  while (!text.empty()) {
    auto n = ::write(file, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(os_error(errno, "write"));
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

struct member {
  std::uint16_t method = 0;
  std::uint32_t sum = 0;
  std::uint64_t packed = 0, size = 0, at = 0;  // at: of its bytes
};

result<member> only_member(int file, std::uint64_t size) {
  const auto look = std::min<std::uint64_t>(size, end_bytes + comment_bytes_max);
  auto tail = read_at(file, size - look, look);
  std::optional<std::size_t> end;
  for (std::size_t i = tail.size() < end_bytes ? 0 : tail.size() - end_bytes + 1; i-- > 0 && !end;)
    if (number<std::uint32_t>(tail, i) == end_signature) end = i;
  if (!end) return fail(errc::corrupt, "it is no whole archive");
  if (number<std::uint16_t>(tail, *end + 10) != 1) return fail(errc::invalid, "it has not one file in it");
  auto central = read_at(file, number<std::uint32_t>(tail, *end + 16), central_bytes);
  if (central.size() < central_bytes || number<std::uint32_t>(central, 0) != central_signature)
    return fail(errc::corrupt, "its list of files is damaged");
  member m{.method = number<std::uint16_t>(central, 10),
           .sum = number<std::uint32_t>(central, 16),
           .packed = number<std::uint32_t>(central, 20),
           .size = number<std::uint32_t>(central, 24),
           .at = number<std::uint32_t>(central, 42)};
  if (m.packed == elsewhere || m.size == elsewhere || m.at == elsewhere)
    return fail(errc::unsupported, "it is an archive of 4 GiB or more: unpack it first");
  if (m.method != 0 && m.method != Z_DEFLATED)
    return fail(errc::unsupported, "it is packed by another way than deflate");
  auto local = read_at(file, m.at, local_bytes);
  if (local.size() < local_bytes || number<std::uint32_t>(local, 0) != local_signature)
    return fail(errc::corrupt, "its file is not where it is said to be");
  m.at += local_bytes + number<std::uint16_t>(local, 26) + number<std::uint16_t>(local, 28);
  if (m.at > size || m.packed > size - m.at) return fail(errc::corrupt, "it is cut off");
  return m;
}

// Bytes that were packed, piece by piece.
class inflater {
 public:
  explicit inflater(bool packed) : packed_(packed) {
    if (packed_) ready_ = ::inflateInit2(&z_, -MAX_WBITS) == Z_OK;
  }
  inflater(const inflater&) = delete;
  inflater& operator=(const inflater&) = delete;
  ~inflater() {
    if (packed_ && ready_) ::inflateEnd(&z_);
  }

  // What `in` unpacks to, to `give`; no more than there is to be.
  template <typename Give>
  result<void> feed(std::string_view in, Give give) {
    if (!packed_) return give(in);
    if (!ready_) return fail(errc::exhausted, "zlib has no memory");
    z_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
    z_.avail_in = static_cast<uInt>(in.size());
    std::string out(piece_bytes, '\0');
    while (!ended_) {
      z_.next_out = reinterpret_cast<Bytef*>(out.data());
      z_.avail_out = static_cast<uInt>(out.size());
      auto code = ::inflate(&z_, Z_NO_FLUSH);
      if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)
        return fail(errc::corrupt, "it can't be unpacked");
      ended_ = code == Z_STREAM_END;
      auto made = out.size() - z_.avail_out;
      if (made > 0) KEDGE_CHECK(give(std::string_view(out).substr(0, made)));
      if (made == 0) break;
    }
    return {};
  }

 private:
  const bool packed_;
  bool ready_ = true, ended_ = false;
  z_stream z_{};
};

result<void> unpack(int from, int to) {
  struct stat s;
  if (::fstat(from, &s) < 0) return fail(os_error(errno, "stat"));
  KEDGE_TRY(auto m, only_member(from, static_cast<std::uint64_t>(s.st_size)));
  std::uint64_t size = 0;
  auto sum = ::crc32(0, nullptr, 0);
  inflater unpacking(m.method != 0);
  for (std::uint64_t done = 0; done < m.packed;) {
    auto piece = read_at(from, m.at + done, std::min<std::uint64_t>(piece_bytes, m.packed - done));
    if (piece.empty()) return fail(errc::corrupt, "it is cut off");
    done += piece.size();
    KEDGE_CHECK(unpacking.feed(piece, [&](std::string_view plain) -> result<void> {
      size += plain.size();
      if (size > m.size) return fail(errc::corrupt, "its file is larger than it is said to be");
      sum = ::crc32(sum, reinterpret_cast<const Bytef*>(plain.data()), static_cast<uInt>(plain.size()));
      return write_all(to, plain);
    }));
  }
  if (size != m.size || sum != m.sum) return fail(errc::corrupt, "its file's sum is wrong");
  return {};
}

}  // namespace

bool is_zip(const std::string& path) {
  descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return file.get() >= 0 && number<std::uint32_t>(read_at(file.get(), 0, 4), 0) == local_signature;
}

result<void> unzip(const std::string& path, const std::string& to) {
  descriptor from(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (from.get() < 0) return fail(os_error(errno, "open " + path));
  ::unlink(to.c_str());
  descriptor into(::open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (into.get() < 0) return fail(os_error(errno, "create " + to));
  auto done = unpack(from.get(), into.get());
  if (done) return {};
  ::unlink(to.c_str());
  return fail(std::move(done).error().with(path + ": "));
}

}  // namespace kedge::backup
