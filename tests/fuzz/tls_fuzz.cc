// tls_fuzz.cc: TLS records that arrive changed. The input's first byte says who is attacked, and how:
//
//   even   a whole handshake and an echo, with bytes changed on the way to the server (0, 4 …) or the client (2, 6 …):
//          the rest is a list of changes: two bytes offset, one byte to XOR
//   odd    the rest is all that the server (1, 5 …) or the client (3, 7 …) gets to read
//   255, 254   a whole handshake with OpenSSL, and then records with good keys that may say anything, to the server
//   (255) or the
//          client (254): each a byte type, a byte length, so many bytes; a length over 250 repeats the record 40 times
//
// Keys are fresh in each process, so a finding's bytes may meet other ones when it is replayed.
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <span>

#include "attack.h"
#include "crypto/certificate.h"
#include "net/tls.h"
#include "net/tls_records.h"
#include "reactor/sync.h"

using namespace kedge;

namespace {

using changes = std::map<std::size_t, std::byte>;

// Sends through another stream, with some bytes changed.
class changing_stream final : public reactor::stream {
 public:
  changing_stream(std::unique_ptr<reactor::stream> below, changes c)
      : below_(std::move(below)), changes_(std::move(c)) {}
  task<result<reactor::buffer>> receive() override { return below_->receive(); }
  task<result<void>> send(std::span<const bytes> parts) override {
    auto text = changed(parts);
    sent_ += text.size();
    co_return co_await below_->send(as_bytes(text));
  }
  result<std::size_t> try_send(std::span<const bytes> parts) override {
    auto text = changed(parts);
    const bytes one[] = {as_bytes(text)};
    auto n = below_->try_send(one);
    if (n) sent_ += *n;
    return n;
  }
  task<result<void>> finish() override { return below_->finish(); }
  void close() noexcept override { below_->close(); }
  reactor::endpoint local() const override { return below_->local(); }
  reactor::endpoint peer() const override { return below_->peer(); }

