#include "tunnel/link.h"

#include <algorithm>
#include <cstring>

#include "base/release.h"
#include "net/block_pool.h"
#include "reactor/own_frame.h"

namespace kedge::tunnel {

namespace ws = net::websocket;

namespace {

// A websocket header (2 + 8, and a mask of 4) and a frame header.
constexpr std::size_t headroom_bytes = 14 + frame_header_max_bytes;
using blocks = net::block_pool<headroom_bytes + data_payload_max_bytes, 4>;

std::uint32_t fresh_mask() {
  std::uint32_t m;
  reactor::loop::current().random().fill({reinterpret_cast<std::byte*>(&m), sizeof m});
  return m;
}

// The websocket header of one whole binary message, written to end at `end`; gives where it begins.
std::byte* put_message_header(std::byte* end, std::size_t payload, const std::uint32_t* mask) {
  auto header = ws::frame_header(ws::opcode::binary, true, payload, mask);
  auto* begin = end - header.size();
  std::memcpy(begin, header.data(), header.size());
  return begin;
}

}  // namespace

// --- tunnel_stream

std::unexpected<error> tunnel_stream::ended() const {
  if (closed_ || flow_->ended_here) return fail(errc::closed, "the tunnelled connection was closed at this end");
  auto code = flow_->any_received ? errc::closed : errc::refused;
  return fail(code, "tunnel to " + flow_->address + ": " + flow_->end_text);
}

task<result<reactor::buffer>> tunnel_stream::receive() {
  auto f = flow_;
  for (;;) {
    if (closed_) co_return ended();
    if (!f->received.empty()) {
      if (f->owner) co_return f->owner->take(*f);
      auto b = std::move(f->received.front());
      f->received.pop_front();
      co_return std::move(b);
    }
    if (!f->owner) {
      if (f->end_text == "EOF") co_return reactor::buffer();
      co_return ended();
    }
    co_await f->readable.wait();
  }
}

task<result<void>> tunnel_stream::send(std::span<const bytes> parts) {
  auto f = flow_;
  bytes window[8];
  std::size_t skipped = 0;  // of parts.front()
  for (;;) {
    while (!parts.empty() && skipped == parts.front().size()) {
      parts = parts.subspan(1);
      skipped = 0;
    }
    if (parts.empty()) co_return result<void>();
    while (f->owner && (f->peer_paused || !link_.may_send())) {
      if (f->peer_paused)
        co_await f->writable.wait();
      else
        co_await link_.writable_.wait();
    }
    if (!f->owner) co_return ended();
    std::size_t n = 0, size = 0;
    while (!parts.empty() && n < std::size(window) && size < data_payload_max_bytes) {
      auto rest = parts.front().subspan(skipped);
      auto piece = rest.first(std::min(rest.size(), data_payload_max_bytes - size));
      window[n++] = piece;
      size += piece.size();
      skipped += piece.size();
      if (piece.size() < rest.size()) break;
      parts = parts.subspan(1);
      skipped = 0;
    }
    KEDGE_CO_CHECK(link_.send_data(*f, {window, n}, size));
  }
}

task<result<void>> tunnel_stream::send_owned(reactor::buffer b) {
  auto f = flow_;
  while (!b.empty()) {
    while (f->owner && (f->peer_paused || !link_.may_send())) {
      if (f->peer_paused)
        co_await f->writable.wait();
      else
        co_await link_.writable_.wait();
    }
    if (!f->owner) co_return ended();
    auto n = std::min(b.size(), data_payload_max_bytes);
    KEDGE_CO_CHECK(link_.send_data_owned(*f, b.writable().first(n)));
    b.consume(n);
  }
  co_return result<void>();
}

result<std::size_t> tunnel_stream::try_send(std::span<const bytes> parts) {
  if (!flow_->owner) return ended();
  std::size_t done = 0;
  for (auto part : parts) {
    while (!part.empty()) {
      if (flow_->peer_paused || !link_.may_send()) return done;
      auto piece = part.first(std::min(part.size(), data_payload_max_bytes));
      KEDGE_CHECK(link_.send_data(*flow_, {&piece, 1}, piece.size()));
      done += piece.size();
      part = part.subspan(piece.size());
    }
  }
  return done;
}

task<result<void>> tunnel_stream::finish() {
  if (flow_->owner) {
    flow_->owner->close(*flow_, "EOF");
    flow_->ended_here = false;  // what has arrived can still be read, then the clean end
  }
  co_return result<void>();
}

void tunnel_stream::close() noexcept { end("EOF"); }

void tunnel_stream::end(std::string_view why) noexcept {
  if (std::exchange(closed_, true)) return;
  auto f = flow_;
  if (f->owner) f->owner->close(*f, why);
  f->received.clear();
  f->readable.pulse();
}

reactor::endpoint tunnel_stream::peer() const {
  auto e = reactor::parse_endpoint(flow_->address);
  return e ? *e : reactor::endpoint{};
}

// --- link

link::link(std::unique_ptr<reactor::stream> s, role own, std::string client_key, std::int64_t session_key,
           dial_handler dial, options o)
    : stream_(std::move(s)),
      own_(own),
      options_(o),
      dial_(std::move(dial)),
      parser_(own == role::server ? ws::side::server : ws::side::client, message_max_bytes),
      session_(own, *this, std::move(client_key), session_key),
      flush_timer_(*this, &link::flush_now),
      silence_timer_(*this, &link::check_silence),
      last_heard_(reactor::loop::current().now()) {
  silence_timer_.arm_after(std::min(options_.suspect_after, options_.silence_timeout));
  if (own_ == role::server) return;
  if (options_.ping_interval > duration(0)) {
    ping_timer_ = std::make_unique<ticker>(*this, &link::send_ping);
    ping_timer_->arm_after(options_.ping_interval);
  }
  if (options_.sync_interval > duration(0)) {
    sync_timer_ = std::make_unique<ticker>(*this, &link::send_sync);
    sync_timer_->arm_after(options_.sync_interval);
  }
}

link::~link() {
  broken_ = true;  // what the streams say on their way out goes nowhere
  session_.end("tunnel disconnect");
  writable_.pulse();
  tasks_.cancel();
}

task<error> link::run() {
  // Why it has ended, if it has. No part of the frame that an idle tunnel keeps.
  auto take_in = [this] KEDGE_OWN_FRAME(result<reactor::buffer> b) -> std::optional<error> {
    if (!b) return why_closed_ ? error(errc::closed, why_closed_) : std::move(b).error();
    if (b->empty()) return error(errc::closed, closing_ ? why_closed_ : "the peer ended the tunnel's connection");
    if (auto taken = take(std::move(*b)); !taken)
      return closing_ ? error(errc::closed, why_closed_) : std::move(taken).error();
    if (broken_ && !closing_) return error(errc::closed, why_closed_ ? why_closed_ : "sending into the tunnel failed");
    return std::nullopt;
  };
  for (;;) {
    auto why = take_in(co_await stream_->receive());
    if (!why) continue;
    broken_ = true;
    session_.end("tunnel disconnect");
    writable_.pulse();
    stream_->close();
    co_return *std::move(why);
  }
}

void link::close() noexcept {
  constexpr auto why = "the tunnel was closed at this end";
  if (broken_) return;
  session_.end(why);
  writable_.pulse();
  if (flushing_ || std::exchange(close_sent_, true))
    return fail_sending(why);  // a peer that doesn't read can't be told
  std::string code;
  append_be16(code, ws::close_going_away);
  queue(ws::opcode::close, as_bytes(code));
  flush_now();
  if (flushing_ || broken_) return fail_sending(why);
  closing_ = true;
  stop_sending(why);
  silence_timer_.arm_after(farewell_time);
}

result<std::unique_ptr<tunnel_stream>> link::open(std::string_view protocol, std::string_view address) {
  if (broken_) return fail(errc::closed, "the tunnel is closed");
  KEDGE_TRY(auto f, session_.open(protocol, address));
  return std::make_unique<tunnel_stream>(*this, std::move(f));
}

void link::connect_asked(std::shared_ptr<flow> f) {
  auto s = std::make_unique<tunnel_stream>(*this, std::move(f));
  if (dial_) tasks_.spawn(dial_(std::move(s)));
}

// All of `in`. Errors have been told to the peer where the websocket has a word for them.
result<void> link::take(reactor::buffer in) {
  using kind = ws::frame_parser::event::kind;
  while (!in.empty()) {
    auto e = parser_.next(in.writable());
    if (!e) {
      std::string code;
      append_be16(code, parser_.error_code());
      if (!std::exchange(close_sent_, true)) queue(ws::opcode::close, as_bytes(code));
      flush_now();
      return std::unexpected(std::move(e).error());
    }
    if (e->what == kind::need_more) return {};
    if (e->what != kind::data) {
      KEDGE_CHECK(on_control(*e));
      in.consume(e->consumed);
      continue;
    }
    if (e->message != ws::opcode::binary) return fail(errc::protocol, "tunnel: a text message");
    if (e->consumed == in.size()) {
      in.consume(e->consumed - e->payload.size());
      return session_.receive(in.view(), e->final, &in);
    }
    KEDGE_CHECK(session_.receive(e->payload, e->final));
    in.consume(e->consumed);
  }
  return {};
}

result<void> link::on_control(const ws::frame_parser::event& e) {
  using kind = ws::frame_parser::event::kind;
  if (e.what == kind::ping) {
    if (own_ == role::server) heard();  // the client: pongs alone count
    queue(ws::opcode::pong, e.payload);
    return {};
  }
  if (e.what == kind::pong) {
    if (own_ == role::client) {
      heard();
      round_trip_ = last_heard_ - ping_sent_;
    }
    return {};
  }
  std::string code;
  if (e.code != ws::close_no_status) append_be16(code, e.code);
  peer_left_ = e.code == ws::close_going_away;
  if (!std::exchange(close_sent_, true)) queue(ws::opcode::close, as_bytes(code));
  flush_now();
  return fail(errc::closed, "the peer closed the tunnel (" + std::to_string(e.code) + ")");
}

// --- sending

void link::control(std::string_view message) { queue(ws::opcode::binary, as_bytes(message)); }

void link::queue(ws::opcode op, bytes payload) {
  if (broken_) return;
  if (output_.size() + payload.size() > output_max_bytes)
    return fail_sending("the peer doesn't take the answers to what it sends");
  if (own_ == role::server) {
    output_ += ws::frame_header(op, true, payload.size());
    output_ += as_text(payload);
  } else {
    auto mask = fresh_mask();
    output_ += ws::frame_header(op, true, payload.size(), &mask);
    auto at = output_.size();
    output_ += as_text(payload);
    ws::apply_mask({reinterpret_cast<std::byte*>(output_.data()) + at, payload.size()}, mask, 0);
  }
  if (!flushing_ && !flush_timer_.armed()) flush_timer_.arm(reactor::loop::current().now());
}

result<void> link::send_data(flow& f, std::span<const bytes> parts, std::size_t size) {
  std::byte headers[headroom_bytes];
  std::byte frame[frame_header_max_bytes];
  auto n = session_.data_header(f, frame);
  if (own_ == role::server) {
    auto* body = headers + headroom_bytes - n;
    std::memcpy(body, frame, n);
    auto* begin = put_message_header(body, n + size, nullptr);
    bytes all[9];
    all[0] = {begin, static_cast<std::size_t>(headers + headroom_bytes - begin)};
    std::copy(parts.begin(), parts.end(), all + 1);
    return write({all, parts.size() + 1});
  }
  // A client's bytes are masked, and these are not ours to change: copied once, behind room for the headers.
  auto block = blocks::take();
  auto* payload = block.get() + headroom_bytes;
  auto* body = payload - n;
  std::memcpy(body, frame, n);
  auto* p = payload;
  for (auto part : parts) {
    std::memcpy(p, part.data(), part.size());
    p += part.size();
  }
  auto mask = fresh_mask();
  ws::apply_mask({body, n + size}, mask, 0);
  auto* begin = put_message_header(body, n + size, &mask);
  bytes all(begin, static_cast<std::size_t>(p - begin));
  return write({&all, 1});
}

result<void> link::send_data_owned(flow& f, mutable_bytes payload) {
  bytes part = payload;
  if (own_ == role::server) return send_data(f, {&part, 1}, payload.size());
  std::byte headers[headroom_bytes];
  std::byte frame[frame_header_max_bytes];
  auto n = session_.data_header(f, frame);
  auto* body = headers + headroom_bytes - n;
  std::memcpy(body, frame, n);
  auto mask = fresh_mask();
  ws::apply_mask({body, n}, mask, 0);
  ws::apply_mask(payload, mask, n);
  auto* begin = put_message_header(body, n + payload.size(), &mask);
  bytes all[] = {{begin, static_cast<std::size_t>(headers + headroom_bytes - begin)}, part};
  return write(all);
}

result<void> link::write(std::span<const bytes> parts) {
  kedge_assert(!flushing_);
  if (broken_) return fail(errc::closed, "the tunnel is closed");
  bytes all[10];
  std::size_t n = 0, size = 0;
  auto waiting = std::exchange(output_, {});
  if (!waiting.empty()) all[n++] = as_bytes(waiting);
  for (auto p : parts) all[n++] = p;
  for (std::size_t i = 0; i < n; ++i) size += all[i].size();
  flush_timer_.disarm();
  auto sent = stream_->try_send({all, n});
  if (!sent) {
    auto e = std::move(sent).error();
    fail_sending("sending into the tunnel failed");
    return std::unexpected(std::move(e));
  }
  if (*sent == size) return {};
  auto skip = *sent;
  output_.reserve(size - skip);
  for (std::size_t i = 0; i < n; ++i) {
    auto step = std::min(skip, all[i].size());
    skip -= step;
    output_ += as_text(all[i].subspan(step));
  }
  flushing_ = true;
  tasks_.spawn(flush());
  return {};
}

void link::flush_now() {
  if (flushing_ || broken_ || output_.empty()) return;
  (void)write({});
}

task<void> link::flush() {
  while (!output_.empty() && !broken_) {
    auto out = std::exchange(output_, {});
    if (!co_await stream_->send(as_bytes(out))) {
      fail_sending("sending into the tunnel failed");
      break;
    }
  }
  flushing_ = false;
  writable_.pulse();
}

// Called from anywhere: run() ends when its receive does.
void link::fail_sending(const char* why) noexcept {
  stop_sending(why);
  stream_->close();
}

void link::stop_sending(const char* why) noexcept {
  if (!why_closed_) why_closed_ = why;
  broken_ = true;
  release(output_);
}

void link::send_ping() {
  ping_sent_ = reactor::loop::current().now();
  queue(ws::opcode::ping, {});
  ping_timer_->arm_after(options_.ping_interval);
}

void link::send_sync() {
  session_.sync();
  sync_timer_->arm_after(options_.sync_interval);
}

void link::heard() {
  last_heard_ = reactor::loop::current().now();
  if (lively_) return;
  silence_timer_.arm_after(std::min(options_.suspect_after, options_.silence_timeout));
  set_lively(true);
}

// First the peer is suspect, then it is given up.
void link::check_silence() {
  if (closing_) return fail_sending("the tunnel was closed at this end");
  const auto now = reactor::loop::current().now();
  const auto suspect = last_heard_ + options_.suspect_after, given_up = last_heard_ + options_.silence_timeout;
  if (given_up <= now) return fail_sending("the peer was silent for too long");
  if (suspect > now) return silence_timer_.arm(std::min(suspect, given_up));
  silence_timer_.arm(given_up);
  set_lively(false);
}

void link::set_lively(bool lively) {
  if (std::exchange(lively_, lively) != lively && on_lively) on_lively(lively);
}

}  // namespace kedge::tunnel
