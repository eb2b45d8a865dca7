#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/release.h"
#include "base/time.h"
#include "net/block_pool.h"
#include "net/late_writes.h"
#include "net/limits.h"
#include "net/tls_context.h"
#include "net/tls_records.h"
#include "reactor/own_frame.h"
#include "reactor/scope.h"
#include "reactor/sync.h"

namespace kedge::net {

namespace {

// A record's header, nonce and tag: at most 5 + 16 (CBC's IV) + 48 (MAC) + 16 padding.
constexpr std::size_t record_overhead_max = 96;
// A batch, and room for what a receive may have to say meanwhile (key update, alert).
constexpr std::size_t out_block_bytes =
    tls_batch_max_bytes + tls_batch_max_bytes / tls_record_max_bytes * record_overhead_max + 512;
using out_pool = block_pool<out_block_bytes, late_writes_burst_max + 4>;
using in_pool = block_pool<tls_records::record_max_bytes - tls_records::header_bytes - tls_records::tag_bytes, 16>;
using partial_pool = block_pool<tls_records::record_max_bytes, 4>;
constexpr std::size_t record_parts_max = 32;

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

class stream_impl final : public tls_stream, private tls_session, private late_write {
 public:
  stream_impl(std::unique_ptr<reactor::stream> below, std::shared_ptr<void> context) noexcept
      : tls_session{.below = below.get()}, below_(std::move(below)), context_(std::move(context)) {}
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
    tls_secrets found;
    struct listens {
      tls_session& to;
      listens(tls_session& session, tls_secrets& s) : to(session) { to.secrets = &s; }
      ~listens() { to.secrets = nullptr; }
    } guard(*this, found);
    for (bool whole = true;;) {
      ERR_clear_error();
      int r = SSL_do_handshake(ssl_.get());
      auto problem = r == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), r);
      auto why = problem == SSL_ERROR_SSL ? handshake_error() : error();
      if (problem == SSL_ERROR_NONE) {
        learn();
        if (whole) take_over(found);
      }
      if (out_size_ > 0) {
        auto sent = co_await flush();
        if (!sent && problem != SSL_ERROR_SSL) co_return std::unexpected(std::move(sent).error());
      }
      if (problem == SSL_ERROR_NONE) co_return result<void>();
      if (problem == SSL_ERROR_WANT_WRITE) {
        whole = false;
        continue;
      }
      if (problem != SSL_ERROR_WANT_READ) co_return fail(std::move(why));
      if (in_end_) co_return fail(errc::closed, "the peer closed the connection during the TLS handshake");
      KEDGE_CO_CHECK(keep(co_await below_->receive()));
    }
  }

  // An idle connection's frame: what isn't needed while it waits is elsewhere.
  task<result<reactor::buffer>> receive() override {
    if (std::exchange(fresh_, false) && server) release(known_.certificates);
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
    end_records();
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

  std::string_view alpn() const noexcept override { return known_.alpn; }
  std::string_view server_name() const noexcept override { return known_.server_name; }
  std::string_view protocol() const noexcept override { return known_.protocol; }
  bool resumed() const noexcept override { return known_.resumed; }
  std::vector<std::string> peer_certificates() const override { return known_.certificates; }

 private:
  error handshake_error() {
    auto verified = SSL_get_verify_result(ssl_.get());
    if (!SSL_is_server(ssl_.get()) && verified != X509_V_OK) {
      ERR_clear_error();
      std::string why = X509_verify_cert_error_string(verified);
      if (verified == X509_V_ERR_CERT_NOT_YET_VALID || verified == X509_V_ERR_CERT_HAS_EXPIRED)
        why += " (it is " + format_rfc3339(reactor::loop::current().wall_now()) +
               " here; are both machines' clocks right?)";
      if (verified == X509_V_ERR_HOSTNAME_MISMATCH && !shows_names()) why = "it has no subject alternative names";
      return {errc::unauthenticated, "the server's certificate can't be trusted: " + why};
    }
    return {errc::protocol, "TLS handshake: " + openssl_reason()};
  }

  // Whether the peer's certificate has other names than its subject's.
  bool shows_names() const {
    auto* chain = SSL_get_peer_cert_chain(ssl_.get());
    return !chain || sk_X509_num(chain) == 0 ||
           X509_get_ext_by_NID(sk_X509_value(chain, 0), NID_subject_alt_name, -1) >= 0;
  }

  // What the handshake has found out.
  void learn() {
    auto* ssl = ssl_.get();
    const unsigned char* chosen = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl, &chosen, &size);
    known_.alpn.assign(reinterpret_cast<const char*>(chosen), size);
    if (auto* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)) known_.server_name = name;
    known_.protocol = SSL_get_version(ssl);
    known_.resumed = SSL_session_reused(ssl) == 1;
    auto add = [&](X509* x) {
      unsigned char* der = nullptr;
      int length = i2d_X509(x, &der);
      if (length > 0) known_.certificates.emplace_back(reinterpret_cast<char*>(der), static_cast<std::size_t>(length));
      OPENSSL_free(der);
    };
    auto* leaf = SSL_get0_peer_certificate(ssl);
    if (!leaf) return;
    add(leaf);
    // A server's view of the chain leaves the leaf out, a client's has it in front.
    auto* chain = SSL_get_peer_cert_chain(ssl);
    for (int i = server ? 0 : 1; chain && i < sk_X509_num(chain); ++i) add(sk_X509_value(chain, i));
  }

  // From here on without OpenSSL's connection, where the version and what was agreed on allow it.
  void take_over(const tls_secrets& secrets) {
    auto* ssl = ssl_.get();
    if (SSL_version(ssl) != TLS1_3_VERSION || SSL_has_pending(ssl)) return;
    auto* session = SSL_get_session(ssl);
    auto cut = session ? SSL_SESSION_get_max_fragment_length(session) : TLSEXT_max_fragment_length_512;
    if (cut >= TLSEXT_max_fragment_length_512 && cut <= TLSEXT_max_fragment_length_4096) return;
    auto suite = SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl));
    std::uint64_t sent = 0;
    if (server && !count_tickets(suite, secrets, sent)) return;
    records_ = tls_records::make(suite, server, secrets, sent);
    if (records_) ssl_.reset();
  }
  // A client's last words go under the handshake's keys. A server says its own before it hears them, and then nothing
  // but tickets, under the keys that follow. They are opened, since a number that was used would be used again if that
  // weren't so.
  bool count_tickets(std::uint32_t suite, const tls_secrets& secrets, std::uint64_t& sent) {
    auto reader = tls_records::make(suite, false, secrets, 0);
    auto text = in_pool::take_buffer();
    for (bytes rest(out_.get() + out_offset_, out_size_); reader && !rest.empty(); ++sent) {
      auto size = tls_records::size_of(rest);
      if (!size || *size == 0 || *size > rest.size()) return false;
      auto opened = reader->open(rest.first(*size), text.writable().data());
      if (!opened || opened->type != tls_records::content::handshake) return false;
      rest = rest.subspan(*size);
    }
    return reader != nullptr;
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
    if (closed_ || refused_) return fail(errc::closed, "the connection was closed at this end");
    if (records_) return open_records();
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

  std::optional<result<reactor::buffer>> open_records() {
    using content = tls_records::content;
    for (;;) {
      if (peer_ended_) return reactor::buffer();
      auto record = next_record();
      if (!record) return refuse(record.error());
      if (record->empty()) {
        if (!in_end_) return std::nullopt;
        return fail(errc::closed, "the peer closed the connection without ending TLS");
      }
      auto b = in_pool::take_buffer();
      auto opened = records_->open(*record, b.writable().data());
      drop_record(record->size());
      if (!opened) return refuse(opened.error());
      b.truncate(opened->size);
      if (opened->type == content::handshake) {
        if (auto taken = take_messages(b.view()); !taken) return refuse(taken.error());
      } else if (!message_.empty()) {
        return refuse({tls_records::unexpected_message, "another record within a message"});  // RFC 8446 §5.1
      } else if (opened->type == content::alert) {
        if (auto heard = take_alert(b.view()); !heard) return std::unexpected(std::move(heard).error());
        if (peer_ended_) return reactor::buffer();
      } else if (!b.empty()) {
        silent_records_ = 0;
        return std::move(b);
      }
      if (++silent_records_ > tls_silent_records_max)
        return refuse({tls_records::unexpected_message, "too many records that say nothing"});
    }
  }

  // The next whole record, where it stands until drop_record(); empty when more must come.
  std::expected<bytes, tls_records::refused> next_record() {
    if (!partial_) {
      auto size = tls_records::size_of(in_.view());
      if (!size) return std::unexpected(size.error());
      if (*size > 0 && *size <= in_.size()) return in_.view().first(*size);
      if (in_.empty()) return bytes();
      partial_ = partial_pool::take();
    }
    for (;;) {
      auto size = tls_records::size_of({partial_.get(), partial_size_});
      if (!size) return std::unexpected(size.error());
      if (*size > 0 && *size == partial_size_) return bytes(partial_.get(), partial_size_);
      if (in_.empty()) return bytes();
      auto n = std::min((*size ? *size : tls_records::header_bytes) - partial_size_, in_.size());
      std::memcpy(partial_.get() + partial_size_, in_.view().data(), n);
      partial_size_ += n;
      take_in(n);
    }
  }
  void drop_record(std::size_t size) noexcept {
    if (partial_) {
      partial_.reset();
      partial_size_ = 0;
    } else {
      take_in(size);
    }
  }
  // Nothing more is read.
  void drop_input() noexcept {
    in_.release();
    partial_.reset();
    partial_size_ = 0;
    release(message_);
  }
  void take_in(std::size_t n) noexcept {
    in_.consume(n);
    if (in_.empty()) in_.release();
  }

  // Messages after the handshake (RFC 8446 §4.6): new keys, and a server's tickets, for which nobody here has a use.
  std::expected<void, tls_records::refused> take_messages(bytes piece) {
    constexpr unsigned char ticket = 4, key_update = 24;
    constexpr std::size_t head_bytes = 4, ticket_min_bytes = 14;
    auto wrong = [](tls_records::alert what, const char* why) {
      return std::unexpected(tls_records::refused{what, why});
    };
    if (piece.empty()) return wrong(tls_records::unexpected_message, "a piece of a message is empty");
    message_ += as_text(piece);
    std::string_view rest = message_;
    while (rest.size() >= head_bytes) {
      auto byte = [&](std::size_t i) { return static_cast<unsigned char>(rest[i]); };
      auto kind = byte(0);
      auto size = std::size_t(byte(1)) << 16 | std::size_t(byte(2)) << 8 | byte(3);
      if (kind != key_update && (kind != ticket || server))
        return wrong(tls_records::unexpected_message, "an unexpected message after the handshake");
      if (kind == key_update ? size != 1 : size < ticket_min_bytes || size > tls_message_max_bytes)
        return wrong(tls_records::decode_error, "a message of a wrong length");
      if (rest.size() < head_bytes + size) break;
      if (kind == key_update) {
        auto request = byte(head_bytes);
        if (request > 1) return wrong(tls_records::illegal_parameter, "an unknown request for new keys");
        if (rest.size() > head_bytes + size) return wrong(tls_records::unexpected_message, "new keys within a record");
        records_->next_receive_key();
        new_key_owed_ = new_key_owed_ || request == 1;
      }
      rest.remove_prefix(head_bytes + size);
    }
    if (rest.empty())
      release(message_);
    else
      message_.erase(0, message_.size() - rest.size());
    return {};
  }

  result<void> take_alert(bytes alert) {
    constexpr auto user_canceled = std::byte(90);  // close_notify follows
    if (alert.size() != 2)
      return refuse(
          {alert.empty() ? tls_records::unexpected_message : tls_records::decode_error, "an alert of a wrong length"});
    if (alert[1] == user_canceled) return {};
    drop_input();
    if (alert[1] == std::byte(tls_records::close_notify)) {
      peer_ended_ = true;
      return {};
    }
    broken_ = refused_ = true;
    auto* name = ERR_reason_error_string(ERR_PACK(ERR_LIB_SSL, 0, SSL_AD_REASON_OFFSET + static_cast<int>(alert[1])));
    return fail(errc::protocol,
                name ? std::string("TLS: ") + name : "TLS: alert " + std::to_string(static_cast<int>(alert[1])));
  }

  // The peer breaks the protocol: it is told how, and nothing more is read or sent.
  std::unexpected<error> refuse(tls_records::refused r) {
    constexpr unsigned char fatal = 2;
    if (!broken_ && say(tls_records::content::alert, {fatal, r.what}) && !sending_) (void)try_flush();
    drop_input();
    broken_ = refused_ = true;
    return fail(errc::protocol, std::string("TLS: ") + r.why);
  }

  // A short record of this end's own, behind what waits.
  result<void> say(tls_records::content type, std::initializer_list<unsigned char> text) {
    if (finished_) return fail(errc::closed, "the connection was ended at this end");
    if (!out_) out_ = out_pool::take();
    if (out_offset_ + out_size_ + text.size() + tls_records::overhead_bytes > out_block_bytes)
      return fail(errc::exhausted, "no room for a record");
    const bytes part(reinterpret_cast<const std::byte*>(text.begin()), text.size());
    KEDGE_TRY(auto size, records_->seal(type, {&part, 1}, out_.get() + out_offset_ + out_size_));
    out_size_ += size;
    return {};
  }

  void end_records() {
    if (records_) {
      constexpr unsigned char warning = 1;
      (void)say(tls_records::content::alert, {warning, tls_records::close_notify});
      finished_ = true;
      return;
    }
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
  }

  bool has_room() const noexcept {
    return out_offset_ + out_size_ + tls_record_max_bytes + record_overhead_max <= out_block_bytes;
  }

  result<void> seal(cursor& c) {
    using content = tls_records::content;
    if (finished_) return fail(errc::closed, "the connection was ended at this end");
    while (!c.done() && has_room()) {
      if (new_key_owed_ || records_->is_worn()) {
        KEDGE_CHECK(say(content::handshake, {24, 0, 0, 1, 0}));  // KeyUpdate, and none asked for in return (§4.6.3)
        records_->next_send_key();
        new_key_owed_ = false;
        continue;
      }
      if (!out_) out_ = out_pool::take();
      bytes parts[record_parts_max];
      std::size_t n = 0, size = 0;
      while (!c.done() && n < record_parts_max && size < tls_record_max_bytes) {
        auto next = c.front();
        next = next.first(std::min(next.size(), tls_record_max_bytes - size));
        parts[n++] = next;
        size += next.size();
        c.skip(next.size());
      }
      KEDGE_TRY(auto sealed, records_->seal(content::application, {parts, n}, out_.get() + out_offset_ + out_size_));
      out_size_ += sealed;
      already_ += size;
    }
    return {};
  }

  // Encrypts records until the batch is full or `c` is at its end. What it took stands in already_ until it is sent.
  result<void> encrypt(cursor& c) {
    if (records_) {
      auto sealed = seal(c);
      if (!sealed) broken_ = true;
      return sealed;
    }
    thread_local std::byte gathered[tls_record_max_bytes];
    ERR_clear_error();
    while (!c.done() && has_room()) {
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
  bool put_off() const noexcept { return linked() && out_offset_ == 0 && out_size_ <= late_write_max_bytes; }
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

  static stream_impl& of(BIO* bio) noexcept {
    return static_cast<stream_impl&>(*static_cast<tls_session*>(BIO_get_data(bio)));
  }

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

  // Of the handshake.
  struct known {
    std::string alpn, server_name;
    std::string_view protocol;
    bool resumed = false;
    std::vector<std::string> certificates;  // DER
  };

  std::unique_ptr<reactor::stream> below_;
  std::shared_ptr<void> context_;  // keeps the server's state that callbacks use
  ssl_ptr ssl_;                    // during the handshake, and after it where records_ is null: TLS 1.2
  std::unique_ptr<tls_records> records_;
  known known_;
  reactor::buffer in_;   // ciphertext received and not yet decrypted
  out_pool::block out_;  // ciphertext not yet sent: [out_offset_, out_offset_ + out_size_)
  std::size_t out_offset_ = 0, out_size_ = 0;
  // Plaintext that a try_send encrypted without being able to send it all, and so did not report: the caller comes back
  // with the same bytes, which must not be encrypted twice.
  std::size_t already_ = 0;
  bool in_end_ = false, closed_ = false, broken_ = false, sending_ = false;
  bool fresh_ = true;  // nothing was received since the handshake
  // With records_:
  bool peer_ended_ = false, finished_ = false, refused_ = false, new_key_owed_ = false;
  unsigned char silent_records_ = 0;  // in a row
  std::size_t partial_size_ = 0;
  partial_pool::block partial_;  // a record of which more must come
  std::string message_;          // the same of a message after the handshake
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
  auto now = reactor::loop::current().wall_now();
  X509_VERIFY_PARAM_set_time(
      parameters, std::chrono::system_clock::to_time_t(std::chrono::floor<std::chrono::system_clock::duration>(now)));
  if (X509_VERIFY_PARAM_set1_ip_asc(parameters, name.c_str()) != 1) {
    ERR_clear_error();
    SSL_set_tlsext_host_name(ssl, name.c_str());
    // A common name is none (RFC 9525 §2), as Go has it: who is trusted by it here would be trusted nowhere else.
    X509_VERIFY_PARAM_set_hostflags(parameters,
                                    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (X509_VERIFY_PARAM_set1_host(parameters, name.data(), name.size()) != 1)
      co_return fail(errc::invalid, "not a server name: " + name);
  }
  KEDGE_CO_CHECK(co_await s->handshake());
  co_return std::move(s);
}

}  // namespace kedge::net
