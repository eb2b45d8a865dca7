// protobuf_wire.h: protobuf's wire format itself: tags, varints, lengths; of Kubernetes' objects and of the runtime's
// messages. Reading never leaves the view.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace kedge::wire {

enum class kind : unsigned char { varint = 0, fixed64 = 1, bytes = 2, group = 3, group_end = 4, fixed32 = 5 };

// One field of a message. For varint and fixed kinds `number` holds the value; for bytes, `data`.
struct field {
  int id = 0;
  wire::kind kind = kind::varint;
  std::uint64_t number = 0;
  std::string_view data;
};

class reader {
 public:
  explicit reader(std::string_view data) : rest_(data) {}
  bool at_end() const noexcept { return rest_.empty(); }

  bool varint(std::uint64_t& out) noexcept {
    out = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      auto b = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      out |= std::uint64_t(b & 0x7f) << shift;
      if (b < 0x80) return true;
    }
    return false;
  }

  // The next field; groups (which Kubernetes never writes) are skipped within it. False: malformed.
  bool next(field& f) noexcept {
    std::uint64_t tag;
    if (!varint(tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff) return false;
    f.id = static_cast<int>(tag >> 3);
    f.kind = static_cast<kind>(tag & 7);
    switch (f.kind) {
      case kind::varint: return varint(f.number);
      case kind::fixed64: return fixed(8, f.number);
      case kind::fixed32: return fixed(4, f.number);
      case kind::bytes: {
        std::uint64_t length;
        if (!varint(length) || length > rest_.size()) return false;
        f.data = rest_.substr(0, length);
        rest_.remove_prefix(length);
        return true;
      }
      case kind::group: return skip_group(f.id);
      case kind::group_end: break;
    }
    return false;
  }

 private:
  bool fixed(std::size_t size, std::uint64_t& out) noexcept {
    if (rest_.size() < size) return false;
    out = 0;
    for (std::size_t i = 0; i < size; ++i) out |= std::uint64_t(static_cast<unsigned char>(rest_[i])) << 8 * i;
    rest_.remove_prefix(size);
    return true;
  }

  // Without recursion: counts how deep it is. Which group an end closes does not matter for what is thrown away.
  bool skip_group(int) noexcept {
    std::size_t open = 1;
    while (open > 0) {
      std::uint64_t tag, ignored;
      if (!varint(tag)) return false;
      switch (static_cast<kind>(tag & 7)) {
        case kind::varint:
          if (!varint(ignored)) return false;
          break;
        case kind::fixed64:
          if (!fixed(8, ignored)) return false;
          break;
        case kind::fixed32:
          if (!fixed(4, ignored)) return false;
          break;
        case kind::bytes:
          if (!varint(ignored) || ignored > rest_.size()) return false;
          rest_.remove_prefix(ignored);
          break;
        case kind::group: ++open; break;
        case kind::group_end: --open; break;
        default: return false;
      }
    }
    return true;
  }

  std::string_view rest_;
};

// Calls `each` with every field of a message. False: it is malformed, or `each` (that gives a bool, or nothing) said
// so.
template <typename Each>
bool read_fields(std::string_view message, Each each) {
  for (reader in(message); !in.at_end();) {
    field f;
    if (!in.next(f)) return false;
    if constexpr (std::is_same_v<decltype(each(f)), bool>) {
      if (!each(f)) return false;
    } else {
      each(f);
    }
  }
  return true;
}

// The fields of a message, one by one: while (m.next()) switch (m.field()) …; then m.ok() says whether all of it is
// well-formed.
class fields {
 public:
  explicit fields(std::string_view message) : in_(message) {}
  bool next() noexcept {
    now_ = {};
    return ok_ && !in_.at_end() && (ok_ = in_.next(now_));
  }
  int field() const noexcept { return now_.id; }
  std::uint64_t number() const noexcept { return now_.number; }  // 0 when the field is none
  std::string_view bytes() const noexcept { return now_.data; }  // empty when it has no length
  bool ok() const noexcept { return ok_; }

 private:
  reader in_;
  wire::field now_;
  bool ok_ = true;
};

inline void put_varint(std::uint64_t n, std::string& out) {
  while (n >= 0x80) {
    out += static_cast<char>(n | 0x80);
    n >>= 7;
  }
  out += static_cast<char>(n);
}
inline void put_tag(int id, kind k, std::string& out) {
  put_varint(static_cast<std::uint64_t>(id) << 3 | static_cast<std::uint64_t>(k), out);
}
inline void put_number(int id, std::uint64_t n, std::string& out) {
  put_tag(id, kind::varint, out);
  put_varint(n, out);
}
inline void put_fixed64(int id, std::uint64_t n, std::string& out) {
  put_tag(id, kind::fixed64, out);
  for (int i = 0; i < 8; ++i) out += static_cast<char>(n >> 8 * i);
}
inline void put_bytes(int id, std::string_view data, std::string& out) {
  put_tag(id, kind::bytes, out);
  put_varint(data.size(), out);
  out += data;
}
// A message written in place: `body` appends it to `out`, then its length is put in front.
template <typename Body>
bool put_message(int id, std::string& out, Body body) {
  put_tag(id, kind::bytes, out);
  auto start = out.size();
  if (!body()) return false;
  std::string length;
  put_varint(out.size() - start, length);
  out.insert(start, length);
  return true;
}

// A message of proto3: what has its default is left out.
class writer {
 public:
  writer& number(int id, std::uint64_t n) {
    if (n != 0) put_number(id, n, out_);
    return *this;
  }
  writer& text(int id, std::string_view s) { return s.empty() ? *this : message(id, s); }
  writer& message(int id, std::string_view m) {
    put_bytes(id, m, out_);
    return *this;
  }
  std::string take() { return std::exchange(out_, {}); }

 private:
  std::string out_;
};

}  // namespace kedge::wire
