#include "tunnel/frame.h"

#include <algorithm>
#include <cstring>

#include "base/release.h"

namespace kedge::tunnel {

namespace {

// The obsolete deadline in milliseconds; it must be there, and nobody reads it.
constexpr std::int64_t obsolete_deadline = 15000;

std::uint64_t zigzag(std::int64_t v) noexcept {
  return (static_cast<std::uint64_t>(v) << 1) ^ static_cast<std::uint64_t>(v >> 63);
}
std::int64_t unzigzag(std::uint64_t v) noexcept {
  return static_cast<std::int64_t>(v >> 1) ^ -static_cast<std::int64_t>(v & 1);
}

std::byte* put_varint(std::byte* to, std::int64_t signed_value) noexcept {
  auto v = zigzag(signed_value);
  for (; v >= 0x80; v >>= 7) *to++ = static_cast<std::byte>(v | 0x80);
  *to++ = static_cast<std::byte>(v);
  return to;
}

bool has_deadline(std::int64_t type) noexcept {
  return type == static_cast<std::int64_t>(frame_type::data) || type == static_cast<std::int64_t>(frame_type::connect);
}

}  // namespace

std::size_t write_frame_header(std::span<std::byte, frame_header_max_bytes> out, std::int64_t id,
                               std::int64_t connection, frame_type type) noexcept {
  auto* p = put_varint(out.data(), id);
  p = put_varint(p, connection);
  p = put_varint(p, static_cast<std::int64_t>(type));
  if (has_deadline(static_cast<std::int64_t>(type))) p = put_varint(p, obsolete_deadline);
  return static_cast<std::size_t>(p - out.data());
}

std::string make_frame(std::int64_t id, std::int64_t connection, frame_type type, std::string_view body) {
  std::byte header[frame_header_max_bytes];
  auto n = write_frame_header(header, id, connection, type);
  std::string out;
  out.reserve(n + body.size());
  out += as_text({header, n});
  out += body;
  return out;
}

std::string sync_body(std::span<const std::int64_t> ascending_ids) {
  std::string out;
  out.reserve(ascending_ids.size() * 8);
  for (auto id : ascending_ids)
    for (unsigned i = 0; i < 64; i += 8) out += static_cast<char>(static_cast<std::uint64_t>(id) >> i);
  return out;
}

// true when the header ends with this byte.
result<bool> frame_decoder::header_byte(std::byte b) {
  auto byte = static_cast<unsigned char>(b);
  // Go's ReadVarint: ten bytes at most, and the tenth carries one bit.
  if (value_bytes_ == 9 && byte > 1) return fail(errc::protocol, "tunnel: a number in a frame's header is too large");
  value_ |= static_cast<std::uint64_t>(byte & 0x7f) << (7 * value_bytes_++);
  if (byte & 0x80) return false;
  auto v = unzigzag(value_);
  value_ = 0;
  value_bytes_ = 0;
  switch (field_++) {
    case 1: connection_ = v; break;
    case 2:
      type_ = v;
      if (!has_deadline(v)) field_ = 4;
      break;
    default: break;
  }
  return field_ == 4;
}

std::size_t frame_decoder::body_max() const noexcept {
  switch (static_cast<frame_type>(type_)) {
    case frame_type::connect: return connect_text_max_bytes;
    case frame_type::error: return error_text_max_bytes;
    case frame_type::sync_connections: return sync_body_max_bytes;
    default: return 0;
  }
}

result<frame_decoder::event> frame_decoder::feed(bytes piece, bool final) {
  while (field_ < 4 && !piece.empty()) {
    KEDGE_TRY(bool done, header_byte(piece.front()));
    piece = piece.subspan(1);
    if (done) {
      begun_ = false;
      release(body_);  // an idle session keeps nothing of its last frame but its text
      cut_ = false;
    }
  }
  if (field_ < 4) {
    if (final) return fail(errc::protocol, "tunnel: a frame ends within its header");
    return event{};
  }
  event e;
  if (type_ == static_cast<std::int64_t>(frame_type::data)) {
    e = {.what = event::kind::data, .connection = connection_, .first = !begun_, .payload = piece};
    begun_ = true;
  } else {
    auto take = std::min(piece.size(), body_max() - body_.size());
    body_ += as_text(piece.first(take));
    if (take < piece.size()) cut_ = true;
    if (final) { KEDGE_TRY(e, whole()); }
  }
  if (final) field_ = 0;
  return e;
}

result<frame_decoder::event> frame_decoder::whole() {
  using kind = event::kind;
  event e;
  e.connection = connection_;
  switch (static_cast<frame_type>(type_)) {
    case frame_type::connect: {
      std::string_view text(body_);
      auto slash = text.find('/');
      if (slash == std::string_view::npos) return fail(errc::protocol, "tunnel: a Connect without an address");
      e.what = kind::connect;
      e.protocol = text.substr(0, slash);
      e.address = text.substr(slash + 1);
      e.cut = cut_;
      return e;
    }
    case frame_type::error:
      e.what = kind::error;
      e.text = body_;
      return e;
    case frame_type::pause: e.what = kind::pause; return e;
    case frame_type::resume: e.what = kind::resume; return e;
    case frame_type::sync_connections: {
      if (cut_) return fail(errc::too_large, "tunnel: a SyncConnections lists too many connections");
      if (body_.size() % 8 != 0) return fail(errc::protocol, "tunnel: a SyncConnections is not made of 8-byte ids");
      ids_.clear();
      for (std::size_t at = 0; at < body_.size(); at += 8) {
        std::uint64_t id = 0;
        for (unsigned i = 0; i < 8; ++i)
          id |= static_cast<std::uint64_t>(static_cast<unsigned char>(body_[at + i])) << (8 * i);
        ids_.push_back(static_cast<std::int64_t>(id));
      }
      e.what = kind::sync;
      e.ids = ids_;
      return e;
    }
    default: return e;  // AddClient, RemoveClient: for peered servers; types that we don't know: ignored (wire)
  }
}

}  // namespace kedge::tunnel
