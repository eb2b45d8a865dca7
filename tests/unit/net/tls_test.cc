// TLS between our two ends and with OpenSSL's own tool.
#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <thread>

#include "net/limits.h"
#include "support.h"

using namespace kedge;
using namespace kedge::test;

namespace {

std::shared_ptr<net::tls_client_context> client_context(net::tls_client_options o) {
  auto c = net::tls_client_context::make(o);
  REQUIRE_MESSAGE(c.has_value(), c.error().message);
  return *c;
}

task<result<std::unique_ptr<net::tls_stream>>> dial(reactor::endpoint at, std::shared_ptr<net::tls_client_context> c,
                                                    std::string name) {
  KEDGE_CO_TRY(auto s, co_await reactor::os_network().connect(at));
  co_return co_await net::tls_connect(std::move(s), std::move(c), std::move(name));
}

// The certificate of `pair`, signed by another.
std::string signed_by(const pem_pair& pair, const pem_pair& issuer) {
  auto text = [](const std::string& pem) { return BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())); };
  auto *a = text(pair.certificate), *b = text(issuer.certificate), *c = text(issuer.key), *out = BIO_new(BIO_s_mem());
  auto *x = PEM_read_bio_X509(a, nullptr, nullptr, nullptr), *ca = PEM_read_bio_X509(b, nullptr, nullptr, nullptr);
  auto* key = PEM_read_bio_PrivateKey(c, nullptr, nullptr, nullptr);
  X509_set_issuer_name(x, X509_get_subject_name(ca));
  X509_sign(x, key, EVP_sha256());
  PEM_write_bio_X509(out, x);
  char* bytes = nullptr;
  auto size = BIO_get_mem_data(out, &bytes);
  std::string pem(bytes, static_cast<std::size_t>(size));
  for (auto* bio : {a, b, c, out}) BIO_free(bio);
  X509_free(x);
  X509_free(ca);
  EVP_PKEY_free(key);
  return pem;
}

task<void> who(net::http::exchange& e) {
  auto& c = e.connection();
  (void)co_await e.respond({}, "sni=" + c.sni + " certificates=" + std::to_string(c.peer_certificates.size()));
}

// OpenSSL's own client, on a thread: sends a byte and wants it back, after each of `updates` with new keys at both
// ends. Gives how many came back. `session` is resumed when there is one, and replaced by the newest ticket.
int ask_with_new_keys(std::uint16_t port, const pem_pair& own, int version, int updates, SSL_SESSION** session) {
  auto text = [](const std::string& pem) { return BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())); };
  auto *certificate = text(own.certificate), *key = text(own.key);
  auto* x = PEM_read_bio_X509(certificate, nullptr, nullptr, nullptr);
  auto* k = PEM_read_bio_PrivateKey(key, nullptr, nullptr, nullptr);
  auto* context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_max_proto_version(context, version);
  SSL_CTX_use_certificate(context, x);
  SSL_CTX_use_PrivateKey(context, k);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  auto* ssl = SSL_new(context);
  SSL_set_fd(ssl, fd);
  if (*session) SSL_set_session(ssl, *session);
  int echoed = 0;
  if (connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0 && SSL_connect(ssl) == 1) {
    char sent = 'a', got = 0;
    auto ask = [&] { return SSL_write(ssl, &sent, 1) == 1 && SSL_read(ssl, &got, 1) == 1 && got == sent++; };
    for (bool well = ask(); well && echoed <= updates; well = ask()) {
      ++echoed;
      if (version == TLS1_3_VERSION && SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) != 1) break;
    }
    SSL_SESSION_free(*session);
    *session = SSL_get1_session(ssl);
    SSL_shutdown(ssl);
  }
  SSL_free(ssl);
  close(fd);
  SSL_CTX_free(context);
  X509_free(x);
  EVP_PKEY_free(k);
  BIO_free(certificate);
  BIO_free(key);
  return echoed;
}

}  // namespace

