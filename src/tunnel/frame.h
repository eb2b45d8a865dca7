// frame.h: remotedialer's frames without I/O. One frame is one binary websocket message:
//
//   varint id | varint connection | varint type | [varint 15000, Data and Connect only] | body to the end of the
//   message
//
// varint is Go's signed one: zigzag, then LEB128. `id` counts the sender's frames and means nothing to the receiver.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "tunnel/limits.h"

namespace kedge::tunnel {

enum class frame_type : std::int64_t {
  data = 1,
  connect = 2,     // "<proto>/<address>"
  error = 3,       // text; "EOF" is the graceful end
  add_client = 4,  // "<client>/<session>": peers of a server, which K3s doesn't use
  remove_client = 5,
  pause = 6,
  resume = 7,
  sync_connections = 8,  // little-endian uint64 ids, ascending
};

// Writes the header; gives its size.
std::size_t write_frame_header(std::span<std::byte, frame_header_max_bytes> out, std::int64_t id,
                               std::int64_t connection, frame_type type) noexcept;
// A whole frame.
std::string make_frame(std::int64_t id, std::int64_t connection, frame_type type, std::string_view body = {});
std::string sync_body(std::span<const std::int64_t> ascending_ids);

// Takes messages in pieces of any size. Data is given out as it comes; every other frame once, whole.
class frame_decoder {
 public:
  struct event {
    enum class kind : unsigned char {
      none,     // nothing to do yet, or a frame of no meaning to us
      data,     // `payload` is the rest of the piece given in
      connect,  // protocol, address
      error,    // text
      pause,
      resume,
      sync,  // ids
    } what = kind::none;
    std::int64_t connection = 0;
    bool first = false;  // data: the first piece of its frame
    bytes payload;
    // Valid until the next feed.
    std::string_view text, protocol, address;
    std::span<const std::int64_t> ids;
    bool cut = false;  // connect: the address was longer than may be
  };
  // The next piece of a message; `final` when it ends the message. Any error ends the session.
  result<event> feed(bytes piece, bool final);

 private:
  result<bool> header_byte(std::byte b);
  std::size_t body_max() const noexcept;
  result<event> whole();

  // the header
  unsigned field_ = 0;  // 0 id, 1 connection, 2 type, 3 deadline, 4: the body
  std::uint64_t value_ = 0;
  unsigned value_bytes_ = 0;
  std::int64_t connection_ = 0, type_ = 0;
  // the body
  bool begun_ = false;
  std::string body_;
  bool cut_ = false;
  std::vector<std::int64_t> ids_;
};

}  // namespace kedge::tunnel
