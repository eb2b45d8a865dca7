// h1_server.cc: one HTTP/1.x connection.
//
//   serve ── head ──▶ handler::serve ──▶ answer ──▶ next head
//     │                  │ waits (for its body, for a commit, for the socket)
//     │                  ▼
//     └── watch_peer: the one receive that runs while a handler does. It feeds the handler's body, and when the peer
//         goes away it ends the handler where it waits.
//
// A handler that never waits costs no watch_peer: its answer goes out in the write that ends it.
#include <cstring>

#include "base/log.h"
#include "base/release.h"
#include "base/strings.h"
#include "net/http/connection.h"
#include "net/http/h1_parser.h"
#include "net/http/h1_write.h"
#include "reactor/own_frame.h"
#include "reactor/scope.h"
#include "reactor/sync.h"

namespace kedge::net::http {

namespace {

using reactor::buffer;

constexpr std::size_t stack_parts = 16;

class h1_connection final : public connection, public exchange, reactor::activity {
 public:
  h1_connection(reactor::stream& s, connection_context c) noexcept
      : http::connection(c.info), stream_(s), context_(c), options_(c.options), deadline_(s), leaving_(c.leaving) {
    context_.connections.push_back(*this);
  }

  task<void> run() {
    while (co_await read_head()) {
      begin_exchange();
      bool peer_left = co_await run_handler();
      end_exchange();
      if (peer_left || hijacked_ || broken_) co_return;
      if (keep_alive_ && (broken_body_ || !request_complete())) keep_alive_ = co_await drop_rest();
      if (!keep_alive_) {
        co_await linger();
        co_return;
      }
      if (parser_)
        parser_->reset();
      else
        parser_ = fresh_parser();
    }
  }

  // --- connection
  void leave() noexcept override { leaving_ = true; }
  void drain() noexcept override {
    leaving_ = draining_ = true;
    if (idle_) take_leave();
  }
  bool quiet() const noexcept override { return idle_; }
  void evict() noexcept override {
    if (idle_ && !first_ && !ended_) return drain();
    abort();
  }

  // --- exchange
  const http::request& request() const noexcept override { return request_; }
  connection_info& connection() noexcept override { return context_.info; }
  void limit_body(std::uint64_t bytes) noexcept override { body_limit_ = bytes; }
  void body_deadline(time_point when) noexcept override { body_until_ = when; }
  bool started() const noexcept override { return answer_ != answer::none; }

  task<result<buffer>> read() override {
    if (request_.content_length && *request_.content_length > body_limit_) co_return body_too_large();
    for (;;) {
      if (!piece_.empty()) {
        body_read_ += piece_.size();
        if (body_read_ > body_limit_) co_return body_too_large();
        co_return std::move(piece_);
      }
      if (request_complete()) co_return buffer();
      if (broken_) co_return fail(errc::closed, "the request's body ended early");
      if (!input_.empty()) {
        KEDGE_CO_CHECK(feed_body());
        continue;
      }
      if (expects_continue_) {
        expects_continue_ = false;
        auto text = as_bytes("HTTP/1.1 100 Continue\r\n\r\n");
        KEDGE_CO_CHECK(co_await send({&text, 1}));
        continue;
      }
      if (!co_await input_changed_.wait_until(
              std::min(reactor::loop::current().now() + options_.body_timeout, body_until_))) {
        keep_alive_ = false;
        co_return fail(errc::timeout, "the client was too slow to send the request's body");
      }
    }
  }

  task<result<void>> respond(const response& head, std::span<const bytes> body) override {
    kedge_assert(answer_ == answer::none);
    std::uint64_t size = 0;
    for (auto& p : body) size += p.size();
    auto framing = frame(head, true, size);
    answer_ = answer::finished;
    head_text_.clear();
    append_response_head(head_text_, head, framing);
    if (head_only_ || framing.body == h1_framing::body::none) body = {};
    bytes small[stack_parts];
    std::vector<bytes> large;
    auto* parts = small;
    if (body.size() + 1 > stack_parts) {
      large.resize(body.size() + 1);
      parts = large.data();
    }
    parts[0] = as_bytes(head_text_);
    std::copy(body.begin(), body.end(), parts + 1);
    auto sent = co_await send({parts, body.size() + 1});
    if (head_text_.capacity() > 4096) release(head_text_);
    co_return sent;
  }

