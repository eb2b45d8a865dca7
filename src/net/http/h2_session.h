// h2_session.h: one HTTP/2 connection, either end; nghttp2 does frames, HPACK and the state machine.
//
//   receive ──▶ nghttp2 ──▶ stream.body ──▶ read()  (reading opens the window again)
//   write(): stream.out ──▶ nghttp2 (frames, as windows allow) ──▶ batch ──▶ one send
//
// A writer's bytes stay where the caller has them until nghttp2 takes them into a frame; write() waits for that. So a
// stream holds at most its receive window, and the connection one batch. Internal to net/http.
#pragma once

#include <nghttp2/nghttp2.h>

#include <memory>
#include <string>

#include "net/http/connection.h"
#include "reactor/scope.h"
#include "reactor/sync.h"

namespace kedge::net::http {

// HTTP/2's part of one exchange.
struct h2_stream {
  std::int32_t id = -1;
  // what comes
  std::string method, scheme, authority, path;  // requests
  int status = 0;                               // responses
  http::headers headers, trailers;
  std::size_t header_bytes = 0;
  bool headers_too_large = false;
  bool head_complete = false;
  std::string body;
  std::size_t body_taken = 0;  // of body, given out already
  bool body_end = false;
  reactor::event changed;  // any of the above, or closed
  // what goes
  std::span<const bytes> out;
  std::size_t out_offset = 0;
  bool out_end = false, deferred = false;
  bool end_packed = false;  // nghttp2 has made the frame that ends it, and asks for no more
  http::headers out_trailers;
  reactor::event progress;  // some of out was taken, its end was packed, or closed
  // the end
  bool closed = false;
  std::uint32_t error = 0;  // NGHTTP2_NO_ERROR when it ended well
};

class h2_session {
 public:
  h2_session(reactor::stream& s, bool server, duration write_timeout);
  virtual ~h2_session();
  h2_session(const h2_session&) = delete;
  h2_session& operator=(const h2_session&) = delete;

  // Reads until the connection ends; then every stream has failed.
  task<void> run();
  bool dead() const noexcept { return dead_; }
  bool going_away() const noexcept { return going_away_; }
  nghttp2_session* raw() noexcept { return session_; }

  // Sends what can be sent without waiting; the writer sends the rest.
  void flush();
  // GOAWAY, in two steps (RFC 9113 §6.8): the first still takes what the peer opens before it knows; after the second
  // the connection ends when its streams have.
  void announce_end() noexcept;
  void shut_down() noexcept;

  task<result<reactor::buffer>> read_body(h2_stream& st, time_point until);
  // Waits until nghttp2 has taken all of it (and the end, with st.out_trailers, when asked). A dropped write resets the
  // stream.
  task<result<void>> write_body(h2_stream& st, std::span<const bytes> parts, bool end, duration patience);
  void reset(h2_stream& st, std::uint32_t code) noexcept;
  // The stream's memory goes: nghttp2 forgets it, and what it received and nobody read no longer fills the window. It
  // must be closed, reset, or have its end packed.
  void release(h2_stream& st) noexcept;
  nghttp2_data_provider provider(h2_stream& st) noexcept;

 protected:
  virtual h2_stream* begin(std::int32_t id) = 0;  // server: a new request
  virtual void head_done(h2_stream& st) = 0;      // called inside nghttp2: submit at most
  virtual void stream_closed(h2_stream& st) = 0;  // the same; `st` stays until the session lets it go
  virtual void after_input() = 0;                 // outside nghttp2: start handlers, free what is closed
  virtual void connection_ended() = 0;

  bool corked_ = false;  // while several answers are made, flush() waits
  reactor::stream& stream_;
  deadline deadline_;

 private:
  struct callbacks;
  task<void> write_loop();
  bool collect();
  bool too_many(unsigned& count, unsigned most);

  nghttp2_session* session_ = nullptr;
  bool server_, busy_ = false, sending_ = false, dead_ = false, going_away_ = false, abused_ = false;
  duration write_timeout_;
  std::string out_;
  std::size_t out_sent_ = 0;
  reactor::event wake_writer_;
  deadline write_deadline_;
  time_point window_start_{};
  unsigned resets_ = 0, control_frames_ = 0;
};

// Header fields for nghttp2: names in lower case, those of HTTP/1 connections left out. Keeps what the views point to.
class h2_fields {
 public:
  void add(std::string_view name, std::string_view value);
  void add_all(const headers& fields);
  // Good until the next add.
  const std::vector<nghttp2_nv>& list();

 private:
  std::string text_;
  struct field {
    std::size_t name, name_size, value, value_size;
  };
  std::vector<field> fields_;
  std::vector<nghttp2_nv> list_;
};

}  // namespace kedge::net::http
