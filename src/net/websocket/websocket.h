// websocket.h: a websocket over a stream, either end, and the handshakes.
//
// One coroutine receives, others may send beside it. Pings are answered, and a close is answered, inside receive(): so
// somebody should always be receiving.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "net/http/client.h"
#include "net/http/handler.h"
#include "net/websocket/frame.h"
#include "reactor/sync.h"

namespace kedge::net::websocket {

struct options {
  std::size_t message_max_bytes = websocket_message_max_bytes;
  // A ping each time that nothing has come for this long, and the connection ends when nothing came for twice as long;
  // zero: never. Checked while receive() waits.
  duration keepalive{0};
};

class connection {
 public:
  connection(std::unique_ptr<reactor::stream> s, side own, options o = {});
  ~connection();  // without a close frame when close() was not called

  // A piece of a message.
  struct piece {
    opcode kind = opcode::binary;  // of the message: text or binary
    bool first = false, final = false;
    reactor::buffer data;  // may be empty
  };
  // The next piece. errc::closed when the peer closed (closed_by_peer() tells with what) or the connection broke;
  // errc::protocol and errc::too_large when the peer broke the rules (it has been told then). A dropped receive loses
  // nothing.
  task<result<piece>> receive();
  // A whole message.
  struct message {
    opcode kind = opcode::binary;
    std::string data;
  };
  task<result<message>> receive_message();

  // One message in one frame. Concurrent sends wait for each other. Dropping one that has begun breaks the connection.
  task<result<void>> send(opcode kind, std::span<const bytes> parts);
  task<result<void>> send(opcode kind, std::string_view text);
  task<result<void>> ping(std::string_view payload = {});
  // Sends a close frame, and waits (websocket_close_timeout) for the peer's when no receive() runs; then ends the
  // stream.
  task<result<void>> close(std::uint16_t code = close_normal, std::string_view reason = {});

  struct closing {
    std::uint16_t code = close_abnormal;
    std::string reason;
  };
  const closing& closed_by_peer() const noexcept { return closing_; }
  // Gives up the stream, for a caller that does the framing itself (frame.h). Only before the first receive and send;
  // this object is then of no more use.
  std::unique_ptr<reactor::stream> release() noexcept { return std::move(stream_); }
  // The application protocol that the handshake agreed on; empty for none.
  std::string protocol;

 private:
  task<result<void>> send_frame(opcode op, std::span<const bytes> parts);
  // Ends the stream's sending, after what is being sent.
  task<void> finish();
  task<result<piece>> receive_frames();
  task<result<void>> fill();

  std::unique_ptr<reactor::stream> stream_;
  side own_;
  options options_;
  frame_parser parser_;
  reactor::buffer input_;
  reactor::semaphore sending_{1};
  closing closing_;
  time_point last_received_{};
  bool broken_ = false, close_sent_ = false, ended_ = false, receiving_ = false;
};

// "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" for the key of RFC 6455 §1.3.
std::string accept_key(std::string_view key);

// The server's side of the handshake. `protocols`: those we speak, in order of preference; the first that the client
// offers too is chosen. When the request is no proper one, it has been answered (400, 426) and the error says why.
task<result<std::unique_ptr<connection>>> accept(http::exchange& e, const std::vector<std::string>& protocols,
                                                 options o = {}, http::headers extra = {});
// Whether the request asks for a websocket.
bool is_upgrade(const http::request& r) noexcept;

struct connect_request {
  http::target to;  // its TLS must not offer h2: websockets are HTTP/1.1's
  std::string path;
  http::headers headers;
  std::vector<std::string> protocols;
  options settings;
};
// errc::refused when the server answers something else than 101; `why`, when given, is then what it said.
struct rejected {
  int status = 0;
  std::string body;
};
task<result<std::unique_ptr<connection>>> connect(http::client& c, connect_request r, rejected* why = nullptr);

}  // namespace kedge::net::websocket
