#include "node/images/tar.h"

#include <algorithm>

#include "base/strings.h"

namespace kedge::node {

namespace {

constexpr std::size_t block = 512;
constexpr std::size_t meta_max = 1024 * 1024;  // of a name or a pax header: paths have 4 KiB at most

std::unexpected<error> malformed(const char* what) {
  return fail(errc::invalid, std::string("the archive is malformed: ") + what);
}

// A field of text, up to its first zero.
std::string_view text_at(std::string_view b, std::size_t at, std::size_t size) {
  auto field = b.substr(at, size);
  return field.substr(0, field.find('\0'));
}

// Octal; or, of large ones, binary with the first bit set (GNU).
result<std::uint64_t> number_at(std::string_view b, std::size_t at, std::size_t size) {
  auto field = b.substr(at, size);
  std::uint64_t out = 0;
  if (static_cast<unsigned char>(field[0]) == 0x80) {
    for (char c : field.substr(1)) {
      if (out >> 55 != 0) return malformed("a size beyond reason");
      out = out << 8 | static_cast<unsigned char>(c);
    }
    return out;
  }
  auto text = trim(field.substr(0, field.find('\0')));
  for (char c : text) {
    if (c < '0' || c > '7' || out >> 60 != 0) return malformed("a number that is none");
    out = out << 3 | static_cast<std::uint64_t>(c - '0');
  }
  return out;
}

bool checks(std::string_view b) {
  unsigned sum = 0;
  for (std::size_t i = 0; i < block; ++i) sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(b[i]);
  auto told = number_at(b, 148, 8);
  return told && *told == sum;
}

}  // namespace

result<void> tar_reader::header(std::string_view b) {
  if (b.find_first_not_of('\0') == std::string_view::npos) {
    at_end_ = true;
    return {};
  }
  if (!checks(b))
    return fail(errc::invalid, any_ ? "the archive is malformed: a header's sum is wrong" : "it is no tar archive");
  any_ = true;
  KEDGE_TRY(left_, number_at(b, 124, 12));
  const char type = b[156];
  kind_ = type == 'x'   ? kind::pax
          : type == 'L' ? kind::long_name
          : type == 'K' ? kind::long_link
          : type == 'g' ? kind::ignored
                        : kind::entry;
  if (kind_ == kind::entry) {
    tar_entry e;
    e.name = name_;
    if (e.name.empty()) {
      const bool ustar = text_at(b, 257, 6) == "ustar";
      if (auto prefix = text_at(b, 345, 155); ustar && !prefix.empty()) e.name = std::string(prefix) + "/";
      e.name += text_at(b, 0, 100);
    }
    e.link = link_.empty() ? std::string(text_at(b, 157, 100)) : link_;
    if (has_size_) left_ = size_;
    e.is_file = type == '0' || type == '\0' || type == '7';
    if (!e.is_file && type != '1' && type != '2') e.link.clear();
    if (!e.is_file) left_ = 0;
    e.size = left_;
    name_.clear();
    link_.clear();
    has_size_ = false;
    KEDGE_CHECK(sink_.begin(e));
  } else if (kind_ != kind::ignored && left_ > meta_max) {
    return malformed("a name beyond reason");
  }
  padding_ = (block - left_ % block) % block;
  if (left_ == 0 && kind_ == kind::entry) return sink_.end();
  return {};
}

// "27 path=some/long/name\n", one after another.
result<void> tar_reader::meta_ended() {
  auto text = std::exchange(meta_, {});
  auto up_to_zero = [&] { return text.substr(0, text.find('\0')); };
  if (kind_ == kind::long_name) name_ = up_to_zero();
  if (kind_ == kind::long_link) link_ = up_to_zero();
  if (kind_ != kind::pax) return {};
  for (std::string_view rest = text; !rest.empty();) {
    auto space = rest.find(' ');
    auto size = space == std::string_view::npos ? std::nullopt : parse_uint(rest.substr(0, space));
    if (!size || *size <= space + 1 || *size > rest.size()) return malformed("a pax header");
    auto record = rest.substr(space + 1, *size - space - 2);
    rest.remove_prefix(*size);
    auto equals = record.find('=');
    if (equals == std::string_view::npos) return malformed("a pax header");
    auto key = record.substr(0, equals), value = record.substr(equals + 1);
    if (key == "path") name_ = value;
    if (key == "linkpath") link_ = value;
    if (key == "size") {
      auto n = parse_uint(value);
      if (!n) return malformed("a size that is none");
      size_ = *n;
      has_size_ = true;
    }
  }
  return {};
}

result<void> tar_reader::feed(std::string_view bytes) {
  while (!bytes.empty() && !at_end_) {
    if (left_ > 0) {
      auto piece = bytes.substr(0, std::min<std::uint64_t>(left_, bytes.size()));
      bytes.remove_prefix(piece.size());
      left_ -= piece.size();
      if (kind_ == kind::entry)
        KEDGE_CHECK(sink_.data(piece));
      else if (kind_ != kind::ignored)
        meta_ += piece;
      if (left_ > 0) return {};
      if (kind_ == kind::entry)
        KEDGE_CHECK(sink_.end());
      else
        KEDGE_CHECK(meta_ended());
      continue;
    }
    if (padding_ > 0) {
      auto n = std::min<std::uint64_t>(padding_, bytes.size());
      bytes.remove_prefix(n);
      padding_ -= n;
      continue;
    }
    auto n = std::min(block - held_.size(), bytes.size());
    held_ += bytes.substr(0, n);
    bytes.remove_prefix(n);
    if (held_.size() == block) KEDGE_CHECK(header(std::exchange(held_, {})));
  }
  return {};
}

result<void> tar_reader::finish() const {
  if (!any_ && !at_end_) return fail(errc::invalid, "it is no tar archive");
  if (!at_end_ && (left_ > 0 || padding_ > 0 || !held_.empty())) return malformed("it is cut short");
  return {};
}

}  // namespace kedge::node
