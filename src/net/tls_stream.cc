#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "net/block_pool.h"
#include "net/limits.h"
#include "net/tls_context.h"
#include "reactor/own_frame.h"
#include "reactor/scope.h"
#include "reactor/sync.h"

namespace kedge::net {

namespace {

// A record's header, nonce and tag: at most 5 + 16 (CBC's IV) + 48 (MAC) + 16 padding.
constexpr std::size_t record_overhead_max = 96;
// A batch, and room for what a receive may have to say meanwhile (key update, alert).
constexpr std::size_t out_block_bytes = tls_batch_max_bytes + tls_batch_max_bytes / tls_record_max_bytes * record_overhead_max + 512;
using out_pool = block_pool<out_block_bytes, late_writes_burst_max + 4>;
using in_pool = block_pool<tls_record_max_bytes, 16>;

// Walks over the parts of a send.
class cursor {
 public:
  explicit cursor(std::span<const bytes> parts) noexcept : parts_(parts) { settle(); }
  bool done() const noexcept { return parts_.empty(); }
  bool last() const noexcept { return parts_.size() == 1; }
  bytes front() const noexcept { return parts_.front().subspan(offset_); }
  void skip(std::size_t n) noexcept {
    while (n > 0 && !done()) {
      auto step = std::min(n, front().size());
      offset_ += step;
      n -= step;
      settle();
    }
  }

 private:
  void settle() noexcept {
    while (!parts_.empty() && offset_ == parts_.front().size()) {
      parts_ = parts_.subspan(1);
      offset_ = 0;
    }
  }
  std::span<const bytes> parts_;
  std::size_t offset_ = 0;
};

// Short writes of this loop's streams, put off until what is ready now has run, or a few of them wait (more in a turn that has many). Each write wakes its
// reader, and a peer that has many connections here (a proxy, an informer's client, a benchmark) then reads several answers
// for one waking instead of going back to sleep after each.
class late_write : public reactor::list_hook {
 public:
  virtual void write_now() noexcept = 0;

 protected:
  ~late_write() = default;
};

class late_writes {
 public:
  static void add(late_write& w) {
    auto& mine = here();
    mine.waiting_.push_back(w);
    if (!mine.turn_.linked()) reactor::loop::current().schedule(mine.turn_);
    if (++mine.count_ < mine.most_) return;
    mine.write_all();
    mine.most_ = std::min(2 * mine.most_, late_writes_burst_max);
  }

 private:
  struct end_of_turn : reactor::waiter {
    struct awaiter {
      end_of_turn& w;
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> h) const noexcept { w.handle = h; }
      void await_resume() const noexcept {}
    };
    awaiter operator co_await() noexcept { return {*this}; }
  };

  late_writes() { all().push_back(this); }
  ~late_writes() { std::erase(all(), this); }

  // A thread has one loop, but in the simulated world.
  static std::vector<late_writes*>& all() {
    thread_local std::vector<late_writes*> of_thread;
    return of_thread;
  }
  static late_writes& here() {
    auto& loop = reactor::loop::current();
    for (;;) {
      for (auto* w : all())
        if (&w->loop_ == &loop) return *w;
      loop.spawn(run());
    }
  }
  static task<void> run() {
    late_writes mine;
    for (;;) {
      co_await mine.turn_;
      mine.write_all();
      mine.most_ = late_writes_max;
    }
  }
  void write_all() noexcept {
    count_ = 0;
    while (!waiting_.empty()) waiting_.pop_front().write_now();
  }

  reactor::loop& loop_ = reactor::loop::current();
  reactor::list<late_write> waiting_;
  std::size_t count_ = 0;  // of those that were put in; some may have gone
  std::size_t most_ = late_writes_max;
  end_of_turn turn_;
};

class stream_impl final : public tls_stream, private tls_session, private late_write {
 public:
  stream_impl(std::unique_ptr<reactor::stream> below, std::shared_ptr<void> context) noexcept
      : tls_session{.server = nullptr, .below = below.get()}, below_(std::move(below)), context_(std::move(context)) {}
  ~stream_impl() override { write_last(); }

  result<void> open(SSL_CTX* context, tls_server_context::state* its) {
    ssl_.reset(SSL_new(context));
    if (!ssl_) return fail(errc::internal, "OpenSSL: " + openssl_reason());
    server = its;
    auto* bio = BIO_new(bio_method());
    BIO_set_data(bio, static_cast<tls_session*>(this));
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_.get(), bio, bio);
    return {};
  }
  SSL* ssl() noexcept { return ssl_.get(); }

