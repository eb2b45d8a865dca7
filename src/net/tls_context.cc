#include "net/tls_context.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <cstring>

#include "base/strings.h"
#include "net/limits.h"

namespace kedge::net {

std::string openssl_reason() {
  auto code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "unknown reason";
  if (auto* text = ERR_reason_error_string(code)) return text;
  char line[256];
  ERR_error_string_n(code, line, sizeof line);
  return line;
}

namespace {

bio_ptr text_bio(std::string_view text) { return bio_ptr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

// Keys are never asked for a passphrase on the terminal.
int no_passphrase(char*, int, int, void*) { return 0; }

// AES-256-GCM and ChaCha20 first, forward secrecy only: the list that K3s starts the API server with.
constexpr const char* default_ciphers =
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-"
    "SHA256:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";

// ALPN's wire form of "h2" and "http/1.1".
constexpr unsigned char alpn_both[] = "\x02h2\x08http/1.1";
constexpr unsigned char alpn_http1[] = "\x08http/1.1";

int select_alpn(SSL*, const unsigned char** out, unsigned char* out_length, const unsigned char* in, unsigned in_length,
                void* http2) {
  auto* ours = http2 ? alpn_both : alpn_http1;
  auto size = static_cast<unsigned>(http2 ? sizeof alpn_both : sizeof alpn_http1) - 1;
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_length, ours, size, in, in_length) != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL;  // RFC 7301 §3.2
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

tls_session& session_of(SSL* ssl) { return *static_cast<tls_session*>(BIO_get_data(SSL_get_rbio(ssl))); }

int choose_certificate(SSL* ssl, void*) {
  auto& session = session_of(ssl);
  auto& server = *session.server;
  std::shared_ptr<const tls_identity> identity;
  if (server.choose) {
    auto* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    identity = server.choose(name ? std::string_view(name) : std::string_view(), session.below->local());
  }
  std::shared_ptr<STACK_OF(X509_NAME)> asked;
  {
    std::lock_guard lock(server.mutex);
    if (!identity) identity = server.identity;
    asked = server.asked;
  }
  if (asked) SSL_set_client_CA_list(ssl, SSL_dup_CA_list(asked.get()));
  auto& p = identity->get();
  return SSL_use_cert_and_key(ssl, p.leaf.get(), p.key.get(), p.rest.get(), 1);
}

// Trust is decided above. A resumed session carries the leaf only (OpenSSL keeps no chain in a ticket), so who sends a
// chain gets no tickets: its intermediates would be missing next time.
int accept_client_certificate(X509_STORE_CTX* store, void*) {
  auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* sent = X509_STORE_CTX_get0_untrusted(store);
  auto count = sent ? sk_X509_num(sent) : 0;
  if (count > tls_chain_max) return 0;
  if (count > 1 && ssl) SSL_set_num_tickets(ssl, 0);
  X509_STORE_CTX_set_error(store, X509_V_OK);
  return 1;
}

// OpenSSL's own check, without the roots that the server sent along: one that is trusted is known here, and one that
// isn't can hide its cross-signed twin, as crypto/trust.cc says.
int check_server_certificate(X509_STORE_CTX* store, void*) {
  auto* sent = X509_STORE_CTX_get0_untrusted(store);
  std::unique_ptr<STACK_OF(X509), decltype([](STACK_OF(X509) * s) { sk_X509_free(s); })> others(sk_X509_new_null());
  if (!others) return 0;
  for (int i = 0; sent && i < sk_X509_num(sent); ++i)
    if (auto* one = sk_X509_value(sent, i); X509_self_signed(one, 0) != 1 && !sk_X509_push(others.get(), one)) return 0;
  X509_STORE_CTX_set0_untrusted(store, others.get());
  int good = X509_verify_cert(store);
  X509_STORE_CTX_set0_untrusted(store, sent);
  return good;
}

bool fresh_key(ticket_key& k, time_point now) {
  k.made = now;
  return RAND_bytes(k.name.data(), static_cast<int>(k.name.size())) == 1 &&
         RAND_bytes(k.cipher.data(), static_cast<int>(k.cipher.size())) == 1 &&
         RAND_bytes(k.mac.data(), static_cast<int>(k.mac.size())) == 1;
}

int start_ticket_crypto(const ticket_key& k, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac, int encrypt) {
  char digest[] = "SHA256";
  OSSL_PARAM params[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, const_cast<unsigned char*>(k.mac.data()), k.mac.size()),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_construct_end()};
  if (EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), nullptr, k.cipher.data(), iv, encrypt) != 1) return -1;
  return EVP_MAC_CTX_set_params(mac, params) == 1 ? 1 : -1;
}

