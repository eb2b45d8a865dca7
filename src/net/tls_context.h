// tls_context.h: what tls_context.cc and tls_stream.cc share. Internal to net/.
#pragma once

#include <openssl/ssl.h>

#include <array>
#include <memory>
#include <mutex>

#include "net/tls.h"
#include "net/tls_records.h"

namespace kedge::net {

template <auto Free>
struct openssl_free {
  template <typename T>
  void operator()(T* p) const noexcept {
    Free(p);
  }
};
inline void free_chain(STACK_OF(X509) * s) { sk_X509_pop_free(s, X509_free); }
using ssl_ctx_ptr = std::unique_ptr<SSL_CTX, openssl_free<SSL_CTX_free>>;
using ssl_ptr = std::unique_ptr<SSL, openssl_free<SSL_free>>;
using x509_ptr = std::unique_ptr<X509, openssl_free<X509_free>>;
using x509_chain_ptr = std::unique_ptr<STACK_OF(X509), openssl_free<free_chain>>;
using key_ptr = std::unique_ptr<EVP_PKEY, openssl_free<EVP_PKEY_free>>;
using bio_ptr = std::unique_ptr<BIO, openssl_free<BIO_free>>;

// The first reason in OpenSSL's queue as text; empties the queue.
std::string openssl_reason();

struct tls_identity::parts {
  x509_ptr leaf;
  x509_chain_ptr rest;
  key_ptr key;
};

inline void free_names(STACK_OF(X509_NAME) * s) { sk_X509_NAME_pop_free(s, X509_NAME_free); }

struct ticket_key {
  std::array<unsigned char, 16> name{};
  std::array<unsigned char, 32> cipher{}, mac{};
  time_point made{};
};

struct tls_server_context::state {
  ssl_ctx_ptr context;
  tls_server_context::chooser choose;
  // Taken once a handshake, not on a request's path. Guards what follows.
  std::mutex mutex;
  std::shared_ptr<const tls_identity> identity;
  std::shared_ptr<STACK_OF(X509_NAME)> asked;  // authorities of clients; null: those that it was made with
  ticket_key newest, before;
};

// What OpenSSL's callbacks find behind a connection, by the data of its BIO.
struct tls_session {
  tls_server_context::state* server = nullptr;
  reactor::stream* below = nullptr;
  tls_secrets* secrets = nullptr;  // while the handshake runs
};

}  // namespace kedge::net