  task<result<void>> handshake() {
    for (;;) {
      ERR_clear_error();
      int r = SSL_do_handshake(ssl_.get());
      auto problem = r == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), r);
      auto why = problem == SSL_ERROR_SSL ? handshake_error() : error();
      if (out_size_ > 0) {
        auto sent = co_await flush();
        if (!sent && problem != SSL_ERROR_SSL) co_return std::unexpected(std::move(sent).error());
      }
      if (problem == SSL_ERROR_NONE) co_return result<void>();
      if (problem == SSL_ERROR_WANT_WRITE) continue;
      if (problem != SSL_ERROR_WANT_READ) co_return fail(std::move(why));
      if (in_end_) co_return fail(errc::closed, "the peer closed the connection during the TLS handshake");
      KEDGE_CO_CHECK(keep(co_await below_->receive()));
    }
  }

  // An idle connection's frame: what isn't needed while it waits is elsewhere.
  task<result<reactor::buffer>> receive() override {
    if (std::exchange(fresh_, false) && SSL_is_server(ssl_.get())) forget_session(ssl_.get());
    for (;;) {
      if (auto b = decrypt()) co_return *std::move(b);
      KEDGE_CO_CHECK(keep(co_await below_->receive()));
    }
  }

  task<result<void>> send(std::span<const bytes> parts) override {
    cursor c(parts);
    c.skip(already_);
    for (;;) {
      if (closed_ || broken_) co_return fail(errc::closed, "the connection was closed at this end");
      if (pushing_.size() > 0) {
        co_await pushed_.wait();
        continue;
      }
      if (out_size_ > 0) {
        KEDGE_CO_CHECK(try_flush());
        if (out_size_ > 0) KEDGE_CO_CHECK(co_await flush());
      }
      already_ = 0;
      if (c.done()) co_return result<void>();
      KEDGE_CO_CHECK(encrypt(c));
    }
  }

  result<std::size_t> try_send(std::span<const bytes> parts) override {
    if (closed_ || broken_) return fail(errc::closed, "the connection was closed at this end");
    if (sending_) return 0;
    cursor c(parts);
    c.skip(already_);
    std::size_t reported = 0;
    for (;;) {
      if (out_size_ > 0 && !put_off()) {
        KEDGE_CHECK(try_flush());
        if (out_size_ > 0) return reported;
      }
      reported += std::exchange(already_, 0);
      if (c.done()) return reported;
      KEDGE_CHECK(encrypt(c));
      if (c.done() && !linked() && out_size_ <= late_write_max_bytes) late_writes::add(*this);
    }
  }

  task<result<void>> finish() override {
    while (pushing_.size() > 0) co_await pushed_.wait();
    if (closed_ || broken_) co_return fail(errc::closed, "the connection was closed at this end");
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
    if (out_size_ > 0) KEDGE_CO_CHECK(co_await flush());
    co_return co_await below_->finish();
  }

  void close() noexcept override {
    write_last();
    closed_ = true;
    below_->close();
  }
  reactor::endpoint local() const override { return below_->local(); }
  reactor::endpoint peer() const override { return below_->peer(); }

  std::string_view alpn() const noexcept override {
    const unsigned char* name = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl_.get(), &name, &size);
    return {reinterpret_cast<const char*>(name), size};
  }
  std::string_view server_name() const noexcept override {
    auto* name = SSL_get_servername(ssl_.get(), TLSEXT_NAMETYPE_host_name);
    return name ? std::string_view(name) : std::string_view();
  }
  std::string_view protocol() const noexcept override { return SSL_get_version(ssl_.get()); }
  bool resumed() const noexcept override { return SSL_session_reused(ssl_.get()) == 1; }

  std::vector<std::string> peer_certificates() const override {
    std::vector<std::string> out;
    auto add = [&](X509* x) {
      unsigned char* der = nullptr;
      int size = i2d_X509(x, &der);
      if (size > 0) out.emplace_back(reinterpret_cast<char*>(der), static_cast<std::size_t>(size));
      OPENSSL_free(der);
    };
    auto* leaf = SSL_get0_peer_certificate(ssl_.get());
    if (!leaf) return out;
    add(leaf);
    // A server's view of the chain leaves the leaf out, a client's has it in front.
    auto* chain = SSL_get_peer_cert_chain(ssl_.get());
    for (int i = SSL_is_server(ssl_.get()) ? 0 : 1; chain && i < sk_X509_num(chain); ++i) add(sk_X509_value(chain, i));
    return out;
  }

 private:
  error handshake_error() {
    auto verified = SSL_get_verify_result(ssl_.get());
    if (!SSL_is_server(ssl_.get()) && verified != X509_V_OK) {
      ERR_clear_error();
      return {errc::unauthenticated,
              std::string("the server's certificate can't be trusted: ") + X509_verify_cert_error_string(verified)};
    }
    return {errc::protocol, "TLS handshake: " + openssl_reason()};
  }

  KEDGE_OWN_FRAME result<void> keep(result<reactor::buffer> b) {
    if (!b) return std::unexpected(std::move(b).error());
    if (b->empty())
      in_end_ = true;
    else
      in_ = std::move(*b);
    return {};
  }

  // What a receive gives now; nullopt when more must come first.
  KEDGE_OWN_FRAME std::optional<result<reactor::buffer>> decrypt() {
    if (closed_) return fail(errc::closed, "the connection was closed at this end");
    if (in_.empty() && !in_end_ && !SSL_has_pending(ssl_.get())) return std::nullopt;
    ERR_clear_error();
    auto b = in_pool::take_buffer();
    std::size_t n = 0;
    int r = SSL_read_ex(ssl_.get(), b.writable().data(), b.size(), &n);
    if (r == 1) {
      b.truncate(n);
      return std::move(b);
    }
    auto problem = SSL_get_error(ssl_.get(), r);
    if (out_size_ > 0 && !sending_)
      if (auto answered = try_flush(); !answered) return std::unexpected(std::move(answered).error());
    if (problem == SSL_ERROR_ZERO_RETURN) return reactor::buffer();
    if (problem == SSL_ERROR_WANT_READ && !in_end_) return std::nullopt;
    if (problem == SSL_ERROR_WANT_READ || in_end_) {
      ERR_clear_error();
      return fail(errc::closed, "the peer closed the connection without ending TLS");
    }
    return fail(errc::protocol, "TLS: " + openssl_reason());
  }

  // Encrypts records until the batch is full or `c` is at its end. What it took stands in already_ until it is sent.
  result<void> encrypt(cursor& c) {
    thread_local std::byte gathered[tls_record_max_bytes];
    ERR_clear_error();
    while (!c.done() && out_size_ + tls_record_max_bytes + record_overhead_max <= out_block_bytes) {
      auto piece = c.front();
      if (piece.size() >= tls_record_max_bytes) {
        piece = piece.first(tls_record_max_bytes);
        c.skip(piece.size());
      } else if (c.last()) {
        c.skip(piece.size());
      } else {
        std::size_t n = 0;
        while (!c.done() && n < tls_record_max_bytes) {
          auto next = c.front();
          next = next.first(std::min(next.size(), tls_record_max_bytes - n));
          std::memcpy(gathered + n, next.data(), next.size());
          n += next.size();
          c.skip(next.size());
        }
        piece = {gathered, n};
      }
      std::size_t written = 0;
      if (SSL_write_ex(ssl_.get(), piece.data(), piece.size(), &written) != 1) {
        broken_ = true;
        return fail(errc::protocol, "TLS: " + openssl_reason());
      }
      already_ += piece.size();
    }
    return {};
  }

  result<void> try_flush() {
    bytes rest(out_.get() + out_offset_, out_size_);
    auto sent = below_->try_send({&rest, 1});
    if (!sent) {
      broken_ = true;
      return std::unexpected(std::move(sent).error());
    }
    out_offset_ += *sent;
    out_size_ -= *sent;
    if (out_size_ == 0) {
      out_offset_ = 0;
      out_.reset();
    }
    return {};
  }

  // What was put off and may still wait for its turn.
  bool put_off() const noexcept { return linked() && out_size_ <= late_write_max_bytes; }
  void write_now() noexcept override {
    if (out_size_ == 0 || sending_ || closed_ || broken_) return;
    // The writer was told that all is sent: what the socket doesn't take now goes when it does.
    if (try_flush() && out_size_ > 0) pushing_.spawn(push());
  }
  task<void> push() {
    (void)co_await flush();
    pushed_.pulse();
  }
  void write_last() noexcept {
    if (out_size_ > 0 && !sending_ && !closed_ && !broken_) (void)try_flush();
  }

  // Sends what is encrypted. The block is taken out first: a receive may write into a new one meanwhile.
  task<result<void>> flush() {
    struct send_guard {
      stream_impl& s;
      bool done = false;
      ~send_guard() {
        s.sending_ = false;
        if (!done) s.broken_ = true;
      }
    } guard{*this};
    sending_ = true;
    while (out_size_ > 0) {
      auto block = std::move(out_);
      bytes rest(block.get() + std::exchange(out_offset_, 0), std::exchange(out_size_, 0));
      KEDGE_CO_CHECK(co_await below_->send({&rest, 1}));
    }
    guard.done = true;
    co_return result<void>();
  }

  static stream_impl& of(BIO* bio) noexcept { return static_cast<stream_impl&>(*static_cast<tls_session*>(BIO_get_data(bio))); }

  static int bio_read(BIO* bio, char* to, std::size_t size, std::size_t* done) {
    auto& s = of(bio);
    BIO_clear_retry_flags(bio);
    *done = 0;
    if (s.in_.empty()) {
      if (s.in_end_)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
      else
        BIO_set_retry_read(bio);
      return 0;
    }
    auto n = std::min(size, s.in_.size());
    std::memcpy(to, s.in_.view().data(), n);
    s.in_.consume(n);
    if (s.in_.empty()) s.in_.release();
    *done = n;
    return 1;
  }

  static int bio_write(BIO* bio, const char* from, std::size_t size, std::size_t* done) {
    auto& s = of(bio);
    BIO_clear_retry_flags(bio);
    if (!s.out_) s.out_ = out_pool::take();
    auto n = std::min(size, out_block_bytes - s.out_offset_ - s.out_size_);
    *done = n;
    if (n == 0) {
      BIO_set_retry_write(bio);
      return 0;
    }
    std::memcpy(s.out_.get() + s.out_offset_ + s.out_size_, from, n);
    s.out_size_ += n;
    return 1;
  }

  static long bio_control(BIO* bio, int command, long, void*) {
    if (command == BIO_CTRL_EOF) {
      auto& s = of(bio);
      return s.in_end_ && s.in_.empty();
    }
    return command == BIO_CTRL_FLUSH ? 1 : 0;
  }

  static BIO_METHOD* bio_method() {
    static BIO_METHOD* method = [] {
      auto* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "kedge stream");
      BIO_meth_set_read_ex(m, bio_read);
      BIO_meth_set_write_ex(m, bio_write);
      BIO_meth_set_ctrl(m, bio_control);
      return m;
    }();
    return method;
  }

  std::unique_ptr<reactor::stream> below_;
  std::shared_ptr<void> context_;  // keeps the server's state that callbacks use
  reactor::buffer in_;             // ciphertext received and not yet decrypted
  out_pool::block out_;            // ciphertext not yet sent: [out_offset_, out_offset_ + out_size_)
  std::size_t out_offset_ = 0, out_size_ = 0;
  // Plaintext that a try_send encrypted without being able to send it all, and so did not report: the caller comes back
  // with the same bytes, which must not be encrypted twice.
  std::size_t already_ = 0;
  bool in_end_ = false, closed_ = false, broken_ = false, sending_ = false;
  bool fresh_ = true;              // nothing was received since the handshake
  ssl_ptr ssl_;
  reactor::event pushed_;
  reactor::scope pushing_;  // at most one push(); last: ends first
};

}  // namespace