int ticket_crypto(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac,
                  int encrypt) {
  auto& server = *session_of(ssl).server;
  auto now = reactor::loop::current().now();
  std::lock_guard lock(server.mutex);
  if (encrypt) {
    if (now - server.newest.made >= tls_ticket_key_period) {
      server.before = server.newest;
      if (!fresh_key(server.newest, now)) return -1;
    }
    std::memcpy(name, server.newest.name.data(), server.newest.name.size());
    if (RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1) return -1;
    return start_ticket_crypto(server.newest, iv, cipher, mac, 1);
  }
  auto usable = [&](const ticket_key& k) {
    return std::memcmp(name, k.name.data(), k.name.size()) == 0 && now - k.made < 2 * tls_ticket_key_period;
  };
  if (usable(server.newest)) return start_ticket_crypto(server.newest, iv, cipher, mac, 0);
  if (usable(server.before)) return start_ticket_crypto(server.before, iv, cipher, mac, 0) == 1 ? 2 : -1;  // 2: renew
  return 0;
}

result<void> set_ciphers(SSL_CTX* context, const std::vector<std::string>& iana_names) {
  std::string list;
  for (auto& name : iana_names) {
    if (name.starts_with("TLS_AES_") || name.starts_with("TLS_CHACHA20_POLY1305_SHA256"))
      continue;  // TLS 1.3: always on
    auto* ours = OPENSSL_cipher_name(name.c_str());
    if (!ours || std::string_view(ours) == "(NONE)")
      return fail(errc::invalid, "unknown TLS cipher suite " + quote(name));
    if (!list.empty()) list += ':';
    list += ours;
  }
  if (SSL_CTX_set_cipher_list(context, list.empty() ? default_ciphers : list.c_str()) != 1)
    return fail(errc::invalid, "none of the TLS cipher suites can be used: " + openssl_reason());
  return {};
}

// The traffic secrets, which nothing else tells: what tls_records goes on with.
void note_secret(const SSL* ssl, const char* line) {
  auto& session = *static_cast<tls_session*>(BIO_get_data(SSL_get_rbio(ssl)));
  if (session.secrets) session.secrets->note(line);
}

void set_common(SSL_CTX* context) {
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_keylog_callback(context, note_secret);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
}

}  // namespace

tls_identity::tls_identity(std::unique_ptr<const parts> p) noexcept : parts_(std::move(p)) {}
tls_identity::~tls_identity() = default;

result<std::shared_ptr<const tls_identity>> tls_identity::parse(std::string_view chain_pem, std::string_view key_pem) {
  ERR_clear_error();
  auto p = std::make_unique<parts>();
  auto chain = text_bio(chain_pem);
  p->leaf.reset(PEM_read_bio_X509(chain.get(), nullptr, no_passphrase, nullptr));
  if (!p->leaf) return fail(errc::invalid, "no certificate in the PEM text: " + openssl_reason());
  p->rest.reset(sk_X509_new_null());
  while (auto* next = PEM_read_bio_X509(chain.get(), nullptr, no_passphrase, nullptr))
    sk_X509_push(p->rest.get(), next);
  ERR_clear_error();  // the end of the text
  auto key = text_bio(key_pem);
  p->key.reset(PEM_read_bio_PrivateKey(key.get(), nullptr, no_passphrase, nullptr));
  if (!p->key) return fail(errc::invalid, "no private key in the PEM text: " + openssl_reason());
  if (X509_check_private_key(p->leaf.get(), p->key.get()) != 1) {
    ERR_clear_error();
    return fail(errc::invalid, "the private key is not the certificate's");
  }
  return std::make_shared<const tls_identity>(std::move(p));
}

tls_server_context::tls_server_context(std::unique_ptr<state> s) noexcept : state_(std::move(s)) {}
tls_server_context::~tls_server_context() = default;

result<std::shared_ptr<tls_server_context>> tls_server_context::make(const tls_server_options& options,
                                                                     std::string_view chain_pem,
                                                                     std::string_view key_pem) {
  ERR_clear_error();
  auto s = std::make_unique<state>();
  KEDGE_TRY(s->identity, tls_identity::parse(chain_pem, key_pem));
  s->context.reset(SSL_CTX_new(TLS_server_method()));
  if (!s->context) return fail(errc::internal, "OpenSSL: " + openssl_reason());
  auto* c = s->context.get();
  set_common(c);
  if (options.minimum_version != "1.2" && options.minimum_version != "1.3")
    return fail(errc::invalid, "the minimum TLS version must be 1.2 or 1.3, not " + quote(options.minimum_version));
  SSL_CTX_set_min_proto_version(c, options.minimum_version == "1.3" ? TLS1_3_VERSION : TLS1_2_VERSION);
  KEDGE_CHECK(set_ciphers(c, options.cipher_suites));
  SSL_CTX_set_alpn_select_cb(c, select_alpn, options.http2 ? c : nullptr);
  SSL_CTX_set_cert_cb(c, choose_certificate, nullptr);
  SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);  // tickets only: no state that cores would share
  static constexpr unsigned char session_context[] = "kedge";
  SSL_CTX_set_session_id_context(c, session_context, sizeof session_context - 1);
  SSL_CTX_set_num_tickets(c, 1);
  if (!fresh_key(s->newest, monotonic_clock::now())) return fail(errc::internal, "OpenSSL: " + openssl_reason());
  SSL_CTX_set_tlsext_ticket_key_evp_cb(c, ticket_crypto);
  if (options.ask_client_certificate) {
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_cert_verify_callback(c, accept_client_certificate, nullptr);
    if (!options.client_ca_pem.empty()) {
      auto pem = text_bio(options.client_ca_pem);
      while (auto ca = x509_ptr(PEM_read_bio_X509(pem.get(), nullptr, no_passphrase, nullptr)))
        SSL_CTX_add_client_CA(c, ca.get());
      ERR_clear_error();
    }
  }
  return std::make_shared<tls_server_context>(std::move(s));
}

