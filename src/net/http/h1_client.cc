// h1_client.cc: one request and its answer over HTTP/1.1.
#include <algorithm>
#include <cstring>

#include "base/release.h"
#include "base/strings.h"
#include "net/http/client_detail.h"
#include "net/http/h1_parser.h"
#include "net/http/h1_write.h"

namespace kedge::net::http {

namespace {

using reactor::buffer;

class h1_exchange final : public client_exchange {
 public:
  h1_exchange(std::shared_ptr<client::state> state, std::unique_ptr<h1_client_connection> c, client_request& r)
      : state_(std::move(state)), connection_(std::move(c)), parser_(h1_parser::side::response) {
    if (r.method == "HEAD") parser_.expect_no_body(false);
    connect_ = r.method == "CONNECT";
    if (connect_) parser_.expect_no_body(true);
    head_request_ = r.method == "HEAD";
    h1_framing f;
    streams_ = r.streams;
    if (streams_ && r.length)
      f = {.body = h1_framing::body::length, .length = *r.length};
    else if (streams_)
      f.body = h1_framing::body::chunked;
    else if (!r.body.empty() || r.method == "POST" || r.method == "PUT" || r.method == "PATCH")
      f = {.body = h1_framing::body::length, .length = r.body.size()};
    append_request_head(text_, r.method, r.path,
                        connect_              ? r.path
                        : r.authority.empty() ? r.to.authority()
                                              : r.authority,
                        r.headers, f);
    body_ = std::move(r.body);
    reused_ = connection_->reused;
    sent_all_ = !streams_;
    left_ = streams_ ? r.length : std::nullopt;
  }

  ~h1_exchange() override {
    if (connection_ && reusable()) state_->put_idle(std::move(connection_));
  }

  task<result<void>> send_request() {
    auto sent = co_await send_at_once();
    release(text_);
    release(body_);
    if (!sent) {
      // The server may have answered (413) and closed before it took all: that answer counts.
      sent_all_ = false;
      send_error_ = std::move(sent).error();
    }
    co_return result<void>();
  }
  bool died_idle() const noexcept { return connection_ && reused_ && !any_received_ && failed_; }
  bool reused() const noexcept override { return reused_; }
  bool refused() const noexcept override { return false; }

  task<result<const response*>> head() override {
    while (!have_head_) {
      KEDGE_CO_CHECK(co_await more());
      if (!parser_.head_complete()) continue;
      auto& h = parser_.head();
      if (h.status / 100 == 1 && h.status != 101) {  // 100, 103: the answer is yet to come
        if (++informational_ > 16) co_return fail_with(errc::protocol, "too many informational answers");
        auto to_connect = connect_;
        parser_.reset();
        if (to_connect || head_request_) parser_.expect_no_body(to_connect);
        continue;
      }
      response_.status = h.status;
      response_.headers = std::move(h.headers);
      keep_alive_ = h.keep_alive;
      have_head_ = true;
    }
    co_return &response_;
  }

  task<result<buffer>> read() override {
    if (!have_head_) KEDGE_CO_CHECK(co_await head());
    for (;;) {
      if (!piece_.empty()) co_return std::move(piece_);
      if (parser_.complete() || ended_) co_return buffer();
      KEDGE_CO_CHECK(co_await more());
    }
  }

  const http::headers& trailers() const noexcept override { return parser_.trailers(); }

  task<result<void>> write(std::span<const bytes> body) override {
    if (!connection_) co_return fail(errc::closed, "the exchange is over");
    std::size_t size = 0;
    for (auto& p : body) size += p.size();
    if (size == 0) co_return result<void>();
    if (left_) {
      if (size > *left_) co_return fail_with(errc::invalid, "the body is longer than was said");
      *left_ -= size;
      co_return co_await connection_->stream->send(body);
    }
    std::string head;
    append_chunk_head(head, size);
    std::vector<bytes> parts{as_bytes(head)};
    parts.insert(parts.end(), body.begin(), body.end());
    parts.push_back(as_bytes("\r\n"));
    co_return co_await connection_->stream->send(parts);
  }
  task<result<void>> finish() override {
    if (!streams_ || sent_all_) co_return result<void>();
    if (!connection_) co_return fail(errc::closed, "the exchange is over");
    if (left_ && *left_ > 0) co_return fail_with(errc::invalid, "the body is shorter than was said");
    if (!left_) KEDGE_CO_CHECK(co_await connection_->stream->send(as_bytes("0\r\n\r\n")));
    sent_all_ = true;
    co_return result<void>();
  }

  result<std::unique_ptr<reactor::stream>> upgraded() override;
  const std::vector<std::string>& peer_certificates() const noexcept override {
    static const std::vector<std::string> none;
    return connection_ ? connection_->peer_certificates : none;
  }
  reactor::endpoint local() const override { return connection_ ? connection_->stream->local() : reactor::endpoint(); }

