#include "datastore/etcd/bolt_file.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <utility>
#include <vector>

namespace kedge::datastore::etcd {

namespace {

static_assert(std::endian::native == std::endian::little, "the file is in the byte order of its machine");

constexpr std::uint32_t magic = 0xED0CDAED, version = 2;
constexpr std::uint16_t branch_page = 1, leaf_page = 2;
constexpr std::uint32_t is_bucket = 1;
constexpr std::size_t header_bytes = 16, element_bytes = 16, bucket_bytes = 16, meta_bytes = 64;
constexpr std::size_t page_bytes_least = 1024, page_bytes_most = 64 * 1024;
// The pages on the way to etcd's own few keys: no honest one is near that.
constexpr std::size_t node_bytes_most = 16 * 1024 * 1024;
constexpr int depth_most = 32;

// A number at that place; 0 where there is none, which leads nowhere.
template <typename T>
T number(std::string_view in, std::size_t at) {
  T out = 0;
  if (at <= in.size() && in.size() - at >= sizeof out) std::memcpy(&out, in.data() + at, sizeof out);
  return out;
}

std::string_view part(std::string_view in, std::size_t at, std::size_t size) {
  return at <= in.size() && in.size() - at >= size ? in.substr(at, size) : std::string_view();
}

// FNV-1a.
std::uint64_t sum_of(std::string_view text) {
  std::uint64_t out = 0xcbf29ce484222325;
  for (unsigned char c : text) out = (out ^ c) * 0x100000001b3;
  return out;
}

struct meta {
  std::size_t page_bytes;
  std::uint64_t root, transaction;
};

struct found {
  std::uint32_t flags;
  std::string value;
};

using entry_sink = std::function<result<void>(std::string_view, std::string_view)>;

class reader {
 public:
  explicit reader(const std::string& file) : in_(file, std::ios::binary) {}

  std::optional<std::string> value(std::string_view bucket, std::string_view key) {
    auto newest = newest_meta();
    if (!newest) return std::nullopt;
    page_bytes_ = newest->page_bytes;
    auto top = find_below(newest->root, bucket);
    if (!top || !(top->flags & is_bucket)) return std::nullopt;
    // A small one lies in its own entry.
    auto root = number<std::uint64_t>(top->value, 0);
    auto in_place = part(top->value, bucket_bytes, top->value.size() - std::min(bucket_bytes, top->value.size()));
    auto there = root ? find_below(root, key) : find_in_leaf(in_place, key);
    if (!there || there->flags & is_bucket) return std::nullopt;
    return std::move(there->value);
  }

  bool is_one() { return newest_meta().has_value(); }

  result<void> each(std::string_view bucket, const entry_sink& give) {
    auto newest = newest_meta();
    if (!newest) return fail(errc::corrupt, "neither of its first pages is whole");
    page_bytes_ = newest->page_bytes;
    auto top = find_below(newest->root, bucket);
    if (!top || !(top->flags & is_bucket))
      return fail(errc::not_found, "it has no bucket \"" + std::string(bucket) + "\"");
    auto root = number<std::uint64_t>(top->value, 0);
    if (!root) return each_in_leaf(part(top->value, bucket_bytes, top->value.size() - bucket_bytes), give);
    in_.clear();
    in_.seekg(0, std::ios::end);
    const auto pages = static_cast<std::uint64_t>(in_.tellg()) / page_bytes_;
    std::vector<std::uint64_t> waiting{root};
    for (std::uint64_t seen = 0; !waiting.empty(); ++seen) {
      auto page = waiting.back();
      waiting.pop_back();
      auto text = seen < pages ? node(page) : std::string();  // one that leads back to itself ends, too
      if (number<std::uint16_t>(text, 8) != branch_page) {
        KEDGE_CHECK(each_in_leaf(text, give));
        continue;
      }
      // The first child is to come next.
      for (std::size_t i = number<std::uint16_t>(text, 10); i-- > 0;) {
        auto e = header_bytes + i * element_bytes;
        if (part(text, e, element_bytes).empty()) return damaged();
        waiting.push_back(number<std::uint64_t>(text, e + 8));
      }
    }
    return {};
  }

 private:
  static std::unexpected<error> damaged() { return fail(errc::corrupt, "a page of it is damaged"); }