result<void> tls_server_context::replace(std::string_view chain_pem, std::string_view key_pem) {
  KEDGE_TRY(auto identity, tls_identity::parse(chain_pem, key_pem));
  std::lock_guard lock(state_->mutex);
  state_->identity = std::move(identity);
  return {};
}

result<void> tls_server_context::ask_for(std::string_view client_ca_pem) {
  std::shared_ptr<STACK_OF(X509_NAME)> names(sk_X509_NAME_new_null(), free_names);
  auto pem = text_bio(client_ca_pem);
  while (auto ca = x509_ptr(PEM_read_bio_X509(pem.get(), nullptr, no_passphrase, nullptr))) {
    auto* name = X509_NAME_dup(X509_get_subject_name(ca.get()));
    if (!names || !name || sk_X509_NAME_push(names.get(), name) == 0) {
      X509_NAME_free(name);
      return fail(errc::internal, "OpenSSL: " + openssl_reason());
    }
  }
  ERR_clear_error();  // the end of the text
  if (sk_X509_NAME_num(names.get()) == 0) return fail(errc::invalid, "no certificate in the CA's PEM text");
  std::lock_guard lock(state_->mutex);
  state_->asked = std::move(names);
  return {};
}

void tls_server_context::choose_with(chooser c) { state_->choose = std::move(c); }

tls_client_context::~tls_client_context() { SSL_CTX_free(context_); }

result<std::shared_ptr<tls_client_context>> tls_client_context::make(const tls_client_options& options) {
  ERR_clear_error();
  ssl_ctx_ptr c(SSL_CTX_new(TLS_client_method()));
  if (!c) return fail(errc::internal, "OpenSSL: " + openssl_reason());
  set_common(c.get());
  SSL_CTX_set_min_proto_version(c.get(), TLS1_2_VERSION);
  KEDGE_CHECK(set_ciphers(c.get(), {}));
  if (options.insecure) {
    SSL_CTX_set_verify(c.get(), SSL_VERIFY_NONE, nullptr);
  } else {
    SSL_CTX_set_verify(c.get(), SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_cert_verify_callback(c.get(), check_server_certificate, nullptr);
    // As Go: a pinned certificate that isn't self-signed may be the end of the chain.
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(c.get()), X509_V_FLAG_PARTIAL_CHAIN);
    if (!options.ca_pem) {
      SSL_CTX_set_default_verify_paths(c.get());
    } else {
      auto pem = text_bio(*options.ca_pem);
      int count = 0;
      while (auto ca = x509_ptr(PEM_read_bio_X509(pem.get(), nullptr, no_passphrase, nullptr))) {
        X509_STORE_add_cert(SSL_CTX_get_cert_store(c.get()), ca.get());
        ++count;
      }
      ERR_clear_error();
      if (count == 0) return fail(errc::invalid, "no certificate in the CA's PEM text");
    }
  }
  if (!options.chain_pem.empty()) {
    KEDGE_TRY(auto identity, tls_identity::parse(options.chain_pem, options.key_pem));
    auto& p = identity->get();
    if (SSL_CTX_use_cert_and_key(c.get(), p.leaf.get(), p.key.get(), p.rest.get(), 1) != 1)
      return fail(errc::invalid, "the client certificate can't be used: " + openssl_reason());
  }
  if (!options.alpn.empty()) {
    std::string wire;
    for (auto& name : options.alpn) {
      wire += static_cast<char>(name.size());
      wire += name;
    }
    SSL_CTX_set_alpn_protos(c.get(), reinterpret_cast<const unsigned char*>(wire.data()),
                            static_cast<unsigned>(wire.size()));
  }
  return std::make_shared<tls_client_context>(c.release(), options.insecure);
}

}  // namespace kedge::net
