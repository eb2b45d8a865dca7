// session.h: one websocket's worth of streams: who is open, who is paused, and what is answered to whom.
//
//   peer's messages ──▶ receive() ──▶ frame_decoder ──▶ the flow's queue ──▶ reader
//                                            │ Connect (client's end)
//                                            ▼
//                                   transport::connect_asked
//   writer ──▶ transport (websocket) ◀── control frames: Connect, Error, Pause, Resume, Sync
//
// No sockets here: the transport is link.h's. Coroutines appear only as the events that readers and writers wait for.
//
// Rules that the other end counts on (remotedialer):
// - Only the end that opens chooses ids, from 2 up. There is no acknowledgement: Data may follow Connect at once.
// - A stream ends by one Error from either end, answered by an Error with the same text. There is no half-close. Error,
// Pause
//   and Resume for an id that isn't there are ignored; Data for one is answered by an Error.
// - More than 2 MiB unread: Pause; less than 256 KiB: Resume. What comes nevertheless is taken, up to a bound of ours.
// - SyncConnections lists what the peer has; what it doesn't list is closed here without a word. One that the peer may
// not
//   have heard of yet (nothing came for it, and no sync listed it) is spared once.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "reactor/buffer.h"
#include "reactor/sync.h"
#include "tunnel/frame.h"

namespace kedge::tunnel {

enum class role : unsigned char { server, client };  // the server opens streams, the client is asked to dial

class session;

// One stream's state at this end. Its session and its reader share it.
struct flow {
  std::int64_t id = 0;
  session* owner = nullptr;  // null once it has ended
  std::string protocol, address;
  std::deque<reactor::buffer> received;
  std::size_t held_bytes = 0;       // of `received`, with what the pieces cost
  std::size_t paused_at_bytes = 0;  // held_bytes at the last Pause that we sent; 0: not paused
  bool peer_paused = false;         // the peer asked us to pause
  bool known_to_peer = false;       // something came for it, or a sync listed it
  bool missed_a_sync = false;
  bool any_received = false;
  bool ended_here = false;            // by our own close
  std::string end_text;               // "EOF" for the clean end
  reactor::event readable, writable;  // pulsed on every change
};

class session {
 public:
  class transport {
   public:
    // Queues one whole message; never waits.
    virtual void control(std::string_view message) = 0;
    // The peer asks for a stream to `f->address`. Reads and answers through f, or close()s it.
    virtual void connect_asked(std::shared_ptr<flow> f) = 0;

   protected:
    ~transport() = default;
  };

  // `client_key` and `session_key` name the session in messages.
  session(role own, transport& t, std::string client_key, std::int64_t session_key);
  session(const session&) = delete;
  ~session() { end("the tunnel was closed"); }

  // The next piece of a message from the peer. When `whole` is given, it holds exactly `piece`, and may be moved from.
  // An error is the session's end: the caller tells the peer nothing more.
  result<void> receive(bytes piece, bool final, reactor::buffer* whole = nullptr);

  // A new stream; its Connect is queued. errc::exhausted beyond streams_max.
  result<std::shared_ptr<flow>> open(std::string_view protocol, std::string_view address);
  // Ends the stream at this end: tells the peer `why`. Does nothing when it has ended.
  void close(flow& f, std::string_view why);
  // The next received piece; the caller has seen that there is one. May queue Resume.
  reactor::buffer take(flow& f);
  // The header of the next Data frame.
  std::size_t data_header(const flow& f, std::span<std::byte, frame_header_max_bytes> out) noexcept;
  // Queues a SyncConnections of all that is open.
  void sync();
  // Every stream fails with `why`; what they hold is dropped. For the end of the transport.
  void end(std::string_view why) noexcept;

  std::size_t size() const noexcept { return flows_.size(); }
  const std::string& client_key() const noexcept { return client_key_; }
  std::int64_t session_key() const noexcept { return session_key_; }

 private:
  std::shared_ptr<flow> find(std::int64_t id) const;
  void on_data(const frame_decoder::event& e, reactor::buffer* whole);
  result<void> on_connect(const frame_decoder::event& e);
  void on_error(const frame_decoder::event& e);
  void on_sync(std::span<const std::int64_t> ids);
  void send(std::int64_t connection, frame_type type, std::string_view body = {});
  void remove(flow& f, std::string_view why) noexcept;

  role own_;
  transport& transport_;
  std::string client_key_;
  std::int64_t session_key_;
  std::int64_t next_frame_ = 0;
  std::int64_t last_connection_ = 1;
  frame_decoder decoder_;
  std::unordered_map<std::int64_t, std::shared_ptr<flow>> flows_;
};

}  // namespace kedge::tunnel
