// h2_client.cc: requests as streams of one HTTP/2 connection.
#include "base/strings.h"
#include "net/http/client_detail.h"
#include "net/http/h1_parser.h"
#include "net/http/h2_session.h"

namespace kedge::net::http {

namespace {

struct stream_owner {
  std::unique_ptr<reactor::stream> stream;
};

class h2_client_exchange;

class h2_client final : private stream_owner, public h2_session {
 public:
  h2_client(std::unique_ptr<reactor::stream> s, std::vector<std::string> certificates)
      : stream_owner{std::move(s)}, h2_session(*stream, false, write_timeout), certificates_(std::move(certificates)) {}
  ~h2_client() override { tasks_.cancel(); }

  void start() { tasks_.spawn(run()); }
  bool usable() {
    return !dead() && !going_away() && nghttp2_session_check_request_allowed(raw()) &&
           live_ < std::min<std::size_t>(h2_streams_max, nghttp2_session_get_remote_settings(
                                                             raw(), NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS));
  }
  bool idle(time_point now) const noexcept { return live_ == 0 && (dead() || now - used_ > pool_idle_timeout); }
  const std::vector<std::string>& certificates() const noexcept { return certificates_; }
  reactor::endpoint local() const { return stream_.local(); }

 private:
  friend class h2_client_exchange;
  bool used_before_ = false;
  h2_stream* begin(std::int32_t) override { return nullptr; }  // no pushes
  void head_done(h2_stream&) override {}
  void stream_closed(h2_stream&) override {}
  void after_input() override {}
  void connection_ended() override;

  std::vector<std::string> certificates_;
  std::size_t live_ = 0;
  time_point used_ = reactor::loop::current().now();
  reactor::list<h2_client_exchange> exchanges_;
  reactor::scope tasks_;
};

class h2_client_exchange final : public client_exchange, public h2_stream, public reactor::list_hook {
 public:
  explicit h2_client_exchange(std::shared_ptr<h2_client> s)
      : session_(std::move(s)), reused_(std::exchange(session_->used_before_, true)) {
    session_->exchanges_.push_back(*this);
    ++session_->live_;
  }
  ~h2_client_exchange() override {
    if (!body_end || !(end_packed || bodyless_)) session_->reset(*this, NGHTTP2_CANCEL);
    session_->release(*this);
    unlink();
    --session_->live_;
    session_->used_ = reactor::loop::current().now();
  }

  task<result<void>> submit(client_request r) {
    body_kept_ = std::move(r.body);
    h2_fields fields;
    fields.add(":method", r.method);
    if (r.method == "CONNECT") {
      fields.add(":authority", r.path);
    } else {
      fields.add(":scheme", r.to.tls ? "https" : "http");
      fields.add(":authority", r.authority.empty() ? r.to.authority() : r.authority);
      fields.add(":path", r.path);
    }
    fields.add_all(r.headers);
    bodyless_ = !r.streams && body_kept_.empty();
    if (!r.streams && !r.headers.has("content-length") &&
        (!bodyless_ || r.method == "POST" || r.method == "PUT" || r.method == "PATCH"))
      fields.add("content-length", std::to_string(body_kept_.size()));
    if (r.streams && r.length) fields.add("content-length", std::to_string(*r.length));
    auto& list = fields.list();
    auto source = session_->provider(*this);
    part_ = as_bytes(body_kept_);
    if (!bodyless_ && !r.streams) {
      out = {&part_, 1};
      out_end = true;
    }
    auto got = nghttp2_submit_request(session_->raw(), nullptr, list.data(), list.size(), bodyless_ ? nullptr : &source,
                                      static_cast<h2_stream*>(this));
    if (got < 0) co_return fail(errc::unavailable, std::string("HTTP/2: ") + nghttp2_strerror(got));
    id = got;
    session_->flush();
    if (session_->dead()) co_return fail(errc::closed, "the HTTP/2 connection ended");
    co_return result<void>();
  }

  task<result<const response*>> head() override {
    while (!head_complete) {
      if (refused()) co_return fail(errc::unavailable, "the server refused the HTTP/2 stream");
      if (closed || session_->dead()) co_return fail(errc::closed, "the HTTP/2 stream ended before its answer");
      co_await changed.wait();
    }
    if (headers_too_large) co_return fail(errc::too_large, "the answer's header is too large");
    if (!std::exchange(head_given_, true)) {
      response_.status = status;
      response_.headers = std::move(headers);
    }
    co_return &response_;
  }
  task<result<reactor::buffer>> read() override {
    KEDGE_CO_CHECK(co_await head());
    co_return co_await session_->read_body(*this, time_point::max());
  }
  const http::headers& trailers() const noexcept override { return h2_stream::trailers; }
  task<result<void>> write(std::span<const bytes> parts) override {
    return session_->write_body(*this, parts, false, write_timeout);
  }
  task<result<void>> finish() override {
    if (out_end) co_return result<void>();
    co_return co_await session_->write_body(*this, {}, true, write_timeout);
  }
  result<std::unique_ptr<reactor::stream>> upgraded() override {
    return fail(errc::unsupported, "HTTP/2 connections can't be upgraded");
  }
  const std::vector<std::string>& peer_certificates() const noexcept override { return session_->certificates(); }
  reactor::endpoint local() const override { return session_->local(); }
  bool reused() const noexcept override { return reused_; }
  bool refused() const noexcept override { return !head_complete && closed && error == NGHTTP2_REFUSED_STREAM; }
  bool died() const noexcept { return !head_complete && session_->dead(); }

 private:
  std::shared_ptr<h2_client> session_;
  response response_;
  std::string body_kept_;
  bytes part_;
  bool bodyless_ = false, head_given_ = false;
  const bool reused_;
};

void h2_client::connection_ended() {
  exchanges_.for_each([](h2_client_exchange& x) {
    x.changed.pulse();
    x.progress.pulse();
  });
}

}  // namespace

std::shared_ptr<h2_session> make_h2_client(std::unique_ptr<reactor::stream> s, std::vector<std::string> certificates) {
  auto c = std::make_shared<h2_client>(std::move(s), std::move(certificates));
  c->start();
  return c;
}
bool h2_usable(h2_session& s) noexcept { return static_cast<h2_client&>(s).usable(); }
bool h2_idle(const h2_session& s, time_point now) noexcept { return static_cast<const h2_client&>(s).idle(now); }
bool h2_died(const client_exchange& x) noexcept {
  auto* h2 = dynamic_cast<const h2_client_exchange*>(&x);
  return h2 && h2->died();
}

task<result<std::unique_ptr<client_exchange>>> open_h2_exchange(std::shared_ptr<h2_session> session,
                                                                client_request request) {
  if (!is_token(request.method)) co_return fail(errc::invalid, "not an HTTP method: " + quote(request.method));
  auto x = std::make_unique<h2_client_exchange>(std::static_pointer_cast<h2_client>(session));
  KEDGE_CO_CHECK(co_await x->submit(std::move(request)));
  co_return std::move(x);
}

}  // namespace kedge::net::http