TEST_CASE("a server's connection goes on without its session: new keys, resumption, the client's certificate") {
  auto pem = make_certificate("server"), user = make_certificate("user");
  for (int version : {TLS1_3_VERSION, TLS1_2_VERSION}) {
    CAPTURE(version);
    on_each_backend([&]() -> task<void> {
      auto listener = reactor::os_network().listen({"127.0.0.1", 0});
      auto context = *net::tls_server_context::make({}, pem.certificate, pem.key);
      SSL_SESSION* session = nullptr;
      for (bool again : {false, true}) {
        CAPTURE(again);
        int echoed = 0;
        std::thread client(
            [&, port = (*listener)->local().port] { echoed = ask_with_new_keys(port, user, version, 3, &session); });
        auto s = co_await (*listener)->accept();
        CHECK(s.has_value());
        auto t = co_await net::tls_accept(std::move(*s), context);
        CHECK(t.has_value());
        if (t) {
          CHECK((*t)->resumed() == again);
          CHECK((*t)->peer_certificates().size() == 1);
          for (;;) {
            auto b = co_await (*t)->receive();
            CHECK(b.has_value());
            if (!b || b->empty()) break;
            CHECK((co_await (*t)->send(b->view())).has_value());
          }
          (*t)->close();
        }
        client.join();
        CHECK(echoed == 4);
      }
      SSL_SESSION_free(session);
    });
  }
}

TEST_CASE("names, authorities, client certificates") {
  auto pem = make_certificate("server"), stranger = make_certificate("stranger"), user = make_certificate("user");
  on_each_backend([&]() -> task<void> {
    running_server s(who, with_tls(pem));
    auto trusting = client_context({.ca_pem = pem.certificate});
    auto ask = [&](std::shared_ptr<net::tls_client_context> c,
                   std::string host) -> task<result<net::http::client_response>> {
      net::http::client k;
      net::http::target t;
      t.at = s.at();
      t.host = std::move(host);
      t.tls = std::move(c);
      co_return co_await k.fetch({.to = t, .path = "/"});
    };
    auto r = co_await ask(trusting, "localhost");
    REQUIRE_MESSAGE(r.has_value(), r.error().message);
    CHECK(r->body == "sni=localhost certificates=0");
    r = co_await ask(trusting, "");
    REQUIRE_MESSAGE(r.has_value(), r.error().message);
    CHECK(r->body == "sni= certificates=0");  // an address is no name
    r = co_await ask(trusting, "elsewhere");
    REQUIRE_FALSE(r.has_value());
    CHECK(r.error().code == errc::unauthenticated);
    r = co_await ask(client_context({.ca_pem = stranger.certificate}), "localhost");
    REQUIRE_FALSE(r.has_value());
    CHECK(r.error().code == errc::unauthenticated);
    r = co_await ask(client_context({.insecure = true}), "elsewhere");
    CHECK(r.has_value());
    r = co_await ask(client_context({.ca_pem = pem.certificate, .chain_pem = user.certificate, .key_pem = user.key}),
                     "localhost");
    REQUIRE_MESSAGE(r.has_value(), r.error().message);
    CHECK(r->body == "sni=localhost certificates=1");  // a stranger's: whether it is trusted is asked above
  });
}

TEST_CASE("a common name is no server's name") {
  auto pem = make_certificate("localhost", "");
  on_each_backend([&]() -> task<void> {
    running_server s(who, with_tls(pem));
    net::http::client k;
    net::http::target t{.at = s.at(), .host = "localhost", .tls = client_context({.ca_pem = pem.certificate})};
    auto r = co_await k.fetch({.to = t, .path = "/"});
    REQUIRE_FALSE(r.has_value());
    CHECK(r.error().code == errc::unauthenticated);
    CHECK(r.error().message.find("it has no subject alternative names") != std::string::npos);
  });
}

// A K3s server's CAs after `k3s certificate rotate-ca`: the new root is sent as it signed itself, and as the old root
// signed it.
TEST_CASE("a rotated authority is trusted by who trusts the old one") {
  auto old_root = make_certificate("old"), new_root = make_certificate("new"), stranger = make_certificate("stranger");
  auto server = make_certificate("server");
  server.certificate = signed_by(server, new_root);
  server.certificate += new_root.certificate + signed_by(new_root, old_root) + old_root.certificate;
  on_each_backend([&]() -> task<void> {
    running_server s(who, with_tls(server));
    for (auto& [ca, good] : {std::pair(old_root, true), std::pair(new_root, true), std::pair(stranger, false)}) {
      net::http::client k;
      net::http::target t;
      t.at = s.at();
      t.host = "localhost";
      t.tls = client_context({.ca_pem = ca.certificate});
      CHECK((co_await k.fetch({.to = t, .path = "/"})).has_value() == good);
    }
  });
}

