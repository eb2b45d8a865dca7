// wire.h: protobuf's wire format, as much as the runtime interface (CRI) needs: varints, fixed-width fields to pass over,
// and length-delimited fields. Sans-I/O; a reader never looks beyond its view and fails on anything malformed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace kedge::node {

class wire_writer {
 public:
  void number(unsigned field, std::uint64_t v) {  // zero is the default and left out, as proto3 does
    if (v == 0) return;
    varint(field << 3);
    varint(v);
  }
  void text(unsigned field, std::string_view v) {
    if (!v.empty()) message(field, v);
  }
  void message(unsigned field, std::string_view v) {
    varint(field << 3 | 2);
    varint(v.size());
    out_ += v;
  }
  std::string take() { return std::move(out_); }

 private:
  void varint(std::uint64_t v) {
    for (; v >= 0x80; v >>= 7) out_ += static_cast<char>(v | 0x80);
    out_ += static_cast<char>(v);
  }
  std::string out_;
};

// for (wire_reader r(message); r.next();) switch (r.field()) … ; then r.ok() says whether all of it was well-formed.
class wire_reader {
 public:
  explicit wire_reader(std::string_view message) : rest_(message) {}

  bool next() {
    number_ = 0;
    bytes_ = {};
    if (rest_.empty() || !ok_) return false;
    std::uint64_t tag = 0;
    if (!varint(tag) || tag >> 3 == 0 || tag >> 3 > max_field) return ok_ = false;
    field_ = static_cast<unsigned>(tag >> 3);
    switch (tag & 7) {
      case 0: return ok_ = varint(number_);
      case 1: return ok_ = skip(8);
      case 2: {
        std::uint64_t n = 0;
        if (!varint(n) || n > rest_.size()) return ok_ = false;
        bytes_ = rest_.substr(0, n);
        rest_.remove_prefix(n);
        return true;
      }
      case 5: return ok_ = skip(4);
      default: return ok_ = false;  // groups are not in proto3
    }
  }
  unsigned field() const { return field_; }
  std::uint64_t number() const { return number_; }   // 0 when the field is no varint
  std::string_view bytes() const { return bytes_; }  // empty when it is not length-delimited
  bool ok() const { return ok_; }

 private:
  static constexpr std::uint64_t max_field = (1U << 29) - 1;

  bool varint(std::uint64_t& v) {
    v = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      auto b = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      v |= std::uint64_t(b & 0x7f) << shift;
      if (!(b & 0x80)) return true;
    }
    return false;
  }
  bool skip(std::size_t n) {
    if (rest_.size() < n) return false;
    rest_.remove_prefix(n);
    return true;
  }

  std::string_view rest_;
  std::string_view bytes_;
  std::uint64_t number_ = 0;
  unsigned field_ = 0;
  bool ok_ = true;
};

}  // namespace kedge::node