  task<result<void>> start(const response& head) override {
    kedge_assert(answer_ == answer::none);
    auto framing = frame(head, false, 0);
    answer_ = answer::streaming;
    chunked_ = framing.body == h1_framing::body::chunked;
    left_ = framing.body == h1_framing::body::length ? std::optional(framing.length) : std::nullopt;
    no_body_ = framing.body == h1_framing::body::none;
    head_text_.clear();
    append_response_head(head_text_, head, framing);
    auto text = as_bytes(head_text_);
    auto sent = co_await send({&text, 1});
    release(head_text_);  // a watch holds this exchange for hours
    if (request_complete()) parser_.reset();
    co_return sent;
  }

  task<result<void>> write(std::span<const bytes> body) override {
    kedge_assert(answer_ == answer::streaming);
    std::size_t size = 0;
    for (auto& p : body) size += p.size();
    if (head_only_ || no_body_ || size == 0) co_return result<void>();
    if (left_) {
      if (size > *left_) {
        abort();
        co_return fail(errc::internal, "the answer's body is longer than its Content-Length");
      }
      *left_ -= size;
    }
    if (!chunked_) co_return co_await send(body);
    bytes small[stack_parts];
    std::vector<bytes> large;
    auto* parts = small;
    if (body.size() + 2 > stack_parts) {
      large.resize(body.size() + 2);
      parts = large.data();
    }
    std::string chunk_head;  // short: no allocation
    append_chunk_head(chunk_head, size);
    parts[0] = as_bytes(chunk_head);
    std::copy(body.begin(), body.end(), parts + 1);
    parts[body.size() + 1] = as_bytes("\r\n");
    co_return co_await send({parts, body.size() + 2});
  }

  task<result<void>> finish(const headers& trailers) override {
    kedge_assert(answer_ == answer::streaming);
    answer_ = answer::finished;
    if (left_ && *left_ > 0 && !head_only_) {
      abort();
      co_return fail(errc::internal, "the answer's body is shorter than its Content-Length");
    }
    if (!chunked_ || head_only_) co_return result<void>();
    std::string text = "0\r\n";
    append_fields(text, trailers);
    text += "\r\n";
    auto part = as_bytes(text);
    co_return co_await send({&part, 1});
  }

  void abort() noexcept override {
    broken_ = true;
    keep_alive_ = false;
    stream_.close();
  }

  task<result<std::unique_ptr<reactor::stream>>> upgrade(const response& head) override;

 private:
  friend class upgraded_stream;
  enum class answer : unsigned char { none, streaming, finished };

  void take_leave() {
    if (first_) return deadline_.set_after(linger_timeout);  // who has just come has something to say
    // A request may be on its way. By close_notify and FIN the client learns that nobody reads it, and sends it
    // elsewhere; a reset would tell nothing.
    ended_ = true;
    deadline_.set_after(farewell_timeout);
    watching_.spawn([](reactor::stream& s) -> task<void> { (void)co_await s.finish(); }(stream_));
  }

  static std::unique_ptr<h1_parser> fresh_parser() { return std::make_unique<h1_parser>(h1_parser::side::request); }
  bool request_complete() const noexcept { return !parser_ || parser_->complete(); }

  // The next request's head; false when the connection is to end.
  KEDGE_OWN_FRAME task<bool> read_head() {
    // The first request must come soon after the handshake; later ones may take their time, but once begun must get on.
    bool begun = !input_.empty();
    idle_ = !begun;
    deadline_.set_after(first_ || begun ? options_.header_timeout : options_.idle_timeout);
    // Its last answer had promised to go on, before anybody knew better.
    if (idle_ && draining_) take_leave();
    for (;;) {
      while (!input_.empty()) {
        if (!begun) {
          begun = true;
          idle_ = false;
          deadline_.set_after(options_.header_timeout);
        }
        auto used = parser_->feed(input_.writable());
        if (!used) {
          co_await refuse(parser_->status(), used.error());
          co_return false;
        }
        take(*used);
        if (parser_->head_complete()) {
          deadline_.clear();
          first_ = false;
          co_return true;
        }
      }
      auto b = co_await stream_.receive();
      if (!b || b->empty()) {
        if (deadline_.passed() && begun) context_.counters.add(context_.counters.bad_requests, 1);
        co_return false;
      }
      if (ended_) continue;  // to the client's end
      input_ = std::move(*b);
    }
  }

