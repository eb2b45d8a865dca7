#include "api/authentication/jwt_issuers.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/authentication/claims.h"
#include "api/authentication/limits.h"
#include "base/log.h"
#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "reactor/cores.h"

namespace kedge::api {

namespace {

auto refuse(std::string why) { return fail(errc::unauthenticated, "oidc: " + std::move(why)); }

using key_set = std::vector<crypto::published_key>;

// Google's tokens name it in two ways.
std::string_view issuer_named(const json::value& claims) {
  auto iss = claims["iss"].as_string();
  return iss == "accounts.google.com" ? std::string_view("https://accounts.google.com") : iss;
}

bool same(const jwt_issuer_settings& a, const jwt_issuer_settings& b) {
  return a.url == b.url && a.discovery_url == b.discovery_url && a.certificate_authority == b.certificate_authority;
}

}  // namespace

struct jwt_issuers::issuer {
  jwt_issuer_settings settings;
  std::shared_ptr<net::tls_client_context> tls;
  // Swapped as a whole, read by every core; null: none yet.
  std::atomic<std::shared_ptr<const key_set>> keys;
  // Of the home loop.
  std::string jwks_url;
  bool asking = false, dropped = false;
  reactor::event asked;
  result<void> outcome;
  time_point asked_at{};
  bool ever_asked = false;
};

jwt_issuers::jwt_issuers(std::vector<std::string> api_audiences, reactor::loop& home, reactor::network* network)
    : api_audiences_(std::move(api_audiences)),
      home_(home),
      client_(network),
      current_(std::make_shared<const issuers>()) {}
jwt_issuers::~jwt_issuers() = default;

void jwt_issuers::use(std::vector<jwt_issuer_settings> settings) {
  auto before = current_.load();
  auto now = std::make_shared<issuers>();
  for (auto& s : settings) {
    auto made = std::make_shared<issuer>();
    for (auto& known : *before)
      if (same(known->settings, s)) {
        made->keys = known->keys.load();
        made->jwks_url = known->jwks_url;
      }
    auto tls = net::tls_client_context::make(
        {.ca_pem = s.certificate_authority.empty() ? std::nullopt : std::optional(s.certificate_authority),
         .alpn = {"h2", "http/1.1"}});
    if (tls) made->tls = *std::move(tls);
    made->settings = std::move(s);
    now->push_back(std::move(made));
  }
  for (auto& known : *before) known->dropped = true;
  for (auto& one : *now) running_.spawn(look_after(one));
  current_ = std::move(now);
}

void jwt_issuers::stop() { running_.cancel(); }

// Until its keys are there; those that come later are fetched when a token wants them.
task<void> jwt_issuers::look_after(std::shared_ptr<issuer> of) {
  while (!of->dropped && !of->keys.load()) {
    if (auto done = co_await refresh(of); !done)
      log::error("oidc authenticator: issuer {} can't be asked: {}", quote(of->settings.url), done.error().message);
    else
      co_return;
    co_await reactor::sleep_for(oidc_retry_pause);
  }
}

task<result<json::value>> jwt_issuers::get(issuer& of, std::string url) {
  KEDGE_CO_TRY(auto target, net::http::parse_url(url, of.tls));
  net::http::client_request q;
  q.to = std::move(target.first);
  q.path = std::move(target.second);
  q.headers.add("Accept", "application/json");
  q.headers.add("User-Agent", "kube-apiserver");
  auto answer = co_await reactor::with_deadline(client_.fetch(std::move(q), oidc_document_max_bytes),
                                                reactor::loop::current().now() + oidc_fetch_time);
  if (!answer) co_return fail(std::move(answer).error().with(url + ": "));
  if (answer->status != 200) co_return fail(errc::unavailable, fmt::format("{}: it answered {}", url, answer->status));
  auto document = json::parse(answer->body);
  if (!document) co_return fail(errc::protocol, fmt::format("{}: it answered what is no JSON", url));
  co_return std::move(document);
}

task<result<void>> jwt_issuers::fetch_keys(issuer& of) {
  auto& s = of.settings;
  if (of.jwks_url.empty()) {
    std::string_view base = s.url;
    if (base.ends_with('/')) base.remove_suffix(1);
    auto where = s.discovery_url.empty() ? std::string(base) + "/.well-known/openid-configuration" : s.discovery_url;
    KEDGE_CO_TRY(auto provider, co_await get(of, where));
    const auto issuer_said = provider["issuer"].as_string();
    if (issuer_said != s.url)
      co_return fail(errc::invalid,
                     fmt::format("oidc: issuer did not match the issuer returned by provider, expected {} got {}",
                                 quote(s.url), quote(issuer_said)));
    auto found = provider["jwks_uri"].as_string();
    if (!found.starts_with("https://")) co_return fail(errc::invalid, "provider did not return JWKS URL");
    of.jwks_url = found;
  }
  KEDGE_CO_TRY(auto document, co_await get(of, of.jwks_url));
  KEDGE_CO_TRY(auto keys, crypto::parse_jwks(document));
  of.keys = std::make_shared<const key_set>(std::move(keys));
  co_return result<void>();
}

// On the home loop: once for all who wait.
task<result<void>> jwt_issuers::refresh(std::shared_ptr<issuer> of) {
  auto& l = reactor::loop::current();
  if (of->asking) {
    co_await of->asked.wait();
    co_return of->outcome;
  }
  // Tokens that are signed by nobody's key come as often as their sender likes.
  if (of->ever_asked && l.now() - of->asked_at < oidc_refresh_pause) co_return of->outcome;
  of->asking = of->ever_asked = true;
  of->asked.reset();
  // Dropped while it asks (the server stops): whoever waits is dropped with it.
  struct over {
    issuer& of;
    ~over() {
      of.asking = false;
      if (reactor::loop::try_current()) of.asked.set();
    }
  } ends{*of};
  of->outcome = co_await fetch_keys(*of);
  of->asked_at = l.now();
  co_return of->outcome;
}

task<result<std::optional<token_identity>>> jwt_issuers::identify(std::string token, std::vector<std::string> wanted) {
  auto all = current_.load();
  if (all->empty()) co_return std::nullopt;
  auto parsed = crypto::parse_jws(token);
  if (!parsed) co_return std::nullopt;
  auto found = std::ranges::find_if(*all, [&](auto& i) { return i->settings.url == issuer_named(parsed->claims); });
  if (found == all->end()) co_return std::nullopt;
  auto of = *found;
  const auto now = reactor::loop::current().wall_now();
  auto keys = of->keys.load();
  if (!keys) co_return refuse("authenticator not initialized");
  KEDGE_CO_CHECK(check_claims(parsed->claims, of->settings, now));
  if (std::ranges::find(of->settings.algorithms, parsed->algorithm) == of->settings.algorithms.end())
    co_return refuse(fmt::format("verify token: oidc: id token signed with unsupported algorithm, expected {} got {}",
                                 quoted_list(of->settings.algorithms), quote(parsed->algorithm)));
  auto is_signed = [&](const key_set& set) {
    return std::ranges::any_of(set, [&](auto& key) { return crypto::is_signed_by(*parsed, key); });
  };
  if (!is_signed(*keys)) {
    auto renewed = co_await reactor::call_on(home_, [this, of] { return refresh(of); });
    if (!renewed)
      co_return refuse("verify token: failed to verify signature: fetching keys " + renewed.error().message);
    keys = of->keys.load();
    if (!is_signed(*keys))
      co_return refuse("verify token: failed to verify signature: failed to verify id token signature");
  }
  KEDGE_CO_TRY(auto user, user_of_claims(parsed->claims, of->settings));
  auto audiences = api_audiences_;
  if (!wanted.empty()) std::erase_if(audiences, [&](auto& a) { return std::ranges::find(wanted, a) == wanted.end(); });
  if (audiences.empty()) co_return std::nullopt;
  co_return token_identity{std::move(user), std::move(audiences)};
}

}  // namespace kedge::api
