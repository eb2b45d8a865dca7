#include "net/http/h2_session.h"

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "base/release.h"
#include "base/strings.h"
#include "net/http/h1_parser.h"

namespace kedge::net::http {

namespace {
constexpr std::size_t batch_bytes = tls_batch_max_bytes;
}  // namespace

struct h2_session::callbacks {
  static h2_session& self(void* user) { return *static_cast<h2_session*>(user); }
  static h2_stream* find(nghttp2_session* s, std::int32_t id) {
    return static_cast<h2_stream*>(nghttp2_session_get_stream_user_data(s, id));
  }

  static int begin_headers(nghttp2_session* s, const nghttp2_frame* f, void* user) {
    if (f->hd.type != NGHTTP2_HEADERS || f->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    auto& me = self(user);
    auto* st = me.begin(f->hd.stream_id);
    if (!st) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    st->id = f->hd.stream_id;
    nghttp2_session_set_stream_user_data(s, st->id, st);
    return 0;
  }

  static int header(nghttp2_session* s, const nghttp2_frame* f, const std::uint8_t* name, std::size_t name_size,
                    const std::uint8_t* value, std::size_t value_size, std::uint8_t, void*) {
    auto* st = find(s, f->hd.stream_id);
    if (!st || f->hd.type != NGHTTP2_HEADERS) return 0;
    std::string_view n(reinterpret_cast<const char*>(name), name_size),
        v(reinterpret_cast<const char*>(value), value_size);
    st->header_bytes += name_size + value_size + 32;  // RFC 9113 §10.5.1 counts so
    if (st->header_bytes > header_max_bytes || st->headers.size() + st->trailers.size() >= header_fields_max) {
      st->headers_too_large = true;
      return 0;
    }
    if (n.starts_with(':')) {
      if (n == ":method")
        st->method = v;
      else if (n == ":path")
        st->path = v;
      else if (n == ":authority")
        st->authority = v;
      else if (n == ":scheme")
        st->scheme = v;
      else if (n == ":status")
        st->status = static_cast<int>(parse_uint(v).value_or(0));
      return 0;
    }
    (st->head_complete ? st->trailers : st->headers).add(std::string(n), std::string(v));
    return 0;
  }

  static int frame(nghttp2_session* s, const nghttp2_frame* f, void* user) {
    auto& me = self(user);
    auto* st = f->hd.stream_id > 0 ? find(s, f->hd.stream_id) : nullptr;
    switch (f->hd.type) {
      case NGHTTP2_HEADERS:
        if (!st) break;
        if (!st->head_complete) {
          if (!me.server_ && st->status / 100 == 1) {  // 100, 103: the answer is yet to come
            st->headers = {};
            break;
          }
          st->head_complete = true;
          if (f->hd.flags & NGHTTP2_FLAG_END_STREAM) st->body_end = true;
          me.head_done(*st);
        }
        if (f->hd.flags & NGHTTP2_FLAG_END_STREAM) st->body_end = true;
        st->changed.pulse();
        break;
      case NGHTTP2_DATA:
        if (st && f->hd.flags & NGHTTP2_FLAG_END_STREAM) {
          st->body_end = true;
          st->changed.pulse();
        } else if (f->hd.length == 0 && me.too_many(me.control_frames_, h2_control_frames_max)) {
          me.abused_ = true;
        }
        break;
      case NGHTTP2_RST_STREAM:
        if (me.too_many(me.resets_, h2_resets_max)) me.abused_ = true;
        break;
      case NGHTTP2_PING:
      case NGHTTP2_SETTINGS:
      case NGHTTP2_PRIORITY:
        if (me.too_many(me.control_frames_, h2_control_frames_max)) me.abused_ = true;
        break;
      case NGHTTP2_GOAWAY: me.going_away_ = true; break;
      default: break;
    }
    return 0;
  }

  // A stream that the peer's own frames make us reset costs what one costs that the peer resets (CVE-2025-8671).
  static int sent(nghttp2_session*, const nghttp2_frame* f, void* user) {
    auto& me = self(user);
    if (f->hd.type != NGHTTP2_RST_STREAM) return 0;
    const auto code = f->rst_stream.error_code;
    const bool by_handler = code == NGHTTP2_NO_ERROR || code == NGHTTP2_CANCEL || code == NGHTTP2_INTERNAL_ERROR;
    if (!by_handler && me.too_many(me.resets_, h2_resets_max)) me.abused_ = true;
    return 0;
  }

  static int data(nghttp2_session* s, std::uint8_t, std::int32_t id, const std::uint8_t* at, std::size_t n, void*) {
    auto* st = find(s, id);
    if (!st || st->closed) {
      nghttp2_session_consume(s, id, n);
      return 0;
    }
    st->body.append(reinterpret_cast<const char*>(at), n);
    st->changed.pulse();
    return 0;
  }

  static int stream_close(nghttp2_session* s, std::int32_t id, std::uint32_t code, void* user) {
    auto* st = find(s, id);
    if (!st) return 0;
    st->closed = true;
    st->error = code;
    st->out = {};
    st->changed.pulse();
    st->progress.pulse();
    nghttp2_session_set_stream_user_data(s, id, nullptr);
    self(user).stream_closed(*st);
    return 0;
  }

  static ssize_t read(nghttp2_session* s, std::int32_t id, std::uint8_t* to, std::size_t room, std::uint32_t* flags,
                      nghttp2_data_source* source, void*) {
    auto& st = *static_cast<h2_stream*>(source->ptr);
    std::size_t n = 0;
    while (n < room && !st.out.empty()) {
      auto rest = st.out.front().subspan(st.out_offset);
      auto step = std::min(room - n, rest.size());
      if (step) std::memcpy(to + n, rest.data(), step);
      n += step;
      st.out_offset += step;
      if (st.out_offset == st.out.front().size()) {
        st.out = st.out.subspan(1);
        st.out_offset = 0;
      }
    }
    if (n > 0) st.progress.pulse();
    if (!st.out.empty()) return static_cast<ssize_t>(n);
    if (st.out_end) {
      *flags |= NGHTTP2_DATA_FLAG_EOF;
      st.end_packed = true;
      st.progress.pulse();
      if (st.out_trailers.size() > 0) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        h2_fields fields;
        fields.add_all(st.out_trailers);
        auto& list = fields.list();
        nghttp2_submit_trailer(s, id, list.data(), list.size());
      }
      return static_cast<ssize_t>(n);
    }
    if (n > 0) return static_cast<ssize_t>(n);
    st.deferred = true;
    return NGHTTP2_ERR_DEFERRED;
  }