  // Splits what was fed into the body's piece and what comes after.
  void take(h1_parser::progress used) {
    if (used.consumed == input_.size()) {
      input_.truncate(used.body);
      piece_ = std::move(input_);
      if (used.body == 0) piece_.release();
      return;
    }
    if (used.body > 0) {  // more follows in the same buffer (a pipelined request): the piece gets its own
      piece_ = buffer::allocate(used.body);
      std::memcpy(piece_.writable().data(), input_.view().data(), used.body);
    }
    input_.consume(used.consumed);
  }

  result<void> feed_body() {
    auto used = parser_->feed(input_.writable());
    if (!used) {
      keep_alive_ = false;
      broken_body_ = true;
      input_.release();
      return std::unexpected(std::move(used).error());
    }
    take(*used);
    if (input_.empty()) drained_.pulse();
    return {};
  }

  std::unexpected<error> body_too_large() {
    keep_alive_ = false;
    piece_.release();
    return fail(errc::too_large, "the request's body is larger than " + std::to_string(body_limit_) + " bytes");
  }

  void begin_exchange() {
    auto& h = parser_->head();
    request_.method = std::move(h.method);
    request_.target = std::move(h.target);
    request_.http = h.http;
    request_.headers = std::move(h.headers);
    request_.content_length = h.content_length;
    if (!h.content_length && !h.chunked) request_.content_length = 0;
    request_.authority = request_.headers.get("host");
    std::string_view rest = request_.target;
    if (request_.method == "CONNECT") {
      request_.authority = request_.target;
      rest = {};
    } else if (!rest.empty() && rest.front() != '/') {  // RFC 9112 §3.2.2: the absolute form, whose host wins
      if (auto scheme = rest.find("://"); scheme != std::string_view::npos) {
        rest.remove_prefix(scheme + 3);
        auto slash = std::min(rest.find('/'), rest.find('?'));
        request_.authority = rest.substr(0, slash);
        rest = slash == std::string_view::npos ? std::string_view("/") : rest.substr(slash);
      }
    }
    auto question = rest.find('?');
    request_.path = rest.substr(0, question);
    request_.query = question == std::string_view::npos ? std::string_view() : rest.substr(question + 1);

    keep_alive_ = h.keep_alive;
    head_only_ = request_.method == "HEAD";
    expects_continue_ = request_.http == version::http1_1 && !request_complete() &&
                        request_.headers.has_token("expect", "100-continue");
    body_limit_ = options_.body_max_bytes;
    body_until_ = reactor::loop::current().now() + options_.body_whole_timeout;
    body_read_ = 0;
    answer_ = answer::none;
    chunked_ = no_body_ = false;
    left_.reset();
    core_counters::add(context_.counters.exchanges, 1);
    core_counters::add(context_.counters.exchanges_total, 1);
    is_active();
    activity::begin();
  }
  std::string describe() const override { return describe_request(request_, context_.info); }

  void end_exchange() {
    activity::end();
    is_active();
    core_counters::add(context_.counters.exchanges, -1);
    request_ = {};
    piece_.release();
  }

  // Reads the rest of a body that the handler left, so that the connection can go on behind it. False when that fails
  // or would take too long.
  KEDGE_OWN_FRAME task<bool> drop_rest() {
    deadline_.set_after(linger_timeout);
    std::size_t dropped = 0;
    while (!broken_body_ && !request_complete()) {
      if (input_.empty()) {
        auto b = co_await stream_.receive();
        if (!b || b->empty()) co_return false;
        input_ = std::move(*b);
      }
      dropped += input_.size();
      if (dropped > linger_max_bytes || !feed_body()) co_return false;
      piece_.release();
    }
    co_return !broken_body_;
  }

