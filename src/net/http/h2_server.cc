// h2_server.cc: an HTTP/2 connection's exchanges for handlers.
#include <unordered_map>

#include "base/log.h"
#include "base/strings.h"
#include "net/http/h1_write.h"
#include "net/http/h2_session.h"

namespace kedge::net::http {

namespace {

class h2_server;

class h2_exchange final : public exchange, public h2_stream, reactor::activity {
 public:
  explicit h2_exchange(h2_server& s) noexcept : server_(s) {}

  const http::request& request() const noexcept override { return request_; }
  connection_info& connection() noexcept override;
  void limit_body(std::uint64_t bytes) noexcept override { body_limit_ = bytes; }
  void body_deadline(time_point when) noexcept override { body_until_ = when; }
  bool started() const noexcept override { return started_; }
  task<result<reactor::buffer>> read() override;
  task<result<void>> respond(const response& head, std::span<const bytes> body) override;
  task<result<void>> start(const response& head) override;
  task<result<void>> write(std::span<const bytes> parts) override;
  task<result<void>> finish(const http::headers& trailers) override;
  void abort() noexcept override;
  task<result<std::unique_ptr<reactor::stream>>> upgrade(const response&) override {
    co_return fail(errc::unsupported, "HTTP/2 connections can't be upgraded");
  }

 private:
  friend class h2_server;
  result<void> submit(const response& head, std::optional<std::uint64_t> length, bool with_body);
  task<void> serve();
  void prepare();
  std::string describe() const override;

  h2_server& server_;
  http::request request_;
  std::uint64_t body_limit_ = 0, body_read_ = 0;
  time_point body_until_{};
  bool started_ = false, finished_ = false, bodyless_ = false, running_ = false, done_ = false;
  reactor::scope handler_;
};

class h2_server final : public h2_session, public connection {
 public:
  h2_server(reactor::stream& s, connection_context c)
      : h2_session(s, true, c.options.write_timeout), connection(c.info), context_(c) {
    context_.connections.push_back(*this);
    deadline_.set_after(c.options.header_timeout);
  }

  void leave() noexcept override { announce_end(); }
  void drain() noexcept override {
    draining_ = true;
    shut_down();
    if (running_ == 0) deadline_.set_after(farewell_timeout);
  }
  bool quiet() const noexcept override { return running_ == 0; }
  void evict() noexcept override {
    if (running_ == 0 && !draining_) return drain();
    deadline_.set_after(duration(0));
  }

  h2_stream* begin(std::int32_t id) override {
    auto x = std::make_unique<h2_exchange>(*this);
    auto* st = x.get();
    exchanges_[id] = std::move(x);
    return st;
  }
  void head_done(h2_stream& st) override { fresh_.push_back(st.id); }
  void stream_closed(h2_stream& st) override { ended_.push_back(st.id); }

  void after_input() override {
    while (!fresh_.empty()) {
      auto ids = std::exchange(fresh_, {});
      for (auto id : ids) {
        auto i = exchanges_.find(id);
        if (i == exchanges_.end() || i->second->closed) continue;
        start(*i->second);
      }
    }
    reap();
  }
  void connection_ended() override {
    for (auto& [id, x] : exchanges_) x->handler_.cancel();
  }

  // Frees exchanges whose stream is closed. One whose handler still runs is ended when the peer reset it; otherwise its
  // handler gets to its end by itself and comes here again.
  void reap() {
    auto ids = std::exchange(ended_, {});
    for (auto id : ids) {
      auto i = exchanges_.find(id);
      if (i == exchanges_.end()) continue;
      auto& x = *i->second;
      if (x.running_ && !x.done_) {
        if (x.error == 0 && x.finished_) continue;
        x.handler_.cancel();
      }
      forget(i->first);
    }
  }

  task<void> reaper() {
    for (;;) {
      co_await reap_.wait();
      reap_.reset();
      reap();
      if (running_ == 0 && draining_) deadline_.set_after(farewell_timeout);
    }
  }
  task<void> run_all() {
    reactor::scope helpers;
    helpers.spawn(reaper());
    co_await run();
  }

  void handler_done(h2_exchange& x) {
    x.done_ = true;
    if (!x.closed && !(x.finished_ && x.body_end)) {
      // The peer may still be sending a body that nobody wants (RFC 9113 §8.1).
      reset(x, x.finished_ ? NGHTTP2_NO_ERROR : NGHTTP2_INTERNAL_ERROR);
    }
    ended_.push_back(x.id);
    reap_.set();  // not here: this is the handler's own coroutine
  }

  connection_context context_;

 private:
  void start(h2_exchange& x) {
    x.running_ = true;
    if (running_++ == 0) deadline_.clear();
    is_active();
    core_counters::add(context_.counters.exchanges, 1);
    core_counters::add(context_.counters.exchanges_total, 1);
    x.prepare();
    x.handler_.spawn(x.serve());
  }
  void forget(std::int32_t id) {
    auto i = exchanges_.find(id);
    bool ran = i->second->running_;
    release(*i->second);
    exchanges_.erase(i);
    if (!ran) return;
    core_counters::add(context_.counters.exchanges, -1);
    is_active();
    if (--running_ == 0) deadline_.set_after(context_.options.idle_timeout);
  }