  static result<void> each_in_leaf(std::string_view text, const entry_sink& give) {
    if (number<std::uint16_t>(text, 8) != leaf_page) return damaged();
    auto count = number<std::uint16_t>(text, 10);
    for (std::size_t i = 0; i < count; ++i) {
      auto e = header_bytes + i * element_bytes;
      std::uint64_t at = e + number<std::uint32_t>(text, e + 4);
      std::uint64_t key_size = number<std::uint32_t>(text, e + 8), size = number<std::uint32_t>(text, e + 12);
      if (part(text, e, element_bytes).empty() || at + key_size + size > text.size() ||
          number<std::uint32_t>(text, e) & is_bucket)
        return damaged();
      KEDGE_CHECK(give(text.substr(at, key_size), text.substr(at + key_size, size)));
    }
    return {};
  }

  std::string read(std::uint64_t at, std::size_t size) {
    std::string out(size, '\0');
    in_.clear();
    in_.seekg(static_cast<std::streamoff>(at));
    in_.read(out.data(), static_cast<std::streamsize>(size));
    out.resize(static_cast<std::size_t>(std::max<std::streamsize>(in_.gcount(), 0)));
    return out;
  }

  std::optional<meta> meta_at(std::uint64_t at) {
    auto text = read(at + header_bytes, meta_bytes);
    auto size = number<std::uint32_t>(text, 8);
    if (number<std::uint32_t>(text, 0) != magic || number<std::uint32_t>(text, 4) != version ||
        number<std::uint64_t>(text, meta_bytes - 8) != sum_of(part(text, 0, meta_bytes - 8)) ||
        size < page_bytes_least || size > page_bytes_most)
      return std::nullopt;
    return meta{size, number<std::uint64_t>(text, 16), number<std::uint64_t>(text, 48)};
  }

  // The first page and the second; how large a page is, each says itself.
  std::optional<meta> newest_meta() {
    auto out = meta_at(0);
    for (auto size = page_bytes_least; size <= page_bytes_most; size *= 2)
      if (auto second = meta_at(size); second && second->page_bytes == size)
        if (!out || second->transaction > out->transaction) out = second;
    return out;
  }

  std::string node(std::uint64_t page) {
    if (page > UINT32_MAX) return {};
    auto at = page * page_bytes_;
    auto more = number<std::uint32_t>(read(at, header_bytes), 12);
    auto size = (std::uint64_t(more) + 1) * page_bytes_;
    return size <= node_bytes_most ? read(at, size) : std::string();
  }

  std::optional<found> find_below(std::uint64_t page, std::string_view key) {
    for (int depth = 0; depth < depth_most; ++depth) {
      auto text = node(page);
      if (number<std::uint16_t>(text, 8) != branch_page) return find_in_leaf(text, key);
      auto count = number<std::uint16_t>(text, 10);
      if (!count) return std::nullopt;
      // The last child that doesn't begin behind it.
      for (std::size_t i = 0; i < count; ++i) {
        auto e = header_bytes + i * element_bytes;
        auto begins = part(text, e + number<std::uint32_t>(text, e), number<std::uint32_t>(text, e + 4));
        if (i > 0 && begins > key) break;
        page = number<std::uint64_t>(text, e + 8);
      }
    }
    return std::nullopt;
  }

  static std::optional<found> find_in_leaf(std::string_view text, std::string_view key) {
    if (number<std::uint16_t>(text, 8) != leaf_page) return std::nullopt;
    auto count = number<std::uint16_t>(text, 10);
    for (std::size_t i = 0; i < count; ++i) {
      auto e = header_bytes + i * element_bytes;
      auto at = e + number<std::uint32_t>(text, e + 4);
      auto key_size = number<std::uint32_t>(text, e + 8), size = number<std::uint32_t>(text, e + 12);
      if (part(text, at, key_size) == key)
        return found{number<std::uint32_t>(text, e), std::string(part(text, at + key_size, size))};
    }
    return std::nullopt;
  }

  std::ifstream in_;
  std::size_t page_bytes_ = 0;
};

}  // namespace

std::optional<std::string> read_bolt(const std::string& file, std::string_view bucket, std::string_view key) {
  return reader(file).value(bucket, key);
}

result<void> each_in_bolt(const std::string& file, std::string_view bucket, const entry_sink& give) {
  auto done = reader(file).each(bucket, give);
  if (!done) return fail(std::move(done).error().with(file + ": "));
  return {};
}

bool is_bolt(const std::string& file) { return reader(file).is_one(); }

}  // namespace kedge::datastore::etcd
