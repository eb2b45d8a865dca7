// frame.h: RFC 6455 frames without I/O: bytes in, events out, and frames to send.
//
// Every rule that a peer can break ends in an error with the close code to send (RFC 6455 §7.4.1).
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/error.h"
#include "net/limits.h"

namespace kedge::net::websocket {

enum class opcode : unsigned char { continuation = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10 };
enum class side : unsigned char { client, server };

enum close_code : std::uint16_t {
  close_normal = 1000,
  close_going_away = 1001,
  close_protocol_error = 1002,
  close_unsupported = 1003,
  close_no_status = 1005,  // never on the wire: a close frame without a code
  close_abnormal = 1006,   // never on the wire: the connection broke
  close_invalid_data = 1007,
  close_too_big = 1009,
  close_internal = 1011,
};
// Whether a peer may send it.
bool valid_close_code(std::uint16_t code) noexcept;

// UTF-8 in pieces: RFC 3629, no surrogates, nothing overlong.
class utf8_checker {
 public:
  bool feed(bytes b) noexcept;  // false: never valid any more
  bool complete() const noexcept { return need_ == 0; }
  void reset() noexcept { need_ = 0; }

 private:
  unsigned need_ = 0;
  unsigned char low_ = 0x80, high_ = 0xbf;
};

// A frame's header, ready to send before its payload; clients mask with `mask` (and must mask the payload by it).
std::string frame_header(opcode op, bool final, std::uint64_t payload_size, const std::uint32_t* mask = nullptr);
// XORs in place; `offset` is the position in the payload. `mask` as on the wire, first byte most significant.
void apply_mask(mutable_bytes payload, std::uint32_t mask, std::uint64_t offset) noexcept;

class frame_parser {
 public:
  explicit frame_parser(side own, std::size_t message_max = websocket_message_max_bytes) noexcept
      : own_(own), message_max_(message_max) {}

  struct event {
    enum class kind : unsigned char {
      need_more,  // all input is used up
      data,       // `payload` belongs to the current message; `final` when it ends the message
      ping,
      pong,
      close,
    } what = kind::need_more;
    opcode message = opcode::binary;  // data: text or binary
    bool first = false, final = false;
    mutable_bytes payload;     // data: a piece, unmasked in place in the input. Control: the whole payload
    std::uint16_t code = 0;    // close; close_no_status without one
    std::size_t consumed = 0;  // input bytes used up by this event
  };
  // The next event in `in`. Control payloads point into the parser until the next call. An error's close code is
  // error_code().
  result<event> next(mutable_bytes in);
  std::uint16_t error_code() const noexcept { return error_code_; }

 private:
  std::unexpected<error> refuse(std::uint16_t code, const char* why);
  result<void> take_header();

  side own_;
  std::size_t message_max_;
  unsigned char header_[14];
  std::size_t header_size_ = 0;
  bool in_frame_ = false;
  // the frame
  opcode op_ = opcode::binary;
  bool final_ = false, masked_ = false, first_ = false;
  std::uint32_t mask_ = 0;
  std::uint64_t size_ = 0, seen_ = 0;
  // the message
  bool in_message_ = false;
  opcode message_ = opcode::binary;
  std::uint64_t message_size_ = 0;
  utf8_checker utf8_;
  std::byte control_[125];
  bool closed_ = false;
  std::uint16_t error_code_ = close_protocol_error;
};

}  // namespace kedge::net::websocket