  std::unordered_map<std::int32_t, std::unique_ptr<h2_exchange>> exchanges_;
  std::vector<std::int32_t> fresh_, ended_;
  reactor::event reap_;
  std::size_t running_ = 0;
  bool draining_ = false;
};

connection_info& h2_exchange::connection() noexcept { return server_.context_.info; }

void h2_exchange::prepare() {
  request_.method = std::move(method);
  request_.target = std::move(path);
  request_.authority = authority.empty() ? std::string(headers.get("host")) : std::move(authority);
  request_.http = version::http2;
  request_.headers = std::move(headers);
  if (request_.method != "CONNECT") {
    auto question = request_.target.find('?');
    request_.path = request_.target.substr(0, question);
    if (question != std::string::npos) request_.query = request_.target.substr(question + 1);
  } else {
    request_.target = request_.authority;
  }
  request_.content_length = parse_uint(request_.headers.get("content-length"));
  if (body_end && body.empty()) request_.content_length = 0;
  body_limit_ = server_.context_.options.body_max_bytes;
  body_until_ = reactor::loop::current().now() + server_.context_.options.body_whole_timeout;
}

std::string h2_exchange::describe() const { return describe_request(request_, server_.context_.info); }

task<void> h2_exchange::serve() {
  activity::begin();
  if (headers_too_large) {
    response head{.status = 431};
    (void)co_await respond(head, std::span<const bytes>());
  } else {
    co_await server_.context_.handler.serve(*this);
    if (!started_) {
      response head{.status = 500};
      (void)co_await respond(head, std::span<const bytes>());
    }
  }
  activity::end();
  server_.handler_done(*this);
}

task<result<reactor::buffer>> h2_exchange::read() {
  if (request_.content_length && *request_.content_length > body_limit_)
    co_return fail(errc::too_large, "the request's body is larger than " + std::to_string(body_limit_) + " bytes");
  if (request_.headers.size() && !body_end && body.empty() && !started_ && body_read_ == 0 &&
      request_.headers.has_token("expect", "100-continue")) {
    nghttp2_nv status{reinterpret_cast<std::uint8_t*>(const_cast<char*>(":status")),
                      reinterpret_cast<std::uint8_t*>(const_cast<char*>("100")), 7, 3, NGHTTP2_NV_FLAG_NONE};
    nghttp2_submit_headers(server_.raw(), NGHTTP2_FLAG_NONE, id, nullptr, &status, 1, nullptr);
    server_.flush();
  }
  auto b = co_await server_.read_body(
      *this, std::min(reactor::loop::current().now() + server_.context_.options.body_timeout, body_until_));
  if (b) {
    body_read_ += b->size();
    if (body_read_ > body_limit_)
      co_return fail(errc::too_large, "the request's body is larger than " + std::to_string(body_limit_) + " bytes");
  }
  co_return std::move(b);
}

result<void> h2_exchange::submit(const response& head, std::optional<std::uint64_t> length, bool with_body) {
  kedge_assert(!started_);
  started_ = true;
  if (closed || server_.dead()) return fail(errc::closed, "the HTTP/2 stream is closed");
  h2_fields fields;
  fields.add(":status", std::to_string(head.status));
  for (auto& [name, value] : head.headers) {
    if (iequals(name, "date") || (length && iequals(name, "content-length"))) continue;
    if (iequals(name, "connection") || iequals(name, "keep-alive") || iequals(name, "transfer-encoding") ||
        iequals(name, "upgrade"))
      continue;
    fields.add(name, value);
  }
  fields.add("date", http_date());
  if (length) fields.add("content-length", std::to_string(*length));
  bodyless_ =
      !with_body || request_.method == "HEAD" || head.status == 204 || head.status == 304 || head.status / 100 == 1;
  auto& list = fields.list();
  auto source = server_.provider(*this);
  if (nghttp2_submit_response(server_.raw(), id, list.data(), list.size(), bodyless_ ? nullptr : &source) != 0)
    return fail(errc::internal, "HTTP/2: the answer can't be sent");
  if (bodyless_) finished_ = true;
  return {};
}

task<result<void>> h2_exchange::respond(const response& head, std::span<const bytes> parts) {
  std::uint64_t size = 0;
  for (auto& p : parts) size += p.size();
  std::optional<std::uint64_t> length(size);
  // An answer to HEAD, and 304, may tell the length of what it leaves out.
  if (((request_.method == "HEAD" || head.status == 304) && size == 0 && head.headers.has("content-length")) ||
      head.status == 204 || head.status == 304)
    length.reset();
  out_end = true;
  out = size > 0 ? parts : std::span<const bytes>();
  out_offset = 0;
  auto ok = submit(head, length, size > 0);
  if (!ok || bodyless_) out = {};
  finished_ = ok.has_value();
  if (!ok) co_return ok;
  if (bodyless_) {
    server_.flush();
    co_return result<void>();
  }
  co_return co_await server_.write_body(*this, out, true, server_.context_.options.write_timeout);
}

task<result<void>> h2_exchange::start(const response& head) {
  auto ok = submit(head, std::nullopt, true);
  server_.flush();
  co_return ok;
}

task<result<void>> h2_exchange::write(std::span<const bytes> parts) {
  if (bodyless_) co_return result<void>();
  co_return co_await server_.write_body(*this, parts, false, server_.context_.options.write_timeout);
}

task<result<void>> h2_exchange::finish(const http::headers& trailers_to_send) {
  finished_ = true;
  if (bodyless_) co_return result<void>();
  out_trailers = trailers_to_send;
  co_return co_await server_.write_body(*this, {}, true, server_.context_.options.write_timeout);
}

void h2_exchange::abort() noexcept {
  started_ = true;
  server_.reset(*this, NGHTTP2_INTERNAL_ERROR);
}

}  // namespace

task<void> serve_h2(reactor::stream& s, connection_context context) {
  h2_server server(s, context);
  co_await server.run_all();
}

}  // namespace kedge::net::http