  // true when the peer went away first (the handler is gone then).
  KEDGE_OWN_FRAME task<bool> run_handler() {
    bool done = false;
    peer_left_ = false;
    woken_.reset();
    reactor::scope running;
    running.spawn(serve_one(done));
    if (!done) {
      if (!hijacked_) watching_.spawn(watch_peer());
      while (!done && !peer_left_) co_await woken_.wait();
      watching_.cancel();
      if (!done) {
        running.cancel();
        co_return true;
      }
    }
    co_return false;
  }

  task<void> serve_one(bool& done) {
    co_await context_.handler.serve(*this);
    if (answer_ == answer::none && !broken_ && !hijacked_) {
      co_await answer_failure();
    } else if (answer_ == answer::streaming) {
      abort();  // the answer isn't complete, and the client must see that
    }
    done = true;
    woken_.set();
  }

  KEDGE_OWN_FRAME task<void> answer_failure() {
    response failed{.status = 500};
    keep_alive_ = false;
    (void)co_await respond(failed, std::span<const bytes>());
  }

  task<void> watch_peer() {
    for (;;) {
      while (!input_.empty()) co_await drained_.wait();
      auto b = co_await stream_.receive();
      if (!b || b->empty()) break;
      input_ = std::move(*b);
      input_changed_.pulse();
    }
    peer_left_ = true;
    woken_.set();
  }

  h1_framing frame(const response& head, bool whole, std::uint64_t size) {
    h1_framing f;
    if (request_.http == version::http1_0 && !whole && !head.headers.has("content-length")) keep_alive_ = false;
    if (leaving_ || head.headers.has_token("connection", "close") || expects_continue_) keep_alive_ = false;
    // An unread body that is still to come would be taken for the next request; closing is cheaper than reading it.
    if (!request_complete() && answer_ == answer::none && unread_is_large()) keep_alive_ = false;
    if (head.status / 100 == 1 || head.status == 204) {
      f.body = h1_framing::body::none;
    } else if (whole && (!head_only_ || size > 0 || !head.headers.has("content-length")) && head.status != 304) {
      f.body = h1_framing::body::length;
      f.length = size;
    } else if (auto given = parse_uint(head.headers.get("content-length"))) {
      f.body = h1_framing::body::length;
      f.length = *given;
    } else if (head.status == 304) {
      f.body = h1_framing::body::none;
    } else if (request_.http == version::http1_1) {
      f.body = h1_framing::body::chunked;
    } else {
      f.body = h1_framing::body::until_close;
    }
    f.close = !keep_alive_;
    f.keep_alive_1_0 = keep_alive_ && request_.http == version::http1_0;
    return f;
  }
  bool unread_is_large() const noexcept {
    return request_.content_length && *request_.content_length > body_read_ + linger_max_bytes;
  }

  // All of it, or the peer is given up after write_timeout for each MiB.
  task<result<void>> send(std::span<const bytes> parts) {
    if (broken_ || hijacked_) co_return fail(errc::closed, "the connection was closed");
    auto sent = stream_.try_send(parts);
    if (!sent) {
      broken_ = true;
      co_return std::unexpected(std::move(sent).error());
    }
    std::size_t total = 0;
    for (auto& p : parts) total += p.size();
    if (*sent == total) co_return result<void>();

    std::vector<bytes> rest(parts.begin(), parts.end());
    std::size_t first = 0, skip = *sent;
    while (skip >= rest[first].size()) skip -= rest[first++].size();
    rest[first] = rest[first].subspan(skip);
    deadline_.set_after(options_.write_timeout * static_cast<std::int64_t>(1 + (total - *sent) / (1024 * 1024)));
    auto done = co_await stream_.send(std::span<const bytes>(rest).subspan(first));
    deadline_.clear();
    if (!done) broken_ = true;
    co_return done;
  }

