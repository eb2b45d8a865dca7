#include "support.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace kedge::test {

static std::string take_text(BIO* b) {
  char* data = nullptr;
  auto size = BIO_get_mem_data(b, &data);
  std::string out(data, static_cast<std::size_t>(size));
  BIO_free(b);
  return out;
}

pem_pair make_certificate(const std::string& common_name, const char* names) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* x = X509_new();
  X509_set_version(x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
  X509_gmtime_adj(X509_getm_notBefore(x), -60);
  X509_gmtime_adj(X509_getm_notAfter(x), 3600);
  X509_set_pubkey(x, key);
  auto* name = X509_get_subject_name(x);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(common_name.c_str()), -1,
                             -1, 0);
  X509_set_issuer_name(x, name);
  for (auto [nid, value] :
       {std::pair(NID_subject_alt_name, names), std::pair(NID_basic_constraints, "critical,CA:TRUE")}) {
    if (*value == '\0') continue;
    auto* e = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
  }
  X509_sign(x, key, EVP_sha256());
  pem_pair out;
  auto* b = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(b, x);
  out.certificate = take_text(b);
  b = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(b, key, nullptr, nullptr, 0, nullptr, nullptr);
  out.key = take_text(b);
  X509_free(x);
  EVP_PKEY_free(key);
  return out;
}

void on_each_backend(const std::function<task<void>()>& body) {
  for (auto which : {reactor::io_backend::io_uring, reactor::io_backend::epoll}) {
    auto b = reactor::make_backend(which);
    if (!b) continue;  // the kernel forbids io_uring
    std::string backend = (*b)->name();
    CAPTURE(backend);
    reactor::loop l(std::move(*b));
    auto done = l.run_until([](const std::function<task<void>()>& f) -> task<result<void>> {
      auto work = [](const std::function<task<void>()>& g) -> task<result<void>> {
        co_await g();
        co_return result<void>();
      };
      co_return co_await reactor::with_deadline(work(f), reactor::loop::current().now() + std::chrono::seconds(30));
    }(body));
    CHECK_MESSAGE(done.has_value(), "the test did not end in time");
  }
}

running_server::running_server(function_handler::function f, net::http::server_options options)
    : handler_(std::move(f)), server_(handler_, [&] {
        if (options.listen.empty()) options.listen.push_back({"127.0.0.1", 0});
        return std::move(options);
      }()) {
  scope_.spawn([](net::http::server& s) -> task<void> {
    auto ended = co_await s.run(0);
    CHECK_MESSAGE(ended.has_value(), ended.error().message);
  }(server_));
}
running_server::~running_server() { scope_.cancel(); }

net::http::server_options with_tls(const pem_pair& p, bool http2) {
  net::http::server_options o;
  auto c = net::tls_server_context::make({.http2 = http2}, p.certificate, p.key);
  REQUIRE(c.has_value());
  o.tls = std::move(*c);
  return o;
}

task<std::string> raw_exchange(reactor::endpoint at, std::string text, duration quiet, bool half_close) {
  auto s = co_await reactor::os_network().connect(at);
  REQUIRE(s.has_value());
  std::string got;
  (void)co_await (*s)->send(as_bytes(text));
  if (half_close) (void)co_await (*s)->finish();
  for (;;) {
    // `quiet` tells whether more comes; that something comes takes as long as it takes on a busy machine.
    auto patience = got.empty() && !half_close ? std::max<duration>(quiet, std::chrono::seconds(10)) : quiet;
    auto b = co_await reactor::with_deadline((*s)->receive(), reactor::loop::current().now() + patience);
    if (!b && b.error().code == errc::timeout) co_return got + "<open>";
    if (!b || b->empty()) co_return got;
    got += as_text(b->view());
  }
}

}  // namespace kedge::test
