// link.h: a session over a websocket over a stream, either end.
//
//   stream ──▶ websocket frame parser ──▶ session ──▶ flows ──▶ tunnel_stream::receive
//                      │ ping, pong, close
//   stream ◀── one write: waiting control frames, headers, payload ◀── tunnel_stream::send
//
// Sending is synchronous: a frame goes to the stream with try_send, and what doesn't fit is copied and sent by a task
// of the link, while senders wait. So a sender that is dropped never leaves half a frame behind, and one stream's fate
// is not another's. Control frames wait for the end of the loop's turn, so that a Connect and the first Data are one
// write.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "net/websocket/frame.h"
#include "reactor/stream.h"
#include "tunnel/session.h"

namespace kedge::tunnel {

class link;

// A stream of a session. Belongs to the link's core; may outlive the link, and then fails.
class tunnel_stream final : public reactor::stream {
 public:
  tunnel_stream(link& l, std::shared_ptr<flow> f) noexcept : link_(l), flow_(std::move(f)) {}
  ~tunnel_stream() override { close(); }

  task<result<reactor::buffer>> receive() override;
  task<result<void>> send(std::span<const bytes> parts) override;
  // The same for bytes that we own: a client masks them where they are.
  task<result<void>> send_owned(reactor::buffer b);
  result<std::size_t> try_send(std::span<const bytes> parts) override;
  // There is no half-close in the protocol: this ends both directions, and what has arrived can still be received.
  task<result<void>> finish() override;
  void close() noexcept override;
  // Ends it with a text for the other end.
  void end(std::string_view why) noexcept;

  reactor::endpoint local() const override { return {}; }
  reactor::endpoint peer() const override;  // the target, when it is an IP address and port
  const std::string& protocol() const noexcept { return flow_->protocol; }
  const std::string& address() const noexcept { return flow_->address; }

 private:
  std::unexpected<error> ended() const;

  link& link_;  // valid while flow_->owner is
  std::shared_ptr<flow> flow_;
  bool closed_ = false;
};

class link final : session::transport {
 public:
  // The client's end of a Connect: answers for the stream until it returns; runs in the link's scope.
  using dial_handler = std::function<task<void>(std::unique_ptr<tunnel_stream>)>;
  struct options {
    duration ping_interval = tunnel::ping_interval;  // client; zero: never
    duration sync_interval = tunnel::sync_interval;  // client; zero: never
    duration suspect_after = tunnel::suspect_after;
    duration silence_timeout = tunnel::silence_timeout;
  };
  // `s` is what the websocket handshake left. `dial`: the client's; null for the server.
  link(std::unique_ptr<reactor::stream> s, role own, std::string client_key, std::int64_t session_key,
       dial_handler dial, options o);
  link(std::unique_ptr<reactor::stream> s, role own, std::string client_key, std::int64_t session_key,
       dial_handler dial)
      : link(std::move(s), own, std::move(client_key), session_key, std::move(dial), options()) {}
  ~link();

  // Serves the session until it ends, and gives why. Dropping it, or the link, ends the session too.
  task<error> run();
  // A stream to `address`, which the other end dials; fails in its receive when that fails.
  result<std::unique_ptr<tunnel_stream>> open(std::string_view protocol, std::string_view address);
  // Ends the session: run() gives errc::closed. The streams end at once; the peer is told that this end goes away
  // (close code 1001), and its own close is waited for, at most for farewell_time.
  void close() noexcept;
  // Whether the peer ended the session so: it stops, and is not broken.
  bool peer_left() const noexcept { return peer_left_; }

  // Whether the peer has been heard of late: a ping (server) or pong (client) within suspect_after, and no doubt since.
  bool lively() const noexcept { return lively_; }
  // Called on each change of that.
  std::function<void(bool lively)> on_lively;
  // Somebody found the tunnel dead: it isn't lively until the peer is heard again.
  void doubt() { set_lively(false); }
  // The client's last ping to its pong; zero before the first.
  duration round_trip() const noexcept { return round_trip_; }
  std::size_t streams() const noexcept { return session_.size(); }
  session& get_session() noexcept { return session_; }

 private:
  friend class tunnel_stream;
  struct ticker final : reactor::timer {
    link& owner;
    void (link::*call)();
    ticker(link& l, void (link::*f)()) : timer(reactor::loop::current()), owner(l), call(f) {}
    void fired() override { (owner.*call)(); }
    void arm_after(duration d) { arm(reactor::loop::current().now() + d); }
  };

  void control(std::string_view message) override;
  void connect_asked(std::shared_ptr<flow> f) override;
  void queue(net::websocket::opcode op, bytes payload);
  result<void> take(reactor::buffer in);
  result<void> on_control(const net::websocket::frame_parser::event& e);

  // Whether a Data frame may be handed to the stream now.
  bool may_send() const noexcept { return !flushing_; }
  // One Data frame of at most data_payload_max_bytes. may_send() holds.
  result<void> send_data(flow& f, std::span<const bytes> parts, std::size_t size);
  result<void> send_data_owned(flow& f, mutable_bytes payload);
  // Hands `parts` to the stream, behind what waits; keeps what doesn't fit.
  result<void> write(std::span<const bytes> parts);
  void flush_now();
  task<void> flush();
  void fail_sending(const char* why) noexcept;
  void stop_sending(const char* why) noexcept;

  void send_ping();
  void send_sync();
  void heard();
  void check_silence();
  void set_lively(bool lively);

  std::unique_ptr<reactor::stream> stream_;
  role own_;
  options options_;
  dial_handler dial_;
  net::websocket::frame_parser parser_;
  session session_;
  std::string output_;       // frames that wait, in order
  reactor::event writable_;  // pulsed when flushing ends
  ticker flush_timer_, silence_timer_;
  std::unique_ptr<ticker> ping_timer_, sync_timer_;  // client
  time_point last_heard_, ping_sent_{};
  duration round_trip_{0};
  const char* why_closed_ = nullptr;
  // broken_: nothing is sent any more. closing_: by close(), and the peer's word is waited for.
  bool flushing_ = false, broken_ = false, close_sent_ = false, closing_ = false, peer_left_ = false, lively_ = true;
  reactor::scope tasks_;  // last: ends first
};

}  // namespace kedge::tunnel