  // A request that can't be read: says so, and ends the connection.
  KEDGE_OWN_FRAME task<void> refuse(int status, const error& why) {
    core_counters::add(context_.counters.bad_requests, 1);
    log::debug("bad request from {}: {}", context_.info.peer.text(), why.message);
    response head{.status = status};
    head.headers.add("Content-Type", "text/plain; charset=utf-8");
    std::string body = std::to_string(status) + " " + std::string(reason_phrase(status)) + "\n";
    std::string text;
    append_response_head(text, head, {.body = h1_framing::body::length, .length = body.size(), .close = true});
    text += body;
    auto part = as_bytes(text);
    deadline_.set_after(options_.write_timeout);
    if (co_await send({&part, 1})) co_await linger();
  }

  // RFC 9112 §9.6: closing while input waits would reset the connection, and the peer might lose the answer. So: say
  // that nothing more comes, then read and drop for a moment.
  KEDGE_OWN_FRAME task<void> linger() {
    deadline_.set_after(linger_timeout);
    bool unread = !input_.empty() || !request_complete();
    if (!co_await stream_.finish() || !unread) co_return;
    std::size_t dropped = 0;
    input_.release();
    while (dropped < linger_max_bytes) {
      auto b = co_await stream_.receive();
      if (!b || b->empty()) co_return;
      dropped += b->size();
    }
  }

  reactor::stream& stream_;
  connection_context context_;
  const connection_options& options_;
  deadline deadline_;
  std::unique_ptr<h1_parser> parser_ = fresh_parser();  // null once a request that takes long has been read
  http::request request_;
  buffer input_;  // received, not yet parsed
  buffer piece_;  // body, parsed, not yet read
  std::string head_text_;
  std::uint64_t body_limit_ = 0, body_read_ = 0;
  time_point body_until_{};
  std::optional<std::uint64_t> left_;  // of an answer with Content-Length
  answer answer_ = answer::none;
  bool chunked_ = false, no_body_ = false, head_only_ = false;
  bool first_ = true, idle_ = true;
  bool leaving_;  // after the next answer
  bool draining_ = false;
  bool ended_ = false;  // says nothing more
  bool keep_alive_ = false, expects_continue_ = false;
  bool broken_ = false, broken_body_ = false, hijacked_ = false, peer_left_ = false;
  reactor::event input_changed_, drained_, woken_;
  reactor::scope watching_;
};

// What upgrade() hands over: the connection's bytes, those that came with the request first.
class upgraded_stream final : public reactor::stream {
 public:
  explicit upgraded_stream(h1_connection& c) noexcept : connection_(c) {}
  ~upgraded_stream() override { connection_.stream_.close(); }
  task<result<buffer>> receive() override {
    if (connection_.input_.empty()) return connection_.stream_.receive();
    return [](buffer b) -> task<result<buffer>> { co_return std::move(b); }(std::move(connection_.input_));
  }
  task<result<void>> send(std::span<const bytes> parts) override { return connection_.stream_.send(parts); }
  result<std::size_t> try_send(std::span<const bytes> parts) override { return connection_.stream_.try_send(parts); }
  task<result<void>> finish() override { return connection_.stream_.finish(); }
  void close() noexcept override { connection_.stream_.close(); }
  reactor::endpoint local() const override { return connection_.stream_.local(); }
  reactor::endpoint peer() const override { return connection_.stream_.peer(); }

 private:
  h1_connection& connection_;
};

task<result<std::unique_ptr<reactor::stream>>> h1_connection::upgrade(const response& head) {
  kedge_assert(answer_ == answer::none);
  if (!request_complete()) co_return fail(errc::invalid, "a request with a body can't be upgraded");
  answer_ = answer::finished;
  std::string text;
  append_upgrade_head(text, head);
  auto part = as_bytes(text);
  KEDGE_CO_CHECK(co_await send({&part, 1}));
  // From here the handler receives by itself; it isn't called by watch_peer, so that one may be ended here.
  watching_.cancel();
  hijacked_ = true;
  deadline_.clear();
  parser_.reset();
  co_return std::make_unique<upgraded_stream>(*this);
}

}  // namespace

task<void> serve_h1(reactor::stream& s, connection_context context) {
  h1_connection c(s, context);
  co_await c.run();
}

}  // namespace kedge::net::http
