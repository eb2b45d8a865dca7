#include "backup/reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/strings.h"

namespace kedge::backup {

namespace {
constexpr std::size_t damage_told_max = 20;
}

result<reader> reader::open(const std::string& path) {
  int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return fail(os_error(errno, "open " + path));
  reader r(path, file);
  struct stat s;
  if (::fstat(file, &s) < 0) return fail(os_error(errno, "stat " + path));
  if (!S_ISREG(s.st_mode)) return fail(errc::invalid, path + " is no file");
  r.size_ = static_cast<std::uint64_t>(s.st_size);
  auto begin = r.read(magic.size());
  if (!begin || *begin != magic) return fail(errc::invalid, path + " is no snapshot that kedge has written");
  auto first = r.read_frame();
  if (!first) return fail(std::move(first).error());
  if (first->first.kind != block_kind::header) return fail(r.damaged("its header is not where it belongs"));
  auto about = parse_header(first->second);
  if (!about) return fail(std::move(about).error().with(path + ": "));
  r.about_ = *std::move(about);
  return r;
}

reader::reader(reader&& other) noexcept
    : path_(std::move(other.path_)),
      key_(std::move(other.key_)),
      file_(std::exchange(other.file_, -1)),
      size_(other.size_),
      at_(other.at_),
      block_(other.block_),
      about_(std::move(other.about_)),
      seen_(other.seen_),
      ended_(other.ended_) {}

reader::~reader() {
  if (file_ >= 0) ::close(file_);
}

error reader::damaged(std::string_view what) const {
  return {errc::corrupt, fmt::format("{}: {} (at byte {} of {})", path_, what, at_, size_)};
}

bool reader::has_end() const {
  if (size_ < end_frame_bytes) return false;
  std::string end(end_frame_bytes, '\0');
  if (::pread(file_, end.data(), end.size(), static_cast<off_t>(size_ - end_frame_bytes)) !=
      static_cast<ssize_t>(end.size()))
    return false;
  auto head = parse_head(std::string_view(end).substr(0, frame_head_bytes));
  if (!head || head->kind != block_kind::end || head->size != end_payload_bytes) return false;
  auto text = std::string_view(end);
  return sum_is_right(text.substr(0, frame_head_bytes), text.substr(frame_head_bytes, end_payload_bytes),
                      text.substr(frame_head_bytes + end_payload_bytes));
}

result<void> reader::unlock(std::string_view password) {
  auto key = open_key(about_.sealed_key, password);
  if (!key && key.error().code == errc::unauthenticated)
    return fail(errc::unauthenticated,
                fmt::format("{} was sealed with another token: the one that the cluster had on {} (its id is {}); it "
                            "stood in server/token in the data directory of each of its servers",
                            path_, format_rfc3339(about_.created), about_.token_id));
  if (!key) return fail(std::move(key).error().with(path_ + ": "));
  key_ = *std::move(key);
  return {};
}

result<std::string> reader::read(std::size_t size) {
  if (size > size_ - at_) {
    ended_ = true;
    return fail(damaged("it is cut off"));
  }
  std::string out(size, '\0');
  for (std::size_t got = 0; got < size;) {
    auto n = ::pread(file_, out.data() + got, size - got, static_cast<off_t>(at_ + got));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      ended_ = true;
      return fail(n < 0 ? os_error(errno, "read " + path_) : damaged("it is cut off"));
    }
    got += static_cast<std::size_t>(n);
  }
  at_ += size;
  return out;
}

result<std::pair<frame_head, std::string>> reader::read_frame() {
  KEDGE_TRY(auto head_text, read(frame_head_bytes));
  auto head = parse_head(head_text);
  if (!head) {
    ended_ = true;
    return fail(damaged(head.error().message));
  }
  KEDGE_TRY(auto payload, read(head->size));
  KEDGE_TRY(auto sum, read(frame_sum_bytes));
  if (!sum_is_right(head_text, payload, sum)) return fail(damaged("a block's sum is wrong"));
  return std::pair(*head, std::move(payload));
}

result<std::optional<std::vector<record>>> reader::next() {
  if (ended_) return std::nullopt;
  auto block = read_frame();
  if (!block) {
    ++block_;  // so that what follows opens
    return fail(std::move(block).error());
  }
  if (block->first.kind == block_kind::end) {
    ended_ = true;
    KEDGE_TRY(auto wanted, parse_end(block->second));
    if (wanted.objects != seen_.objects || wanted.blocks != seen_.blocks)
      return fail(damaged(fmt::format("{} objects are in it, and {} were written", seen_.objects, wanted.objects)));
    return std::nullopt;
  }
  auto plain = open_block(block->second, key_, block_++);
  auto records = plain ? parse_records(*plain) : result<std::vector<record>>(fail(plain.error()));
  if (!records) return fail(damaged(records.error().message));
  ++seen_.blocks;
  seen_.objects += records->size();
  return std::optional(*std::move(records));
}

result<examined> examine(source& in, const std::function<void(std::uint64_t done, std::uint64_t of)>& told) {
  examined out{.about = in.about(), .bytes = in.bytes(), .damage = {}};
  for (;;) {
    auto block = in.next();
    if (!block) {
      if (out.damage.size() < damage_told_max) out.damage.push_back(block.error().message);
      if (in.ends()) return out;
      continue;
    }
    if (!*block) return out;
    out.objects += (*block)->size();
    told(out.objects, out.about.objects);
  }
}

}  // namespace kedge::backup
