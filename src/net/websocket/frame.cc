#include "net/websocket/frame.h"

#include <algorithm>
#include <cstring>

namespace kedge::net::websocket {

bool valid_close_code(std::uint16_t code) noexcept {
  if (code >= 3000 && code <= 4999) return true;
  return code >= 1000 && code <= 1014 && code != 1004 && code != close_no_status && code != close_abnormal;
}

bool utf8_checker::feed(bytes b) noexcept {
  for (auto byte : b) {
    auto c = static_cast<unsigned char>(byte);
    if (need_ == 0) {
      if (c < 0x80) continue;
      low_ = 0x80;
      high_ = 0xbf;
      if (c >= 0xc2 && c <= 0xdf) {
        need_ = 1;
      } else if (c >= 0xe0 && c <= 0xef) {
        need_ = 2;
        if (c == 0xe0) low_ = 0xa0;   // overlong
        if (c == 0xed) high_ = 0x9f;  // surrogates
      } else if (c >= 0xf0 && c <= 0xf4) {
        need_ = 3;
        if (c == 0xf0) low_ = 0x90;
        if (c == 0xf4) high_ = 0x8f;  // beyond U+10FFFF
      } else {
        return false;
      }
    } else {
      if (c < low_ || c > high_) return false;
      low_ = 0x80;
      high_ = 0xbf;
      --need_;
    }
  }
  return true;
}

std::string frame_header(opcode op, bool final, std::uint64_t payload_size, const std::uint32_t* mask) {
  std::string out;
  out += static_cast<char>((final ? 0x80 : 0) | static_cast<unsigned char>(op));
  auto mask_bit = mask ? 0x80 : 0;
  if (payload_size < 126) {
    out += static_cast<char>(mask_bit | static_cast<int>(payload_size));
  } else if (payload_size <= 0xffff) {
    out += static_cast<char>(mask_bit | 126);
    append_be16(out, static_cast<std::uint16_t>(payload_size));
  } else {
    out += static_cast<char>(mask_bit | 127);
    append_be64(out, payload_size);
  }
  if (mask) append_be32(out, *mask);
  return out;
}

void apply_mask(mutable_bytes payload, std::uint32_t mask, std::uint64_t offset) noexcept {
  unsigned char key[8];
  for (unsigned i = 0; i < 8; ++i) key[i] = static_cast<unsigned char>(mask >> (24 - 8 * ((i + offset) % 4)));
  std::uint64_t wide;
  std::memcpy(&wide, key, 8);
  std::size_t i = 0;
  for (; i + 8 <= payload.size(); i += 8) {
    std::uint64_t word;
    std::memcpy(&word, payload.data() + i, 8);
    word ^= wide;
    std::memcpy(payload.data() + i, &word, 8);
  }
  for (; i < payload.size(); ++i) payload[i] ^= static_cast<std::byte>(key[i % 8]);
}

std::unexpected<error> frame_parser::refuse(std::uint16_t code, const char* why) {
  error_code_ = code;
  closed_ = true;
  return fail(code == close_too_big ? errc::too_large : errc::protocol, std::string("websocket: ") + why);
}

// The header stands whole in header_.
result<void> frame_parser::take_header() {
  if (header_[0] & 0x70) return refuse(close_protocol_error, "a reserved bit is set");
  final_ = header_[0] & 0x80;
  op_ = static_cast<opcode>(header_[0] & 0x0f);
  masked_ = header_[1] & 0x80;
  if (masked_ != (own_ == side::server))
    return refuse(close_protocol_error, masked_ ? "a server's frame is masked" : "a client's frame is not masked");
  auto* p = reinterpret_cast<const std::byte*>(header_) + 2;
  size_ = header_[1] & 0x7f;
  if (size_ == 126) {
    size_ = load_be16(p);
    p += 2;
    if (size_ < 126) return refuse(close_protocol_error, "a length is not in its shortest form");
  } else if (size_ == 127) {
    size_ = load_be64(p);
    p += 8;
    if (size_ <= 0xffff || size_ >> 63) return refuse(close_protocol_error, "a length is not in its shortest form");
  }
  mask_ = masked_ ? load_be32(p) : 0;
  seen_ = 0;
  switch (op_) {
    case opcode::close:
    case opcode::ping:
    case opcode::pong:
      if (!final_) return refuse(close_protocol_error, "a control frame is fragmented");
      if (size_ > sizeof control_) return refuse(close_protocol_error, "a control frame is larger than 125 bytes");
      return {};
    case opcode::text:
    case opcode::binary:
      if (in_message_) return refuse(close_protocol_error, "a message begins inside another");
      in_message_ = first_ = true;
      message_ = op_;
      message_size_ = 0;
      utf8_.reset();
      break;
    case opcode::continuation:
      if (!in_message_) return refuse(close_protocol_error, "a continuation without a message");
      break;
    default: return refuse(close_protocol_error, "an unknown opcode");
  }
  if (size_ > message_max_ || message_size_ + size_ > message_max_)
    return refuse(close_too_big, "a message is too large");
  message_size_ += size_;
  return {};
}

result<frame_parser::event> frame_parser::next(mutable_bytes in) {
  event e;
  if (closed_) return fail(errc::closed, "websocket: nothing may follow a close frame");
  if (!in_frame_) {
    for (;;) {
      std::size_t wanted = 2;
      if (header_size_ >= 2) {
        auto length = header_[1] & 0x7f;
        wanted += (length == 126 ? 2 : length == 127 ? 8 : 0) + (header_[1] & 0x80 ? 4 : 0);
      }
      if (header_size_ == wanted) break;
      if (e.consumed == in.size()) return e;
      header_[header_size_++] = static_cast<unsigned char>(in[e.consumed++]);
    }
    header_size_ = 0;
    in_frame_ = true;
    if (auto ok = take_header(); !ok) return std::unexpected(std::move(ok).error());
  }
  auto rest = in.subspan(e.consumed);
  auto piece = rest.first(static_cast<std::size_t>(std::min<std::uint64_t>(rest.size(), size_ - seen_)));
  if (piece.empty() && seen_ < size_) return e;
  if (masked_) apply_mask(piece, mask_, seen_);
  e.consumed += piece.size();
  bool control = static_cast<unsigned>(op_) >= 8;
  if (control && !piece.empty()) std::memcpy(control_ + seen_, piece.data(), piece.size());
  seen_ += piece.size();
  bool frame_done = seen_ == size_;
  if (frame_done) in_frame_ = false;

  if (!control) {
    e.what = event::kind::data;
    e.message = message_;
    e.first = std::exchange(first_, false);
    e.final = frame_done && final_;
    e.payload = piece;
    if (message_ == opcode::text && !utf8_.feed(piece))
      return refuse(close_invalid_data, "a text message is not UTF-8");
    if (e.final) {
      in_message_ = false;
      if (message_ == opcode::text && !utf8_.complete())
        return refuse(close_invalid_data, "a text message is not UTF-8");
    }
    return e;
  }
  if (!frame_done) return e;  // need_more: control frames are given whole
  e.payload = {control_, static_cast<std::size_t>(size_)};
  if (op_ != opcode::close) {
    e.what = op_ == opcode::ping ? event::kind::ping : event::kind::pong;
    return e;
  }
  e.what = event::kind::close;
  e.code = close_no_status;
  closed_ = true;
  if (size_ == 1) return refuse(close_protocol_error, "a close frame has half a code");
  if (size_ >= 2) {
    e.code = load_be16(control_);
    if (!valid_close_code(e.code)) return refuse(close_protocol_error, "a close code that may not be sent");
    e.payload = e.payload.subspan(2);
    utf8_checker reason;
    if (!reason.feed(e.payload) || !reason.complete()) return refuse(close_invalid_data, "a close reason is not UTF-8");
  }
  return e;
}

}  // namespace kedge::net::websocket
