#include "node/join/api_client.h"

#include "json/parse.h"
#include "json/write.h"
#include "node/join/http_answer.h"
#include "node/limits.h"
#include "reactor/sync.h"

namespace kedge::node {

namespace {
constexpr std::string_view json_type = "application/json";
}

result<std::shared_ptr<net::tls_client_context>> client_context(const std::string& ca,
                                                                const client_identity& identity) {
  net::tls_client_options options{.chain_pem = identity.chain, .key_pem = identity.key, .alpn = {"http/1.1"}};
  if (!ca.empty()) options.ca_pem = ca;
  return net::tls_client_context::make(options);
}

result<api_client> api_client::make(std::string url, const std::string& ca, const client_identity& identity,
                                    reactor::network* network) {
  KEDGE_TRY(auto tls, client_context(ca, identity));
  KEDGE_TRY(auto where, net::http::parse_url(url, std::move(tls)));
  api_client c;
  c.url_ = std::move(url);
  c.target_ = std::move(where.first);
  c.http_ = std::make_unique<net::http::client>(network);
  return c;
}

result<void> api_client::use(const std::string& ca, const client_identity& identity) {
  KEDGE_TRY(target_.tls, client_context(ca, identity));
  http_->forget_idle();
  renewed_->pulse();
  return {};
}

task<result<json::value>> api_client::ask(std::string method, std::string path, std::string body, std::string_view type,
                                          std::size_t answer_most) {
  net::http::client_request r{
      .to = target_, .method = std::move(method), .path = std::move(path), .body = std::move(body)};
  r.headers.add("Accept", std::string(json_type));
  r.headers.add("User-Agent", "kedge-node");
  if (!r.body.empty()) r.headers.add("Content-Type", std::string(type));
  auto what = r.method + " " + url_ + r.path;
  auto answer = co_await reactor::with_deadline(http_->fetch(std::move(r), answer_most),
                                                reactor::loop::current().now() + request_deadline);
  if (!answer) co_return fail(std::move(answer).error().with(what + ": "));
  clock_.saw(answer->headers);
  // A server that can't tell who this is (its clock stands before the certificates' begin) isn't asked again over the
  // connection that stands: the next one leads to whichever server the balancer thinks good.
  if (answer->status == 401) http_->forget_idle();
  KEDGE_CO_TRY(auto text, body_or_error(*std::move(answer), what));
  auto value = json::parse(text);
  if (!value) co_return fail(std::move(value).error().with(what + ": "));
  co_return value;
}

task<result<json::value>> api_client::get(std::string path, std::size_t answer_most) {
  return ask("GET", std::move(path), {}, {}, answer_most);
}
task<result<json::value>> api_client::create(std::string path, const json::value& object) {
  return ask("POST", std::move(path), json::write(object), json_type);
}
task<result<json::value>> api_client::update(std::string path, const json::value& object) {
  return ask("PUT", std::move(path), json::write(object), json_type);
}
task<result<json::value>> api_client::strategic_patch(std::string path, const json::value& patch) {
  return ask("PATCH", std::move(path), json::write(patch), "application/strategic-merge-patch+json");
}
task<result<json::value>> api_client::merge_patch(std::string path, const json::value& patch) {
  return ask("PATCH", std::move(path), json::write(patch), "application/merge-patch+json");
}

task<result<json::value>> api_client::remove(std::string path, const json::value& options) {
  return ask("DELETE", std::move(path), json::write(options), json_type);
}

task<result<net::http::client_response>> api_client::cacerts(std::string known_mark) {
  net::http::client_request r{.to = target_, .path = "/cacerts"};
  r.headers.add("If-None-Match", std::move(known_mark));
  r.headers.add("User-Agent", "kedge-node");
  co_return co_await reactor::with_deadline(http_->fetch(std::move(r), answer_bytes_max),
                                            reactor::loop::current().now() + request_deadline);
}

task<result<std::unique_ptr<net::http::client_exchange>>> api_client::open(std::string path) {
  net::http::client_request r{.to = target_, .path = std::move(path)};
  r.headers.add("Accept", std::string(json_type));
  r.headers.add("User-Agent", "kedge-node");
  co_return co_await http_->open(std::move(r));
}

}  // namespace kedge::node
