// TLS 1.3's records: the published example, and OpenSSL and hostile peers at the other end of real sockets.
#include "net/tls_records.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "base/strings.h"
#include "support.h"

using namespace kedge;
using namespace kedge::test;
using net::tls_records;
using content = tls_records::content;

namespace {

// RFC 8448 §3, with an ending as OpenSSL's key log writes them.
constexpr const char* client_line =
    "CLIENT_TRAFFIC_SECRET_0 00 9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5";
constexpr const char* server_line =
    "SERVER_TRAFFIC_SECRET_0 00 a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643";
constexpr std::uint32_t aes_128 = 0x1301, aes_256 = 0x1302, chacha = 0x1303;

std::unique_ptr<tls_records> example(std::uint32_t suite, bool server) {
  net::tls_secrets s;
  s.note(client_line);
  s.note(server_line);
  return tls_records::make(suite, server, s, 0);
}

std::string sealed(tls_records& by, content type, std::string_view text) {
  std::string out(text.size() + tls_records::overhead_bytes, 0);
  const bytes part = as_bytes(text);
  auto size = by.seal(type, {&part, 1}, reinterpret_cast<std::byte*>(out.data()));
  REQUIRE(size.has_value());
  CHECK(*size == out.size());
  return out;
}

// What one end of a connection says and hears on a blocking socket, with OpenSSL for the handshake.
class openssl_end {
 public:
  openssl_end(SSL_CTX* context, int fd, bool server) : fd_(fd), server_(server), ssl_(SSL_new(context)) {
    SSL_set_app_data(ssl_, this);
    SSL_set_fd(ssl_, fd);
    timeval patience{.tv_sec = 20, .tv_usec = 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    shaken_ = (server ? SSL_accept(ssl_) : SSL_connect(ssl_)) == 1;
  }
  ~openssl_end() {
    SSL_free(ssl_);
    ::close(fd_);
  }
  bool shaken() const { return shaken_; }
  SSL* ssl() { return ssl_; }
  // From here on by records of our own making, which may break all rules. Not after SSL_read or SSL_write.
  std::unique_ptr<tls_records> records() {
    return tls_records::make(SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl_)), server_, secrets_, 0);
  }
  bool put(std::string_view text) {
    return ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  std::string get(std::size_t size) {
    std::string out(size, 0);
    auto n = ::recv(fd_, out.data(), size, MSG_WAITALL);
    out.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return out;
  }

  static void listen_to(SSL_CTX* context) {
    SSL_CTX_set_keylog_callback(context, [](const SSL* ssl, const char* line) {
      static_cast<openssl_end*>(SSL_get_app_data(ssl))->secrets_.note(line);
    });
  }

 private:
  int fd_;
  bool server_, shaken_ = false;
  net::tls_secrets secrets_;
  SSL* ssl_;
};

using context_ptr = std::unique_ptr<SSL_CTX, decltype([](SSL_CTX* c) { SSL_CTX_free(c); })>;
context_ptr make_context(bool server, const pem_pair& pem, const char* suites = "TLS_AES_256_GCM_SHA384") {
  context_ptr c(SSL_CTX_new(server ? TLS_server_method() : TLS_client_method()));
  SSL_CTX_set_min_proto_version(c.get(), TLS1_3_VERSION);
  SSL_CTX_set_ciphersuites(c.get(), suites);
  openssl_end::listen_to(c.get());
  if (!server) return c;
  auto text = [](const std::string& s) { return BIO_new_mem_buf(s.data(), static_cast<int>(s.size())); };
  auto *a = text(pem.certificate), *b = text(pem.key);
  auto* x = PEM_read_bio_X509(a, nullptr, nullptr, nullptr);
  auto* k = PEM_read_bio_PrivateKey(b, nullptr, nullptr, nullptr);
  SSL_CTX_use_certificate(c.get(), x);
  SSL_CTX_use_PrivateKey(c.get(), k);
  X509_free(x);
  EVP_PKEY_free(k);
  BIO_free(a);
  BIO_free(b);
  return c;
}

int connect_to(std::uint16_t port) {
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  REQUIRE(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
  return fd;
}

// A listening socket of the system's, for peers that are servers.
struct plain_listener {
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  std::uint16_t port = 0;
  plain_listener() {
    sockaddr_in at{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    socklen_t size = sizeof at;
    REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
    REQUIRE(::listen(fd, 4) == 0);
    getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size);
    port = ntohs(at.sin_port);
  }
  ~plain_listener() { ::close(fd); }
};

// Echoes what OpenSSL's end receives, with new keys from time to time, until the peer ends.
void echo_with_openssl(openssl_end& peer) {
  std::string piece(20'000, 0);
  for (int i = 0;; ++i) {
    auto n = SSL_read(peer.ssl(), piece.data(), static_cast<int>(piece.size()));
    if (n <= 0) break;
    if (i % 8 == 3) SSL_key_update(peer.ssl(), i % 16 == 3 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
    if (SSL_write(peer.ssl(), piece.data(), n) != n) break;
  }
  SSL_shutdown(peer.ssl());
  ERR_clear_error();
}

// Sends pieces of all sizes and wants each back.
task<void> expect_echo(net::tls_stream& s) {
  std::string sent;
  for (std::size_t size : {1, 2, 500, 16383, 16384, 16385, 40'000, 3, 200'000, 17, 1, 1, 1, 1, 90'000}) {
    sent.resize(size);
    for (std::size_t i = 0; i < size; ++i) sent[i] = static_cast<char>(i * 2654435761u >> 11);
    const bytes parts[] = {
        as_bytes(std::string_view(sent).substr(0, size / 3)), {}, as_bytes(std::string_view(sent).substr(size / 3))};
    CHECK((co_await s.send(parts)).has_value());
    std::string got;
    while (got.size() < size) {
      auto b = co_await s.receive();
      CHECK_MESSAGE(b.has_value(), b.error().message);
      if (!b || b->empty()) co_return;
      got += as_text(b->view());
    }
    CHECK((got == sent));
  }
  CHECK((co_await s.finish()).has_value());
  auto end = co_await s.receive();
  CHECK_MESSAGE(end.has_value(), end.error().message);
  if (end) CHECK(end->empty());
}

}  // namespace

TEST_CASE("the example of RFC 8448") {
  auto client = example(aes_128, false), server = example(aes_128, true);
  std::string text(50, 0);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i);
  auto record = sealed(*client, content::application, text);
  CHECK(hex(as_bytes(record)) ==
        "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292"
        "a2977014bd1e3deae6"
        "3aeebb21694915e4");
  std::string got(tls_records::record_max_bytes, 0);
  auto opened = server->open(as_bytes(record), reinterpret_cast<std::byte*>(got.data()));
  REQUIRE(opened.has_value());
  CHECK(opened->type == content::application);
  CHECK(got.substr(0, opened->size) == text);
}

TEST_CASE("records go one way, in order, under the key of their time") {
  for (auto suite : {aes_128, chacha}) {
    auto client = example(suite, false), server = example(suite, true);
    REQUIRE(client);
    std::string got(tls_records::record_max_bytes, 0);
    auto open = [&](tls_records& by, std::string_view record) {
      return by.open(as_bytes(record), reinterpret_cast<std::byte*>(got.data()));
    };
    auto first = sealed(*client, content::application, "first"),
         second = sealed(*client, content::application, "second");
    CHECK_FALSE(open(*server, second).has_value());
    CHECK_FALSE(open(*client, first).has_value());
    CHECK(open(*server, first).has_value());
    CHECK_FALSE(open(*server, first).has_value());
    for (std::size_t i = 0; i < second.size(); ++i) {
      auto changed = second;
      changed[i] = static_cast<char>(changed[i] ^ 1);
      CHECK_FALSE(open(*server, changed).has_value());
    }
    CHECK(open(*server, second).has_value());
    client->next_send_key();
    auto later = sealed(*client, content::handshake, "x");
    CHECK_FALSE(open(*server, later).has_value());
    server->next_receive_key();
    auto opened = open(*server, later);
    REQUIRE(opened.has_value());
    CHECK(opened->type == content::handshake);
    auto whole = std::string(net::tls_record_max_bytes, 'x');
    opened = open(*server, sealed(*client, content::application, whole));
    REQUIRE(opened.has_value());
    CHECK(opened->size == whole.size());
  }
}

TEST_CASE("a key is worn in the end, and the next one isn't") {
  net::tls_secrets s;
  s.note(client_line);
  s.note(server_line);
  auto sender = tls_records::make(aes_128, true, s, net::tls_key_records_max - 1);
  CHECK_FALSE(sender->is_worn());
  (void)sealed(*sender, content::application, "the last one");
  CHECK(sender->is_worn());
  sender->next_send_key();
  CHECK_FALSE(sender->is_worn());
}

TEST_CASE("what a record's head may say") {
  struct {
    std::string_view head;
    std::size_t size;
    std::optional<tls_records::alert> refused;
  } const cases[] = {
      {"", 0, {}},
      {std::string_view("\x17\x03\x03\x00", 4), 0, {}},
      {std::string_view("\x17\x03\x03\x00\x11", 5), 22, {}},
      {std::string_view("\x17\x03\x03\x40\x11", 5), 16406, {}},
      {std::string_view("\x17\x03\x03\x40\x12", 5), 0, tls_records::record_overflow},
      {std::string_view("\x17\x03\x03\xff\xff", 5), 0, tls_records::record_overflow},
      {std::string_view("\x17\x03\x03\x00\x10", 5), 0, tls_records::decode_error},
      {std::string_view("\x14\x03\x03\x00\x01", 5), 0, tls_records::unexpected_message},
      {std::string_view("\x16\x03\x03\x00\x40", 5), 0, tls_records::unexpected_message},
      {"GET /", 0, tls_records::unexpected_message},
  };
  for (auto& c : cases) {
    CAPTURE(hex(as_bytes(c.head)));
    auto size = tls_records::size_of(as_bytes(c.head));
    CHECK(size.has_value() == !c.refused.has_value());
    if (size) CHECK(*size == c.size);
    if (!size && c.refused) CHECK(size.error().what == *c.refused);
  }
}

TEST_CASE("secrets that are no secrets") {
  for (auto* line : {"", "CLIENT_TRAFFIC_SECRET_0", "CLIENT_TRAFFIC_SECRET_0 00 0", "CLIENT_TRAFFIC_SECRET_0 00 zz",
                     "CLIENT_TRAFFIC_SECRET_1 00 00"}) {
    net::tls_secrets s;
    s.note(line);
    CHECK(s.client_bytes == 0);
  }
  // A hash's bytes, neither fewer nor more.
  for (auto* line : {"CLIENT_TRAFFIC_SECRET_0 00 ", "CLIENT_TRAFFIC_SECRET_0 00 0011"}) {
    net::tls_secrets s;
    s.note(server_line);
    s.note(line);
    CHECK(tls_records::make(aes_128, true, s, 0) == nullptr);
  }
  CHECK(example(aes_256, true) == nullptr);
  net::tls_secrets half;
  half.note(client_line);
  CHECK(tls_records::make(aes_128, true, half, 0) == nullptr);
  CHECK(example(0x1304, true) == nullptr);
}

TEST_CASE("with OpenSSL at the other end: every suite, either role, new keys, padding, small records, tickets") {
  auto pem = make_certificate("server");
  struct {
    const char* suite;
    int padding, fragment, tickets;
  } const cases[] = {{"TLS_AES_128_GCM_SHA256", 0, 0, 2},
                     {"TLS_AES_256_GCM_SHA384", 512, 600, 5},
                     {"TLS_CHACHA20_POLY1305_SHA256", 16384, 0, 0}};
  for (auto& c : cases) {
    CAPTURE(c.suite);
    for (bool we_serve : {true, false}) {
      CAPTURE(we_serve);
      auto theirs = make_context(!we_serve, pem, c.suite);
      if (c.padding) SSL_CTX_set_block_padding(theirs.get(), static_cast<std::size_t>(c.padding));
      if (c.fragment) SSL_CTX_set_max_send_fragment(theirs.get(), static_cast<std::size_t>(c.fragment));
      SSL_CTX_set_num_tickets(theirs.get(), static_cast<std::size_t>(c.tickets));
      on_each_backend([&]() -> task<void> {
        if (we_serve) {
          auto listener = reactor::os_network().listen({"127.0.0.1", 0});
          std::thread peer([&, port = (*listener)->local().port] {
            openssl_end end(theirs.get(), connect_to(port), false);
            if (end.shaken()) echo_with_openssl(end);
          });
          auto s = co_await (*listener)->accept();
          auto t =
              co_await net::tls_accept(std::move(*s), *net::tls_server_context::make({}, pem.certificate, pem.key));
          CHECK_MESSAGE(t.has_value(), t.error().message);
          if (t) {
            co_await expect_echo(**t);
            (*t)->close();
          }
          peer.join();
        } else {
          plain_listener listener;
          std::thread peer([&] {
            openssl_end end(theirs.get(), ::accept(listener.fd, nullptr, nullptr), true);
            if (end.shaken()) echo_with_openssl(end);
          });
          auto s = co_await reactor::os_network().connect({"127.0.0.1", listener.port});
          auto t = co_await net::tls_connect(std::move(*s), *net::tls_client_context::make({.ca_pem = pem.certificate}),
                                             "127.0.0.1");
          CHECK_MESSAGE(t.has_value(), t.error().message);
          if (t) {
            co_await expect_echo(**t);
            (*t)->close();
          }
          peer.join();
        }
      });
    }
  }
}

TEST_CASE("who breaks the rules is told so, and nothing of it is read") {
  auto pem = make_certificate("server");
  const std::string key_update("\x18\x00\x00\x01\x00", 5), new_ticket("\x04\x00\x00\x02\x00\x00", 6);
  struct line {
    content type;
    std::string text;
  };
  struct {
    const char* what;
    std::vector<line> said;
    std::optional<tls_records::alert> told;  // none: a clean end
    const char* error;
  } const cases[] = {
      {"close_notify, and words behind it",
       {{content::alert, std::string("\x01\x00", 2)}, {content::application, "late"}},
       {},
       ""},
      {"user_canceled comes first",
       {{content::alert, std::string("\x01\x5a", 2)}, {content::alert, std::string("\x01\x00", 2)}},
       {},
       ""},
      {"new keys within a record",
       {{content::handshake, key_update + key_update}},
       tls_records::unexpected_message,
       "new keys within a record"},
      {"an unknown request",
       {{content::handshake, std::string("\x18\x00\x00\x01\x02", 5)}},
       tls_records::illegal_parameter,
       "request for new keys"},
      {"new keys of two bytes",
       {{content::handshake, std::string("\x18\x00\x00\x02\x00\x00", 6)}},
       tls_records::decode_error,
       "wrong length"},
      {"a ticket from a client",
       {{content::handshake, new_ticket}},
       tls_records::unexpected_message,
       "unexpected message"},
      {"a client's hello",
       {{content::handshake, std::string("\x01\x00\x00\x00", 4)}},
       tls_records::unexpected_message,
       "unexpected message"},
      {"an empty piece", {{content::handshake, ""}}, tls_records::unexpected_message, "empty"},
      {"words within a message",
       {{content::handshake, key_update.substr(0, 4)}, {content::application, "x"}},
       tls_records::unexpected_message,
       "within a message"},
      {"an alert of one byte", {{content::alert, "\x01"}}, tls_records::decode_error, "alert"},
      {"an unknown type", {{content(99), "x"}}, tls_records::unexpected_message, "unknown type"},
      {"no type", {{content(0), std::string(8, 0)}}, tls_records::unexpected_message, "without a type"},
      {"empty records for ever", std::vector<line>(40, {content::application, ""}), tls_records::unexpected_message,
       "say nothing"},
  };
  auto theirs = make_context(false, pem);
  for (auto& c : cases) {
    CAPTURE(c.what);
    on_each_backend([&]() -> task<void> {
      auto listener = reactor::os_network().listen({"127.0.0.1", 0});
      std::optional<tls_records::opened> heard;
      std::string answer(tls_records::record_max_bytes, 0);
      std::thread peer([&, port = (*listener)->local().port] {
        openssl_end end(theirs.get(), connect_to(port), false);
        if (!end.shaken()) return;
        auto records = end.records();
        std::string all;
        for (auto& l : c.said) all += sealed(*records, l.type, l.text);
        end.put(all);
        for (;;) {  // tickets, and then what is said to it
          auto head = end.get(tls_records::header_bytes);
          auto size = tls_records::size_of(as_bytes(head));
          if (!size || *size == 0) return;
          auto record = head + end.get(*size - head.size());
          if (record.size() != *size) return;
          auto opened = records->open(as_bytes(record), reinterpret_cast<std::byte*>(answer.data()));
          if (!opened) return;
          if (opened->type != content::handshake) heard = *opened;
        }
      });
      auto s = co_await (*listener)->accept();
      auto t = co_await net::tls_accept(std::move(*s), *net::tls_server_context::make({}, pem.certificate, pem.key));
      CHECK_MESSAGE(t.has_value(), t.error().message);
      if (t) {
        auto b = co_await (*t)->receive();
        CHECK(b.has_value() == !c.told.has_value());
        if (b) CHECK(b->empty());
        if (!b) {
          CHECK(b.error().code == errc::protocol);
          CHECK(b.error().message.find(c.error) != std::string::npos);
          CHECK_FALSE((co_await (*t)->receive()).has_value());
          CHECK_FALSE((co_await (*t)->send(as_bytes("more"))).has_value());
        }
        (*t)->close();
      }
      peer.join();
      CHECK(heard.has_value() == c.told.has_value());
      if (heard && c.told) {
        CHECK(heard->type == content::alert);
        CHECK(answer.substr(0, heard->size) == std::string{'\x02', static_cast<char>(*c.told)});
      }
    });
  }
}

TEST_CASE("a server's messages after the handshake") {
  auto pem = make_certificate("server");
  const std::string ticket = std::string("\x04\x00\x00\x0e", 4) + std::string(14, 'a'),
                    new_key("\x18\x00\x00\x01\x00", 5);
  struct {
    const char* what;
    std::vector<std::string> messages;
    const char* error;  // empty: the word behind them is read
  } const cases[] = {
      {"tickets", {ticket + ticket, ticket}, ""},
      {"in pieces",
       {ticket.substr(0, 3), ticket.substr(3, 4), ticket.substr(7) + ticket.substr(0, 9), ticket.substr(9)},
       ""},
      {"a ticket that can't be one", {std::string("\x04\x00\x00\x00", 4)}, "wrong length"},
      {"a ticket without an end", {std::string("\x04\xff\xff\xff", 4)}, "wrong length"},
      {"a question for a certificate", {std::string("\x0d\x00\x00\x01\x00", 5)}, "unexpected message"},
  };
  auto theirs = make_context(true, pem);
  SSL_CTX_set_num_tickets(theirs.get(), 0);
  for (auto& c : cases) {
    CAPTURE(c.what);
    on_each_backend([&]() -> task<void> {
      plain_listener listener;
      std::thread peer([&] {
        openssl_end end(theirs.get(), ::accept(listener.fd, nullptr, nullptr), true);
        if (!end.shaken()) return;
        auto records = end.records();
        std::string all;
        for (auto& m : c.messages) all += sealed(*records, content::handshake, m);
        all += sealed(*records, content::handshake, new_key);
        records->next_send_key();
        all += sealed(*records, content::application, "word");
        end.put(all);
        end.get(1 << 16);  // until the other end closes
      });
      auto s = co_await reactor::os_network().connect({"127.0.0.1", listener.port});
      auto t = co_await net::tls_connect(std::move(*s), *net::tls_client_context::make({.ca_pem = pem.certificate}),
                                         "127.0.0.1");
      CHECK_MESSAGE(t.has_value(), t.error().message);
      if (t) {
        auto b = co_await (*t)->receive();
        CHECK(b.has_value() == (*c.error == 0));
        if (b) CHECK(as_text(b->view()) == "word");
        if (!b) CHECK(b.error().message.find(c.error) != std::string::npos);
        (*t)->close();
      }
      peer.join();
    });
  }
}

TEST_CASE("a peer's refusal is told by its name") {
  auto pem = make_certificate("server");
  auto theirs = make_context(true, pem);
  // Who the client is, is asked after its handshake has ended.
  SSL_CTX_set_verify(theirs.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  on_each_backend([&]() -> task<void> {
    plain_listener listener;
    std::thread peer([&] { openssl_end end(theirs.get(), ::accept(listener.fd, nullptr, nullptr), true); });
    auto s = co_await reactor::os_network().connect({"127.0.0.1", listener.port});
    auto t = co_await net::tls_connect(std::move(*s), *net::tls_client_context::make({.ca_pem = pem.certificate}),
                                       "127.0.0.1");
    CHECK_MESSAGE(t.has_value(), t.error().message);
    if (t) {
      auto b = co_await (*t)->receive();
      CHECK_FALSE(b.has_value());
      if (!b) CHECK(b.error().message.find("certificate required") != std::string::npos);
    }
    peer.join();
  });
}
