// ttrpc.h: containerd's ttrpc (github.com/containerd/ttrpc, PROTOCOL.md) as bytes: frames, requests, answers. No I/O.
//
//   length (4, big-endian) │ stream (4) │ type (1) │ flags (1) │ data
//
// Only unary calls are served: none of a task's methods streams.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace kedge::shim::ttrpc {

inline constexpr std::size_t header_bytes = 10;

enum class frame_type : unsigned char { request = 1, response = 2, data = 3 };

struct frame {
  std::uint32_t stream = 0;
  frame_type type = frame_type::request;
  unsigned char flags = 0;
  bool oversized = false;  // the data was more than message_bytes_max and has been dropped
  std::string data;
};

// Frames out of a stream of bytes. Keeps no memory between frames, and never more than was received.
class frame_reader {
 public:
  // Takes bytes off the front of `in`. A frame when one is complete; nothing when `in` is used up before.
  std::optional<frame> read(std::string_view& in);

 private:
  std::string header_;
  std::uint32_t length_ = 0, skipped_ = 0;
  frame now_;
};

std::string encode(std::uint32_t stream, frame_type type, std::string_view data);

// What is asked. The views are into the frame's data.
struct request {
  std::string_view service, method, payload;
  std::int64_t timeout_ns = 0;  // 0: none
};
result<request> decode_request(std::string_view data);
std::string encode_request(const request& r);

// An answer frame: the payload, or the error as a google.rpc.Status.
std::string encode_response(std::uint32_t stream, const result<std::string>& answer);
// The payload of an answer, or the error that it tells.
result<std::string> decode_response(std::string_view data);

}  // namespace kedge::shim::ttrpc