  static nghttp2_session_callbacks* table() {
    static nghttp2_session_callbacks* all = [] {
      nghttp2_session_callbacks* c = nullptr;
      nghttp2_session_callbacks_new(&c);
      nghttp2_session_callbacks_set_on_begin_headers_callback(c, begin_headers);
      nghttp2_session_callbacks_set_on_header_callback(c, header);
      nghttp2_session_callbacks_set_on_frame_recv_callback(c, frame);
      nghttp2_session_callbacks_set_on_frame_send_callback(c, sent);
      nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, data);
      nghttp2_session_callbacks_set_on_stream_close_callback(c, stream_close);
      return c;
    }();
    return all;
  }
};

h2_session::h2_session(reactor::stream& s, bool server, duration write_timeout)
    : stream_(s), deadline_(s), server_(server), write_timeout_(write_timeout), write_deadline_(s) {
  nghttp2_option* option = nullptr;
  nghttp2_option_new(&option);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_max_outbound_ack(option, h2_control_frames_max);
  nghttp2_option_set_max_send_header_block_length(option, header_max_bytes);
  nghttp2_option_set_no_closed_streams(option, 1);
  if (server)
    nghttp2_session_server_new2(&session_, callbacks::table(), this, option);
  else
    nghttp2_session_client_new2(&session_, callbacks::table(), this, option);
  nghttp2_option_del(option);
  kedge_assert(session_);
  nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, server ? h2_streams_max : 0},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, h2_stream_window_bytes},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, header_max_bytes},
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
  };
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, server ? 3 : 4);
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, h2_connection_window_bytes);
}

h2_session::~h2_session() { nghttp2_session_del(session_); }