task<result<std::unique_ptr<tls_stream>>> tls_accept(std::unique_ptr<reactor::stream> below,
                                                     std::shared_ptr<tls_server_context> context) {
  auto& state = context->get();
  auto s = std::make_unique<stream_impl>(std::move(below), context);
  KEDGE_CO_CHECK(s->open(state.context.get(), &state));
  SSL_set_accept_state(s->ssl());
  KEDGE_CO_CHECK(co_await s->handshake());
  co_return std::move(s);
}

task<result<std::unique_ptr<tls_stream>>> tls_connect(std::unique_ptr<reactor::stream> below,
                                                      std::shared_ptr<tls_client_context> context, std::string name) {
  auto s = std::make_unique<stream_impl>(std::move(below), context);
  KEDGE_CO_CHECK(s->open(context->get(), nullptr));
  auto* ssl = s->ssl();
  SSL_set_connect_state(ssl);
  auto* parameters = SSL_get0_param(ssl);
  if (X509_VERIFY_PARAM_set1_ip_asc(parameters, name.c_str()) != 1) {
    ERR_clear_error();
    SSL_set_tlsext_host_name(ssl, name.c_str());
    X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (X509_VERIFY_PARAM_set1_host(parameters, name.data(), name.size()) != 1)
      co_return fail(errc::invalid, "not a server name: " + name);
  }
  KEDGE_CO_CHECK(co_await s->handshake());
  co_return std::move(s);
}

}  // namespace kedge::net