 private:
  std::string changed(std::span<const bytes> parts) const {
    std::string text;
    for (auto p : parts) text += as_text(p);
    for (auto i = changes_.lower_bound(sent_); i != changes_.end() && i->first < sent_ + text.size(); ++i) {
      auto& c = text[i->first - sent_];
      c = static_cast<char>(static_cast<std::byte>(c) ^ i->second);
    }
    return text;
  }
  std::unique_ptr<reactor::stream> below_;
  changes changes_;
  std::size_t sent_ = 0;
};

struct parties {
  std::shared_ptr<net::tls_server_context> server;
  std::shared_ptr<net::tls_client_context> client;
  std::string chain, key;  // PEM
};

const parties& both() {
  static const parties made = [] {
    auto ca = crypto::authority::create("ca", system_wall_time()).value();
    auto key = crypto::private_key::generate(crypto::key_kind::ecdsa_p256).value();
    auto leaf = crypto::issue(ca, key.public_part(),
                              {.common_name = "server", .dns_names = {"server"}, .client = true, .server = true},
                              system_wall_time(), system_random())
                    .value();
    const auto chain = crypto::chain_pem(leaf, ca);
    return parties{net::tls_server_context::make({}, chain, key.pem()).value(),
                   net::tls_client_context::make(
                       {.ca_pem = ca.bundle_pem(), .chain_pem = chain, .key_pem = key.pem(), .alpn = {"h2"}})
                       .value(),
                   chain, key.pem()};
  }();
  return made;
}

// Says something, and takes what comes until the end.
task<void> converse(result<std::unique_ptr<net::tls_stream>> s) {
  if (!s) co_return;
  (void)(*s)->peer_certificates();
  const auto end = reactor::loop::current().now() + std::chrono::seconds(30);
  if (!co_await reactor::with_deadline((*s)->send(as_bytes("hello, world")), end)) co_return;
  for (;;) {
    auto b = co_await reactor::with_deadline((*s)->receive(), end);
    if (!b || b->empty()) break;
    (void)co_await reactor::with_deadline((*s)->finish(), end);
  }
}

task<void> as_server(std::unique_ptr<reactor::stream> s) {
  co_await converse(co_await reactor::with_deadline(net::tls_accept(std::move(s), both().server),
                                                    reactor::loop::current().now() + std::chrono::seconds(10)));
}
task<void> as_client(std::unique_ptr<reactor::stream> s) {
  co_await converse(co_await reactor::with_deadline(net::tls_connect(std::move(s), both().client, "server"),
                                                    reactor::loop::current().now() + std::chrono::seconds(10)));
}

void with_changes(bool to_server, changes c) {
  sim::world w(1);
  auto& server = w.add_host("server");
  auto& client = w.add_host("client");
  int over = 0;
  server.start([&](sim::host& h) -> task<void> {
    auto l = h.listen({"", fuzz::port});
    auto s = co_await (*l)->accept();
    if (s) co_await as_server(to_server ? std::move(*s) : std::make_unique<changing_stream>(std::move(*s), c));
    ++over;
  });
  client.start([&](sim::host& h) -> task<void> {
    auto s = co_await h.connect({server.address(), fuzz::port});
    if (s) co_await as_client(to_server ? std::make_unique<changing_stream>(std::move(*s), c) : std::move(*s));
    ++over;
  });
  kedge_assert(w.run_until([&] { return over == 2; }, fuzz::patience));
}

// --- a peer that knows the keys

struct openssl_context {
  SSL_CTX* context;
  explicit openssl_context(bool server) : context(SSL_CTX_new(server ? TLS_server_method() : TLS_client_method())) {
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_keylog_callback(context, [](const SSL* ssl, const char* line) {
      static_cast<net::tls_secrets*>(SSL_get_app_data(ssl))->note(line);
    });
    if (server) SSL_CTX_set_num_tickets(context, 0);
    if (server) SSL_CTX_set_cert_cb(context, [](SSL* ssl, void*) { return use(ssl, both()); }, nullptr);
  }
  static int use(SSL* ssl, const parties& p) {
    auto *chain = BIO_new_mem_buf(p.chain.data(), static_cast<int>(p.chain.size())),
         *key = BIO_new_mem_buf(p.key.data(), static_cast<int>(p.key.size()));
    auto* x = PEM_read_bio_X509(chain, nullptr, nullptr, nullptr);
    auto* k = PEM_read_bio_PrivateKey(key, nullptr, nullptr, nullptr);
    int done = SSL_use_cert_and_key(ssl, x, k, nullptr, 1);
    X509_free(x);
    EVP_PKEY_free(k);
    BIO_free(chain);
    BIO_free(key);
    return done;
  }
};

task<void> say_records(std::unique_ptr<reactor::stream> s, bool server, std::string_view what) {
  static openssl_context contexts[] = {openssl_context(false), openssl_context(true)};
  net::tls_secrets secrets;
  auto* ssl = SSL_new(contexts[server].context);
  struct frees {
    SSL* s;
    ~frees() { SSL_free(s); }
  } guard{ssl};
  SSL_set_app_data(ssl, &secrets);
  auto *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
  BIO_set_mem_eof_return(in, -1);
  SSL_set_bio(ssl, in, out);
  server ? SSL_set_accept_state(ssl) : SSL_set_connect_state(ssl);
  for (;;) {
    int done = SSL_do_handshake(ssl);
    char* text = nullptr;
    auto size = BIO_get_mem_data(out, &text);
    if (size > 0 && !co_await s->send(as_bytes(std::string_view(text, static_cast<std::size_t>(size))))) co_return;
    (void)BIO_reset(out);
    if (done == 1) break;
    if (SSL_get_error(ssl, done) != SSL_ERROR_WANT_READ) co_return;
    auto b = co_await s->receive();
    if (!b || b->empty()) co_return;
    BIO_write(in, b->view().data(), static_cast<int>(b->size()));
  }
  auto records = net::tls_records::make(SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl)), server, secrets, 0);
  kedge_assert(records);
  while (what.size() >= 2) {
    auto type = static_cast<net::tls_records::content>(what[0]);
    auto length = static_cast<unsigned char>(what[1]);
    auto text = what.substr(2, std::min<std::size_t>(length, what.size() - 2));
    what.remove_prefix(2 + text.size());
    for (int i = 0; i < (length > 250 ? 40 : 1); ++i) {
      std::byte record[512];
      const bytes part = as_bytes(text);
      auto size = records->seal(type, {&part, 1}, record);
      kedge_assert(size.has_value());
      if (!co_await s->send(bytes(record, *size))) co_return;
    }
  }
  (void)co_await s->finish();
  for (;;) {
    auto b = co_await s->receive();
    if (!b || b->empty()) break;
  }
}

void with_good_keys(bool to_server, std::string_view what) {
  sim::world w(1);
  auto& server = w.add_host("server");
  auto& client = w.add_host("client");
  bool over = false;
  auto converse = [&](bool ours, std::unique_ptr<reactor::stream> s, bool serves) -> task<void> {
    if (!ours) co_return co_await say_records(std::move(s), serves, what);
    co_await (serves ? as_server(std::move(s)) : as_client(std::move(s)));
    over = true;
  };
  server.start([&](sim::host& h) -> task<void> {
    auto l = h.listen({"", fuzz::port});
    auto s = co_await (*l)->accept();
    if (s) co_await converse(to_server, std::move(*s), true);
  });
  client.start([&](sim::host& h) -> task<void> {
    auto s = co_await h.connect({server.address(), fuzz::port});
    if (s) co_await converse(!to_server, std::move(*s), false);
  });
  kedge_assert(w.run_until([&] { return over; }, fuzz::patience));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  if (data[0] >= 254) {
    with_good_keys(data[0] == 255, {reinterpret_cast<const char*>(data) + 1, size - 1});
    return 0;
  }
  const bool server = (data[0] & 2) == 0;
  if (data[0] & 1) {
    const fuzz::script what(data + 1, size - 1);
    if (server)
      fuzz::attack_server(what, as_server);
    else
      fuzz::attack_client(what, [](reactor::network& n, reactor::endpoint at) -> task<void> {
        auto s = co_await n.connect(std::move(at));
        if (s) co_await as_client(std::move(*s));
      });
    return 0;
  }
  changes c;
  for (std::size_t i = 1; i + 3 <= size; i += 3) c[std::size_t(data[i]) << 8 | data[i + 1]] = std::byte(data[i + 2]);
  with_changes(server, std::move(c));
  return 0;
}