TEST_CASE("a replaced certificate is shown to the next connection; the chooser goes first") {
  auto one = make_certificate("one"), two = make_certificate("two"), chosen = make_certificate("chosen");
  on_each_backend([&]() -> task<void> {
    auto options = with_tls(one);
    auto context = options.tls;
    auto identity = net::tls_identity::parse(chosen.certificate, chosen.key);
    REQUIRE(identity.has_value());
    context->choose_with(
        [&](std::string_view name, const reactor::endpoint& at) -> std::shared_ptr<const net::tls_identity> {
          CHECK(at.port != 0);
          return name == "chosen.example" ? *identity : nullptr;
        });
    running_server s(who, std::move(options));
    auto shown = [&](std::string name) -> task<std::string> {
      auto t = co_await dial(s.at(), client_context({.insecure = true}), std::move(name));
      REQUIRE(t.has_value());
      auto chain = (*t)->peer_certificates();
      REQUIRE(chain.size() == 1);
      auto* p = reinterpret_cast<const unsigned char*>(chain[0].data());
      X509* x = d2i_X509(nullptr, &p, static_cast<long>(chain[0].size()));
      char text[64] = {};
      X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, text, sizeof text);
      X509_free(x);
      co_return text;
    };
    CHECK(co_await shown("a.example") == "one");
    CHECK(co_await shown("chosen.example") == "chosen");
    CHECK(context->replace(two.certificate, two.key).has_value());
    CHECK(co_await shown("a.example") == "two");
    CHECK_FALSE(context->replace(two.certificate, one.key).has_value());
    CHECK_FALSE(context->replace("nonsense", one.key).has_value());
    CHECK(co_await shown("a.example") == "two");
  });
}

TEST_CASE("bytes of any size arrive in order, sent in any parts, both ways at once") {
  auto pem = make_certificate("server");
  on_each_backend([&]() -> task<void> {
    auto listener = reactor::os_network().listen({"127.0.0.1", 0});
    REQUIRE(listener.has_value());
    auto context = *net::tls_server_context::make({}, pem.certificate, pem.key);
    reactor::scope tasks;
    std::string data(3'000'001, 0);
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 2654435761u >> 13);
    tasks.spawn([](reactor::listener& l, std::shared_ptr<net::tls_server_context> c, std::string_view) -> task<void> {
      auto s = co_await l.accept();
      REQUIRE(s.has_value());
      auto t = co_await net::tls_accept(std::move(*s), c);
      REQUIRE(t.has_value());
      for (;;) {  // echo, with try_send first
        auto b = co_await (*t)->receive();
        if (!b || b->empty()) break;
        bytes part = b->view();
        auto sent = (*t)->try_send({&part, 1});
        REQUIRE(sent.has_value());
        part = part.subspan(*sent);
        if (!part.empty()) REQUIRE((co_await (*t)->send({&part, 1})).has_value());
      }
      (void)co_await (*t)->finish();
    }(**listener, context, data));
    auto t = co_await dial((*listener)->local(), client_context({.ca_pem = pem.certificate}), "127.0.0.1");
    REQUIRE_MESSAGE(t.has_value(), t.error().message);
    CHECK((*t)->protocol() == "TLSv1.3");
    tasks.spawn([](net::tls_stream& s, std::string_view all) -> task<void> {
      std::size_t sizes[] = {1, 5, 1300, 16383, 16384, 16385, 70000, 200000};
      std::size_t i = 0;
      while (!all.empty()) {
        std::vector<bytes> parts;
        for (int n = 0; n < 7 && !all.empty(); ++n) {
          auto size = std::min(sizes[i++ % std::size(sizes)], all.size());
          parts.push_back(as_bytes(all.substr(0, size)));
          parts.push_back({});
          all.remove_prefix(size);
        }
        REQUIRE((co_await s.send(parts)).has_value());
      }
      (void)co_await s.finish();
    }(**t, data));
    std::string got;
    for (;;) {
      auto b = co_await (*t)->receive();
      REQUIRE_MESSAGE(b.has_value(), b.error().message);
      if (b->empty()) break;
      got += as_text(b->view());
    }
    CHECK(got.size() == data.size());
    CHECK((got == data));
  });
}