 private:
  bool reusable() const noexcept {
    return !failed_ && have_head_ && parser_.complete() && piece_.empty() && connection_->rest.empty() && keep_alive_ &&
           sent_all_ && response_.status != 101 && !connect_;
  }
  std::unexpected<error> fail_with(errc code, std::string text) {
    failed_ = true;
    return fail(code, std::move(text));
  }

  // As far as the stream takes it: a short request may then go out with those that others make in this turn.
  task<result<void>> send_at_once() {
    bytes parts[] = {as_bytes(text_), as_bytes(body_)};
    KEDGE_CO_TRY(auto sent, connection_->stream->try_send(parts));
    if (sent == text_.size() + body_.size()) co_return result<void>();
    for (auto& p : parts) {
      auto gone = std::min(sent, p.size());
      p = p.subspan(gone);
      sent -= gone;
    }
    co_return co_await connection_->stream->send(parts);
  }

  // Feeds the parser with what waits or comes.
  task<result<void>> more() {
    if (!connection_) co_return fail(errc::closed, "the exchange is over");
    auto& input = connection_->rest;
    if (input.empty()) {
      auto b = co_await connection_->stream->receive();
      if (!b) {
        failed_ = true;
        co_return std::unexpected(std::move(b).error());
      }
      if (b->empty()) {
        if (auto e = parser_.end(); !e || !have_head_) {
          if (send_error_) co_return fail_with(send_error_->code, send_error_->message);
          co_return fail_with(
              errc::closed, e ? std::string("the server closed the connection before it answered") : e.error().message);
        }
        ended_ = true;
        keep_alive_ = false;
        co_return result<void>();
      }
      input = std::move(*b);
    }
    any_received_ = true;
    auto used = parser_.feed(input.writable());
    if (!used) {
      failed_ = true;
      co_return std::unexpected(std::move(used).error());
    }
    if (used->consumed == input.size()) {
      input.truncate(used->body);
      piece_ = std::move(input);
      if (used->body == 0) piece_.release();
    } else {
      if (used->body > 0) {
        piece_ = buffer::allocate(used->body);
        std::memcpy(piece_.writable().data(), input.view().data(), used->body);
      }
      input.consume(used->consumed);
    }
    co_return result<void>();
  }

  std::shared_ptr<client::state> state_;
  std::unique_ptr<h1_client_connection> connection_;
  h1_parser parser_;
  std::string text_, body_;
  response response_;
  buffer piece_;
  std::optional<error> send_error_;
  std::optional<std::uint64_t> left_;  // of a streamed body whose length was told
  int informational_ = 0;
  bool connect_ = false, head_request_ = false, streams_ = false, sent_all_ = false, have_head_ = false,
       keep_alive_ = false;
  bool failed_ = false, ended_ = false, any_received_ = false, reused_ = false;
};

class connected_stream final : public reactor::stream {
 public:
  explicit connected_stream(std::unique_ptr<h1_client_connection> c) noexcept : connection_(std::move(c)) {}
  task<result<buffer>> receive() override {
    if (connection_->rest.empty()) return connection_->stream->receive();
    return [](buffer b) -> task<result<buffer>> { co_return std::move(b); }(std::move(connection_->rest));
  }
  task<result<void>> send(std::span<const bytes> parts) override { return connection_->stream->send(parts); }
  result<std::size_t> try_send(std::span<const bytes> parts) override { return connection_->stream->try_send(parts); }
  task<result<void>> finish() override { return connection_->stream->finish(); }
  void close() noexcept override { connection_->stream->close(); }
  reactor::endpoint local() const override { return connection_->stream->local(); }
  reactor::endpoint peer() const override { return connection_->stream->peer(); }

 private:
  std::unique_ptr<h1_client_connection> connection_;
};

result<std::unique_ptr<reactor::stream>> h1_exchange::upgraded() {
  if (!connection_ || !have_head_ || !(response_.status == 101 || (connect_ && response_.status / 100 == 2)))
    return fail(errc::unsupported, "the server did not agree to another protocol");
  return std::make_unique<connected_stream>(std::move(connection_));
}

}  // namespace

result<std::unique_ptr<client_exchange>> make_h1_exchange(std::shared_ptr<client::state> state,
                                                          std::unique_ptr<h1_client_connection> connection,
                                                          client_request& request) {
  if (!is_token(request.method)) return fail(errc::invalid, "not an HTTP method: " + quote(request.method));
  for (unsigned char c : request.path)
    if (c <= 0x20 || c >= 0x7f) return fail(errc::invalid, "not a request target: " + quote(request.path));
  return std::make_unique<h1_exchange>(std::move(state), std::move(connection), request);
}

task<result<void>> send_h1_request(client_exchange& x) { return static_cast<h1_exchange&>(x).send_request(); }
bool died_idle(const client_exchange& x) noexcept {
  auto* h1 = dynamic_cast<const h1_exchange*>(&x);
  return h1 && h1->died_idle();
}

}  // namespace kedge::net::http
