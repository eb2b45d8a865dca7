#include "node/join/supervisor_client.h"

#include "base/log.h"
#include "node/join/http_answer.h"
#include "node/limits.h"
#include "reactor/sync.h"

namespace kedge::node {

using net::tls_client_context;

result<supervisor_client> supervisor_client::make(std::string url, crypto::token token, client_identity identity,
                                                  reactor::network* network) {
  if (auto scheme = url.substr(0, url.find("://")); scheme != "https")
    return fail(errc::invalid,
                "only https:// URLs are supported, invalid scheme: " + scheme + "; give --server https://HOST:6443");
  while (url.ends_with('/')) url.pop_back();
  // Until the CA is known nothing can be verified; trust_server() says which answers count.
  KEDGE_TRY(auto anyone, tls_client_context::make({.insecure = true, .alpn = {"http/1.1"}}));
  KEDGE_TRY(auto where, net::http::parse_url(url, std::move(anyone)));
  supervisor_client c;
  c.target_ = std::move(where.first);
  c.url_ = std::move(url);
  c.token_ = std::move(token);
  c.identity_ = std::move(identity);
  c.http_ = std::make_unique<net::http::client>(network);
  return c;
}

task<result<std::string>> supervisor_client::ask(net::http::client_request r,
                                                 std::shared_ptr<tls_client_context> trust) {
  r.to = target_;
  if (trust) r.to.tls = std::move(trust);
  auto full_url = url_ + r.path;
  auto deadline = reactor::loop::current().now() + request_deadline;
  auto answer = co_await reactor::with_deadline(http_->fetch(std::move(r), answer_bytes_max), deadline);
  if (!answer) {
    auto e = std::move(answer).error().with(full_url + ": ");
    if (e.code == errc::unauthenticated)
      e.code = errc::protocol;  // it is the server that doesn't prove who it is, not this node
    co_return fail(std::move(e));
  }
  clock_.saw(answer->headers);
  co_return body_or_error(*std::move(answer), full_url);
}

task<result<void>> supervisor_client::trust_server() {
  auto now = reactor::loop::current().wall_now();
  KEDGE_CO_TRY(auto ca, co_await ask({.path = "/cacerts"}, nullptr));
  auto fits = crypto::check_ca_hash(token_, ca, now);
  if (!fits || token_.ca_hash.empty()) {
    // A server behind a certificate that the whole system trusts has no CA of its own to hand out.
    KEDGE_CO_TRY(auto system, tls_client_context::make(
                                  {.chain_pem = identity_.chain, .key_pem = identity_.key, .alpn = {"http/1.1"}}));
    if (co_await ask({.path = "/cacerts"}, system)) {
      if (!token_.ca_hash.empty())
        log::warning("the system's trust store accepts {}; the token's CA hash is not checked", url_);
      ca_.clear();
      verified_ = std::move(system);
      co_return result<void>();
    }
    if (!fits) {
      wrong_cluster_ = true;
      co_return fail(errc::unauthenticated,
                     fits.error().message + "; take the token from the node-token file of a server of this cluster");
    }
    log::warning(
        "the token has no CA hash, so the server at {} is taken at its word; use the full token from the server's "
        "node-token file to be sure of it",
        url_);
  }
  KEDGE_CO_TRY(auto hash, crypto::ca_hash(ca, now));
  KEDGE_CO_TRY(ca, crypto::vouched_ca(token_, ca, now));
  KEDGE_CO_TRY(verified_,
               tls_client_context::make(
                   {.ca_pem = ca, .chain_pem = identity_.chain, .key_pem = identity_.key, .alpn = {"http/1.1"}}));
  token_.ca_hash = std::move(hash);
  ca_ = std::move(ca);
  co_return result<void>();
}

task<result<void>> supervisor_client::trust_server_by(const std::string& ca) {
  auto known = tls_client_context::make(
      {.ca_pem = ca, .chain_pem = identity_.chain, .key_pem = identity_.key, .alpn = {"http/1.1"}});
  if (!known) co_return fail(std::move(known).error());
  auto verified = *std::move(known);
  KEDGE_CO_CHECK(co_await ask({.path = "/ping"}, verified));
  ca_ = ca;
  verified_ = std::move(verified);
  co_return result<void>();
}

task<result<std::string>> supervisor_client::get(std::string path) {
  kedge_assert(verified_);  // the token goes to nobody who isn't
  net::http::client_request r{.path = std::move(path)};
  if (auto who = token_.authorization(); !who.empty()) r.headers.add("Authorization", std::move(who));
  co_return co_await ask(std::move(r), verified_);
}

task<result<std::string>> supervisor_client::post(std::string path, std::string body, header_list headers) {
  kedge_assert(verified_);
  net::http::client_request r{.method = "POST", .path = std::move(path), .body = std::move(body)};
  if (auto who = token_.authorization(); !who.empty()) r.headers.add("Authorization", std::move(who));
  for (auto& [name, value] : headers) r.headers.add(std::move(name), std::move(value));
  co_return co_await ask(std::move(r), verified_);
}

}  // namespace kedge::node