TEST_CASE("a short write behind a batch that was sent in part waits for room like any other") {
  // Takes so much at once, while it is told to.
  class narrow_stream final : public reactor::stream {
   public:
    explicit narrow_stream(std::unique_ptr<reactor::stream> below) : below_(std::move(below)) {}
    std::size_t room = std::size_t(-1);
    task<result<reactor::buffer>> receive() override { return below_->receive(); }
    task<result<void>> send(std::span<const bytes> parts) override { return below_->send(parts); }
    result<std::size_t> try_send(std::span<const bytes> parts) override {
      const bytes first = parts.front().first(std::min(parts.front().size(), room));
      if (first.empty()) return 0;
      auto sent = below_->try_send({&first, 1});
      if (sent) room -= *sent;
      return sent;
    }
    task<result<void>> finish() override { return below_->finish(); }
    void close() noexcept override { below_->close(); }
    reactor::endpoint local() const override { return below_->local(); }
    reactor::endpoint peer() const override { return below_->peer(); }

   private:
    std::unique_ptr<reactor::stream> below_;
  };
  auto pem = make_certificate("server");
  // What is left of the batch is short enough to be put off, but stands at the end of the block.
  for (std::size_t room : {0u, 20'000u, 45'000u, 60'000u, 65'000u}) {
    CAPTURE(room);
    on_each_backend([&]() -> task<void> {
      auto listener = reactor::os_network().listen({"127.0.0.1", 0});
      auto context = *net::tls_server_context::make({}, pem.certificate, pem.key);
      std::string got;
      reactor::scope reading;
      reading.spawn([](reactor::endpoint at, const pem_pair& trusted, std::string& to) -> task<void> {
        auto t = co_await dial(at, client_context({.ca_pem = trusted.certificate}), "127.0.0.1");
        REQUIRE(t.has_value());
        for (;;) {
          auto b = co_await (*t)->receive();
          if (!b || b->empty()) break;
          to += as_text(b->view());
        }
      }((*listener)->local(), pem, got));
      auto s = co_await (*listener)->accept();
      auto narrow = std::make_unique<narrow_stream>(std::move(*s));
      auto& below = *narrow;
      auto t = co_await net::tls_accept(std::move(narrow), context);
      REQUIRE(t.has_value());
      std::string text(1000, 'a');
      text += std::string(65'536, 'b');
      auto rest = as_bytes(text);
      auto some = [&](std::size_t size) {
        const auto part = rest.first(std::min(size, rest.size()));
        auto sent = (*t)->try_send({&part, 1});
        CHECK(sent.has_value());
        if (sent) rest = rest.subspan(*sent);
      };
      some(1000);
      below.room = room + 1000;
      some(rest.size());
      some(rest.size());
      below.room = std::size_t(-1);
      CHECK((co_await (*t)->send({&rest, 1})).has_value());
      CHECK((co_await (*t)->finish()).has_value());
      co_await reading.join();
      CHECK((got == text));
    });
  }
}

TEST_CASE("an end without close_notify is an error, so that a cut answer isn't taken for whole") {
  auto pem = make_certificate("server");
  on_each_backend([&]() -> task<void> {
    auto listener = reactor::os_network().listen({"127.0.0.1", 0});
    auto context = *net::tls_server_context::make({}, pem.certificate, pem.key);
    reactor::scope tasks;
    tasks.spawn([](reactor::listener& l, std::shared_ptr<net::tls_server_context> c) -> task<void> {
      auto s = co_await l.accept();
      auto t = co_await net::tls_accept(std::move(*s), c);
      REQUIRE(t.has_value());
      (void)co_await (*t)->send(as_bytes("half"));
    }(**listener, context));
    auto t = co_await dial((*listener)->local(), client_context({.ca_pem = pem.certificate}), "127.0.0.1");
    REQUIRE(t.has_value());
    auto b = co_await (*t)->receive();
    REQUIRE(b.has_value());
    CHECK(as_text(b->view()) == "half");
    b = co_await (*t)->receive();
    REQUIRE_FALSE(b.has_value());
    CHECK(b.error().code == errc::closed);
  });
}

TEST_CASE("what is no TLS fails the handshake and is counted") {
  auto pem = make_certificate("server");
  on_each_backend([&]() -> task<void> {
    running_server s(who, with_tls(pem));
    for (std::string junk :
         {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(1000, '\xff'), std::string("\x16\x03\x01\xff\xff", 5),
          std::string("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10)})
      (void)co_await raw_exchange(s.at(), junk, std::chrono::milliseconds(200), true);
    for (int i = 0; i < 500 && s.get().count().handshakes_failed < 4; ++i)
      co_await reactor::sleep_for(std::chrono::milliseconds(1));
    CHECK(s.get().count().handshakes_failed == 4);
    CHECK(s.get().count().connections == 0);
  });
}

TEST_CASE("bad settings") {
  auto pem = make_certificate("a");
  CHECK_FALSE(net::tls_server_context::make({.minimum_version = "1.1"}, pem.certificate, pem.key).has_value());
  CHECK_FALSE(net::tls_server_context::make({.cipher_suites = {"TLS_NONSENSE"}}, pem.certificate, pem.key).has_value());
  CHECK(net::tls_server_context::make(
            {.cipher_suites = {"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"}}, pem.certificate,
            pem.key)
            .has_value());
  CHECK_FALSE(net::tls_client_context::make({.ca_pem = "nonsense"}).has_value());
}
