// tls.h: TLS 1.2 and 1.3 over any stream, as a stream.
//
//   plaintext ──▶ records ──▶ batch of ciphertext ──▶ one write to the stream below
//   plaintext ◀── one record ◀── received buffer (given back as soon as it is used up)
//
// OpenSSL does the handshake, and with TLS 1.2 the records; with 1.3 these are tls_records.h's. It never touches a
// socket: its BIO reads from the buffer that was received and writes into the batch. An idle connection holds neither.
//
// Client certificates are asked for and their possession is proved by the handshake, but whether they are trusted is
// decided above (access control), per connection: peer_certificates() says who claims what.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "reactor/stream.h"

struct ssl_ctx_st;
struct ssl_st;

namespace kedge::net {

// A certificate chain (leaf first) and its private key, both PEM, parsed once and shared by connections.
class tls_identity {
 public:
  static result<std::shared_ptr<const tls_identity>> parse(std::string_view chain_pem, std::string_view key_pem);
  struct parts;
  const parts& get() const noexcept { return *parts_; }
  explicit tls_identity(std::unique_ptr<const parts> p) noexcept;
  ~tls_identity();

 private:
  std::unique_ptr<const parts> parts_;
};

struct tls_server_options {
  bool http2 = true;  // offer h2 before http/1.1
  bool ask_client_certificate = true;
  // DER subjects are sent as hints when given: browsers and Go clients pick a certificate by them.
  std::string client_ca_pem;
  std::string minimum_version = "1.2";  // "1.2" or "1.3"
  // TLS 1.2 cipher suites by their IANA names as in --tls-cipher-suites; empty: K3s's defaults.
  std::vector<std::string> cipher_suites;
};

// The server's side, shared by all cores and connections. Thread-safe.
class tls_server_context {
 public:
  static result<std::shared_ptr<tls_server_context>> make(const tls_server_options& options, std::string_view chain_pem,
                                                          std::string_view key_pem);
  ~tls_server_context();
  // New handshakes use this certificate; connections that stand keep theirs.
  result<void> replace(std::string_view chain_pem, std::string_view key_pem);
  // New handshakes ask for certificates of these authorities (PEM).
  result<void> ask_for(std::string_view client_ca_pem);
  // Asked in each handshake with the name the client wants (empty without one) and the address it came to; null: the
  // context's own certificate. Must not block. Set before the first connection.
  using chooser =
      std::function<std::shared_ptr<const tls_identity>(std::string_view server_name, const reactor::endpoint& local)>;
  void choose_with(chooser c);

  struct state;
  state& get() noexcept { return *state_; }
  explicit tls_server_context(std::unique_ptr<state> s) noexcept;

 private:
  std::unique_ptr<state> state_;
};

struct tls_client_options {
  std::optional<std::string> ca_pem;  // nullopt: the system's store
  bool insecure = false;              // accept any certificate; the caller looks at peer_certificates()
  std::string chain_pem, key_pem;     // a client certificate, or empty
  std::vector<std::string> alpn;      // in order of preference, e.g. {"h2", "http/1.1"}
};

class tls_client_context {
 public:
  static result<std::shared_ptr<tls_client_context>> make(const tls_client_options& options);
  ~tls_client_context();
  ssl_ctx_st* get() const noexcept { return context_; }
  bool insecure() const noexcept { return insecure_; }
  tls_client_context(ssl_ctx_st* c, bool insecure) noexcept : context_(c), insecure_(insecure) {}

 private:
  ssl_ctx_st* context_;
  bool insecure_;
};

class tls_stream : public reactor::stream {
 public:
  virtual std::string_view alpn() const noexcept = 0;         // "h2", "http/1.1" or empty
  virtual std::string_view server_name() const noexcept = 0;  // SNI
  virtual std::string_view protocol() const noexcept = 0;     // "TLSv1.3"
  virtual bool resumed() const noexcept = 0;
  virtual std::vector<std::string> peer_certificates()
      const = 0;  // DER, leaf first; of a client: until the first receive
};

// The handshake. The caller sets the deadline (tls_handshake_timeout); a dropped handshake closes the connection.
task<result<std::unique_ptr<tls_stream>>> tls_accept(std::unique_ptr<reactor::stream> below,
                                                     std::shared_ptr<tls_server_context> context);
// `name` is the DNS name or IP address that the certificate must be for. Errors: errc::unauthenticated with x509's
// words when the certificate isn't trusted, errc::protocol for the rest.
task<result<std::unique_ptr<tls_stream>>> tls_connect(std::unique_ptr<reactor::stream> below,
                                                      std::shared_ptr<tls_client_context> context, std::string name);

}  // namespace kedge::net
