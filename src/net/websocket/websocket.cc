#include "net/websocket/websocket.h"

#include <openssl/sha.h>

#include <cstring>

#include "base/strings.h"
#include "net/block_pool.h"

namespace kedge::net::websocket {

namespace {

std::uint32_t fresh_mask() {
  std::uint32_t m;
  reactor::loop::current().random().fill({reinterpret_cast<std::byte*>(&m), sizeof m});
  return m;
}

struct semaphore_guard {
  reactor::semaphore& s;
  ~semaphore_guard() { s.release(); }
};

std::string close_payload(std::uint16_t code, std::string_view reason) {
  std::string out;
  append_be16(out, code);
  out += reason.substr(0, 123);
  // Cut in the middle of a character, the reason would not be UTF-8 any more.
  while (out.size() > 2) {
    utf8_checker c;
    if (c.feed(as_bytes(std::string_view(out).substr(2))) && c.complete()) break;
    out.pop_back();
  }
  return out;
}

}  // namespace

connection::connection(std::unique_ptr<reactor::stream> s, side own, options o)
    : stream_(std::move(s)),
      own_(own),
      options_(o),
      parser_(own, o.message_max_bytes),
      last_received_(reactor::loop::current().now()) {}
connection::~connection() = default;

task<void> connection::finish() {
  co_await sending_.acquire();
  semaphore_guard guard{sending_};
  (void)co_await stream_->finish();
}

task<result<void>> connection::send_frame(opcode op, std::span<const bytes> parts) {
  co_await sending_.acquire();
  semaphore_guard guard{sending_};
  if (broken_ || (close_sent_ && op != opcode::close)) co_return fail(errc::closed, "the websocket is closed");
  if (op == opcode::close && std::exchange(close_sent_, true)) co_return result<void>();
  std::uint64_t size = 0;
  for (auto& p : parts) size += p.size();
  struct broken_unless_done {
    bool& broken;
    bool done = false;
    ~broken_unless_done() {
      if (!done) broken = true;
    }
  } whole{broken_};
  if (own_ == side::server) {
    auto header = frame_header(op, true, size);
    bytes small[8];
    std::vector<bytes> large;
    auto* all = small;
    if (parts.size() + 1 > std::size(small)) {
      large.resize(parts.size() + 1);
      all = large.data();
    }
    all[0] = as_bytes(header);
    std::copy(parts.begin(), parts.end(), all + 1);
    KEDGE_CO_CHECK(co_await stream_->send({all, parts.size() + 1}));
  } else {
    // Masking needs a copy; in pieces, so that a large message isn't held twice.
    auto mask = fresh_mask();
    std::string out = frame_header(op, true, size, &mask);
    std::uint64_t offset = 0;
    for (auto part : parts) {
      while (!part.empty()) {
        auto n = std::min(part.size(), websocket_piece_max_bytes);
        auto at = out.size();
        out.append(as_text(part.first(n)));
        apply_mask({reinterpret_cast<std::byte*>(out.data()) + at, n}, mask, offset);
        offset += n;
        part = part.subspan(n);
        if (out.size() >= websocket_piece_max_bytes) {
          KEDGE_CO_CHECK(co_await stream_->send(as_bytes(out)));
          out.clear();
        }
      }
    }
    if (!out.empty()) KEDGE_CO_CHECK(co_await stream_->send(as_bytes(out)));
  }
  whole.done = true;
  co_return result<void>();
}

task<result<void>> connection::send(opcode kind, std::span<const bytes> parts) { return send_frame(kind, parts); }
task<result<void>> connection::send(opcode kind, std::string_view text) {
  auto part = as_bytes(text);
  co_return co_await send_frame(kind, {&part, 1});
}
task<result<void>> connection::ping(std::string_view payload) {
  auto part = as_bytes(payload.substr(0, 125));
  co_return co_await send_frame(opcode::ping, {&part, 1});
}

// More input, or an error. Keeps the connection alive meanwhile.
task<result<void>> connection::fill() {
  auto take = [this](result<reactor::buffer> b) -> result<void> {
    if (!b) return std::unexpected(std::move(b).error());
    if (b->empty()) return fail(errc::closed, "the websocket's connection ended without a close frame");
    input_ = std::move(*b);
    last_received_ = reactor::loop::current().now();
    return {};
  };
  if (options_.keepalive == duration(0)) co_return take(co_await stream_->receive());
  for (;;) {
    auto now = reactor::loop::current().now();
    if (now - last_received_ >= 2 * options_.keepalive) co_return fail(errc::timeout, "the websocket's peer is silent");
    bool quiet = now - last_received_ >= options_.keepalive;
    // A send that is stuck says as much about the peer as a ping would.
    if (quiet && sending_.available() > 0)
      KEDGE_CO_CHECK(co_await reactor::with_deadline(ping(), last_received_ + 2 * options_.keepalive));
    auto b = co_await reactor::with_deadline(stream_->receive(), last_received_ + (quiet ? 2 : 1) * options_.keepalive);
    if (!b && b.error().code == errc::timeout) continue;
    co_return take(std::move(b));
  }
}

task<result<connection::piece>> connection::receive() {
  if (ended_) co_return fail(errc::closed, "the websocket is closed");
  struct flag {
    bool& on;
    explicit flag(bool& b) : on(b) { on = true; }
    ~flag() { on = false; }
  } guard(receiving_);
  auto p = co_await receive_frames();
  if (!p) {
    ended_ = true;
    stream_->close();
  }
  co_return std::move(p);
}

task<result<connection::piece>> connection::receive_frames() {
  using kind = frame_parser::event::kind;
  for (;;) {
    while (input_.empty()) KEDGE_CO_CHECK(co_await fill());
    auto e = parser_.next(input_.writable());
    if (!e) {
      auto text = close_payload(parser_.error_code(), e.error().message);
      auto part = as_bytes(text);
      if (!close_sent_ && co_await send_frame(opcode::close, {&part, 1})) co_await finish();
      co_return std::unexpected(std::move(e).error());
    }
    switch (e->what) {
      case kind::need_more: input_.consume(e->consumed); break;
      case kind::data: {
        piece p{.kind = e->message, .first = e->first, .final = e->final};
        auto offset = e->consumed - e->payload.size();
        if (e->consumed == input_.size()) {
          input_.consume(offset);
          p.data = std::move(input_);
          if (e->payload.empty()) p.data.release();
        } else {
          if (!e->payload.empty()) {
            p.data = reactor::buffer::allocate(e->payload.size());
            std::memcpy(p.data.writable().data(), e->payload.data(), e->payload.size());
          }
          input_.consume(e->consumed);
        }
        if (input_.empty()) input_.release();
        if (p.data.empty() && !p.final && !p.first) break;  // nothing new
        co_return std::move(p);
      }
      case kind::ping: {
        std::string echo(as_text(e->payload));  // the parser's memory is good until its next call only
        input_.consume(e->consumed);
        auto part = as_bytes(echo);
        if (!close_sent_) KEDGE_CO_CHECK(co_await send_frame(opcode::pong, {&part, 1}));
        break;
      }
      case kind::pong: input_.consume(e->consumed); break;
      case kind::close: {
        closing_ = {e->code, std::string(as_text(e->payload))};
        std::string answer = e->code == close_no_status ? std::string() : close_payload(e->code, {});
        auto part = as_bytes(answer);
        if (!close_sent_) (void)co_await send_frame(opcode::close, {&part, 1});
        co_await finish();
        co_return fail(errc::closed, "the peer closed the websocket (" + std::to_string(closing_.code) + ")" +
                                         (closing_.reason.empty() ? "" : ": " + quote(closing_.reason)));
      }
    }
    if (input_.empty()) input_.release();
  }
}

task<result<connection::message>> connection::receive_message() {
  message m;
  for (;;) {
    KEDGE_CO_TRY(auto p, co_await receive());
    m.kind = p.kind;
    m.data += as_text(p.data.view());
    if (p.final) co_return std::move(m);
  }
}

task<result<void>> connection::close(std::uint16_t code, std::string_view reason) {
  if (ended_) co_return result<void>();
  auto text = close_payload(code, reason);
  auto part = as_bytes(text);
  auto until = reactor::loop::current().now() + websocket_close_timeout;
  auto work = [](connection& c, bytes payload) -> task<result<void>> {
    KEDGE_CO_CHECK(co_await c.send_frame(opcode::close, {&payload, 1}));
    // Who receives meets the peer's close frame; otherwise we look for it, and drop what comes before.
    while (!c.receiving_ && !c.ended_)
      if (!co_await c.receive()) break;
    co_return result<void>();
  };
  auto done = co_await reactor::with_deadline(work(*this, part), until);
  if (!done || !receiving_) {
    ended_ = true;
    stream_->close();
  }
  co_return done;
}

std::string accept_key(std::string_view key) {
  std::string text(key);
  text += "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  unsigned char digest[SHA_DIGEST_LENGTH];
  SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  return base64({reinterpret_cast<const std::byte*>(digest), sizeof digest});
}

bool is_upgrade(const http::request& r) noexcept {
  return r.headers.has_token("connection", "upgrade") && r.headers.has_token("upgrade", "websocket");
}

task<result<std::unique_ptr<connection>>> accept(http::exchange& e, const std::vector<std::string>& protocols,
                                                 options o, http::headers extra) {
  auto& r = e.request();
  auto key = r.headers.get("sec-websocket-key");
  const char* why = nullptr;
  http::response head{.status = 400};
  if (r.http != http::version::http1_1) {
    why = "websockets need HTTP/1.1";
  } else if (r.method != "GET" || !is_upgrade(r)) {
    why = "not a websocket handshake";
    head.status = 426;
    head.headers.add("Upgrade", "websocket");
  } else if (r.headers.get("sec-websocket-version") != "13") {
    why = "websocket version 13 is needed";
    head.status = 426;
    head.headers.add("Sec-WebSocket-Version", "13");
  } else if (auto raw = unbase64(key); !raw || raw->size() != 16) {
    why = "a malformed Sec-WebSocket-Key";
  }
  if (why) {
    head.headers.add("Content-Type", "text/plain; charset=utf-8");
    (void)co_await e.respond(head, why);
    co_return fail(errc::invalid, why);
  }
  head = {.status = 101};
  head.headers = std::move(extra);
  head.headers.set("Upgrade", "websocket");
  head.headers.set("Connection", "Upgrade");
  head.headers.set("Sec-WebSocket-Accept", accept_key(key));
  std::string chosen;
  for (auto& p : protocols)
    if (chosen.empty() && r.headers.has_token("sec-websocket-protocol", p)) chosen = p;
  if (!chosen.empty()) head.headers.set("Sec-WebSocket-Protocol", chosen);
  KEDGE_CO_TRY(auto stream, co_await e.upgrade(head));
  auto c = std::make_unique<connection>(std::move(stream), side::server, o);
  c->protocol = std::move(chosen);
  co_return std::move(c);
}

task<result<std::unique_ptr<connection>>> connect(http::client& c, connect_request r, rejected* why) {
  std::byte random[16];
  reactor::loop::current().random().fill(random);
  auto key = base64(random);
  r.headers.set("Connection", "Upgrade");
  r.headers.set("Upgrade", "websocket");
  r.headers.set("Sec-WebSocket-Version", "13");
  r.headers.set("Sec-WebSocket-Key", key);
  if (!r.protocols.empty()) r.headers.set("Sec-WebSocket-Protocol", join(r.protocols, ", "));
  KEDGE_CO_TRY(auto x,
               co_await c.open({.to = std::move(r.to), .path = std::move(r.path), .headers = std::move(r.headers)}));
  KEDGE_CO_TRY(auto* head, co_await x->head());
  if (head->status != 101) {
    auto body = co_await x->read_all(64 * 1024);
    if (why) *why = {head->status, body ? std::move(*body) : std::string()};
    co_return fail(errc::refused,
                   "the server answered the websocket handshake with status " + std::to_string(head->status));
  }
  if (!head->headers.has_token("upgrade", "websocket") || !head->headers.has_token("connection", "upgrade") ||
      head->headers.get("sec-websocket-accept") != accept_key(key))
    co_return fail(errc::protocol, "the server's websocket handshake is wrong");
  std::string chosen(head->headers.get("sec-websocket-protocol"));
  if (!chosen.empty() && std::find(r.protocols.begin(), r.protocols.end(), chosen) == r.protocols.end())
    co_return fail(errc::protocol, "the server chose a websocket protocol that was not offered: " + quote(chosen));
  KEDGE_CO_TRY(auto stream, x->upgraded());
  auto ws = std::make_unique<connection>(std::move(stream), side::client, r.settings);
  ws->protocol = std::move(chosen);
  co_return std::move(ws);
}

}  // namespace kedge::net::websocket