// Only a server counts what a peer costs it without asking for anything: a client chose its peer, and gRPC's servers
// send a PING for nearly each message that they get (the estimate of bandwidth and delay). What piles up in answer to
// them nghttp2 bounds (max_outbound_ack).
bool h2_session::too_many(unsigned& count, unsigned most) {
  if (!server_) return false;
  auto now = reactor::loop::current().now();
  if (now - window_start_ > h2_resets_window) {
    window_start_ = now;
    resets_ = control_frames_ = 0;
  }
  return ++count > most;
}

nghttp2_data_provider h2_session::provider(h2_stream& st) noexcept {
  nghttp2_data_provider p{};
  p.source.ptr = &st;
  p.read_callback = callbacks::read;
  return p;
}

// Fills the batch from nghttp2; false when it has nothing more.
bool h2_session::collect() {
  busy_ = true;
  bool more = true;
  if (out_.capacity() == 0) out_.reserve(4096);
  while (out_.size() < batch_bytes) {
    const std::uint8_t* data = nullptr;
    auto n = nghttp2_session_mem_send(session_, &data);
    if (n <= 0) {
      if (n < 0) {
        dead_ = true;
        stream_.close();
      }
      more = false;
      break;
    }
    out_.append(reinterpret_cast<const char*>(data), static_cast<std::size_t>(n));
  }
  busy_ = false;
  return more;
}

void h2_session::flush() {
  if (busy_ || sending_ || corked_ || dead_) return;
  for (;;) {
    bool more = collect();
    if (out_.size() == out_sent_) break;
    auto part = as_bytes(std::string_view(out_).substr(out_sent_));
    auto sent = stream_.try_send({&part, 1});
    if (!sent) {
      dead_ = true;
      stream_.close();
      return;
    }
    out_sent_ += *sent;
    if (out_sent_ < out_.size()) {
      wake_writer_.set();
      return;
    }
    out_sent_ = 0;
    if (out_.capacity() > 4096 && !more)
      kedge::release(out_);  // an idle connection holds no batch
    else
      out_.clear();
    if (!more) break;
  }
  if (!nghttp2_session_want_read(session_) && !nghttp2_session_want_write(session_)) wake_writer_.set();
}

task<void> h2_session::write_loop() {
  for (;;) {
    co_await wake_writer_.wait();
    wake_writer_.reset();
    while (out_sent_ < out_.size()) {
      sending_ = true;
      auto batch = std::move(out_);
      auto from = std::exchange(out_sent_, 0);
      out_ = {};
      auto part = as_bytes(std::string_view(batch).substr(from));
      write_deadline_.set_after(write_timeout_);
      auto sent = co_await stream_.send({&part, 1});
      write_deadline_.clear();
      sending_ = false;
      if (!sent) {
        dead_ = true;
        stream_.close();
        co_return;
      }
      if (!dead_) collect();
    }
    if (!nghttp2_session_want_read(session_) && !nghttp2_session_want_write(session_)) {
      (void)co_await stream_.finish();
      deadline_.set_after(linger_timeout);
      co_return;
    }
    flush();
  }
}

task<void> h2_session::run() {
  reactor::scope writer;
  writer.spawn(write_loop());
  flush();
  for (;;) {
    auto b = co_await stream_.receive();
    if (!b || b->empty() || dead_) break;
    if (!nghttp2_session_want_read(session_)) continue;  // after a GOAWAY for good: drained until the peer's end
    busy_ = true;
    auto v = b->view();
    auto n = nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(v.data()), v.size());
    busy_ = false;
    b->release();
    if (n < 0) {
      log::debug("HTTP/2 with {}: {}", stream_.peer().text(), nghttp2_strerror(static_cast<int>(n)));
      nghttp2_session_terminate_session(session_,
                                        n == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
      flush();
      break;
    }
    if (abused_) {
      log::warning("HTTP/2 with {}: too many resets or control frames; the connection is ended", stream_.peer().text());
      nghttp2_session_terminate_session(session_, NGHTTP2_ENHANCE_YOUR_CALM);
      flush();
      break;
    }
    corked_ = true;
    after_input();
    corked_ = false;
    flush();
    after_input();
  }
  dead_ = true;
  connection_ended();
}

void h2_session::announce_end() noexcept {
  nghttp2_submit_shutdown_notice(session_);
  flush();
}

void h2_session::shut_down() noexcept {
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_),
                        NGHTTP2_NO_ERROR, nullptr, 0);
  flush();
}

void h2_session::reset(h2_stream& st, std::uint32_t code) noexcept {
  if (st.closed || st.id < 0 || dead_) return;
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, st.id, code);
  flush();
}

task<result<reactor::buffer>> h2_session::read_body(h2_stream& st, time_point until) {
  for (;;) {
    if (auto left = st.body.size() - st.body_taken; left > 0) {
      auto n = std::min(left, body_piece_max_bytes);
      auto b = reactor::buffer::allocate(n);
      std::memcpy(b.writable().data(), st.body.data() + st.body_taken, n);
      st.body_taken += n;
      if (st.body_taken == st.body.size()) {
        st.body.clear();
        st.body_taken = 0;
        if (st.body.capacity() > 16 * 1024) kedge::release(st.body);
      }
      if (!st.closed) {
        nghttp2_session_consume(session_, st.id, n);
      } else {
        nghttp2_session_consume_connection(session_, n);
      }
      flush();
      co_return std::move(b);
    }
    if (st.body_end) co_return reactor::buffer();
    if (st.closed || dead_)
      co_return fail(errc::closed,
                     st.closed ? "the HTTP/2 stream was reset (" + std::string(nghttp2_http2_strerror(st.error)) + ")"
                               : std::string("the HTTP/2 connection ended"));
    if (!co_await st.changed.wait_until(until)) co_return fail(errc::timeout, "the peer was too slow to send the body");
  }
}

task<result<void>> h2_session::write_body(h2_stream& st, std::span<const bytes> parts, bool end, duration patience) {
  struct forget_parts {
    h2_session& s;
    h2_stream& st;
    ~forget_parts() {
      if (st.out.empty() && (!st.out_end || st.end_packed)) return;
      st.out = {};
      s.reset(st, NGHTTP2_CANCEL);
    }
  } guard{*this, st};
  if (st.closed || dead_) co_return fail(errc::closed, "the HTTP/2 stream is closed");
  while (!parts.empty() && parts.front().empty()) parts = parts.subspan(1);
  st.out = parts;
  st.out_offset = 0;
  st.out_end = end;
  if (std::exchange(st.deferred, false)) nghttp2_session_resume_data(session_, st.id);
  flush();
  while (!st.out.empty() || (end && !st.end_packed)) {
    if (!co_await st.progress.wait_until(reactor::loop::current().now() + patience))
      co_return fail(errc::timeout, "the peer takes no more of the body");
    if (st.closed || dead_) break;
  }
  if ((st.closed && st.error != 0) || dead_) {
    st.out = {};
    co_return fail(errc::closed, "the HTTP/2 stream was reset");
  }
  co_return result<void>();
}

void h2_session::release(h2_stream& st) noexcept {
  if (st.id < 0) return;
  if (!st.closed) nghttp2_session_set_stream_user_data(session_, st.id, nullptr);
  if (auto unread = st.body.size() - st.body_taken; unread > 0 && !dead_) {
    nghttp2_session_consume_connection(session_, unread);
    st.body.clear();
    st.body_taken = 0;
    flush();
  }
}

void h2_fields::add(std::string_view name, std::string_view value) {
  auto at = text_.size();
  for (char c : name) text_ += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  for (char c : value) text_ += c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
  fields_.push_back({at, name.size(), at + name.size(), value.size()});
}

void h2_fields::add_all(const headers& fields) {
  for (auto& [name, value] : fields) {
    if (iequals(name, "connection") || iequals(name, "keep-alive") || iequals(name, "transfer-encoding") ||
        iequals(name, "upgrade") || iequals(name, "proxy-connection") || iequals(name, "host") || !is_token(name))
      continue;
    add(name, value);
  }
}

const std::vector<nghttp2_nv>& h2_fields::list() {
  list_.clear();
  auto* base = reinterpret_cast<std::uint8_t*>(text_.data());
  for (auto& f : fields_)
    list_.push_back({base + f.name, base + f.value, f.name_size, f.value_size, NGHTTP2_NV_FLAG_NONE});
  return list_;
}

}  // namespace kedge::net::http
