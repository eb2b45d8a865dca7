#include "api/authentication/union.h"

#include <algorithm>

#include "api/authentication/limits.h"
#include "base/log.h"
#include "reactor/loop.h"

namespace kedge::api {
namespace {

using net::http::headers;

constexpr std::string_view authenticated = "system:authenticated";
constexpr std::string_view unauthenticated = "system:unauthenticated";
constexpr std::string_view anonymous_user = "system:anonymous";

void add_group(user_info& user, std::string_view group) {
  if (user.groups.size() < user_groups_max && !user.in_group(group)) user.groups.emplace_back(group);
}

// The rest of an Authorization header of that scheme; empty for another.
std::string_view credentials(const headers& h, std::string_view scheme) {
  auto value = trim(h.get("Authorization"));
  auto space = value.find(' ');
  if (space == value.npos || !iequals(value.substr(0, space), scheme)) return {};
  return trim(value.substr(space + 1));
}

std::string_view first_of(const headers& h, const std::vector<std::string>& names) {
  for (auto& name : names)
    if (auto value = h.get(name); !value.empty()) return value;
  return {};
}

// Extra keys in header names are lower-cased and may be percent-encoded.
std::string extra_key(std::string_view text) {
  auto key = lower(text);
  auto decoded = percent_decode(key, false);
  return decoded ? *decoded : key;
}

bool has_prefix_ignoring_case(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() && iequals(text.substr(0, prefix.size()), prefix);
}

user_ref with_group(const user_ref& user, std::string_view group) {
  if (user->in_group(group)) return user;
  user_info out = *user;
  add_group(out, group);
  return out;
}

user_info user_of(const crypto::certificate& leaf) {
  user_info user;
  user.name = leaf.subject().user;
  user.uid = leaf.subject().uid;
  for (auto& group : leaf.subject().groups) user.groups.push_back(group);
  user.extra["authentication.kubernetes.io/credential-id"] = {"X509SHA256=" + leaf.fingerprint_sha256()};
  return user;
}

}  // namespace

// What a connection's certificate says, found out once, but for what a clock that is set right changes. Kept beside the
// settings that it was checked against, so that a handler of other settings on the same connection does not take it
// over.
struct union_authenticator::connection_identity {
  const union_authenticator* owner = nullptr;
  unsigned trust = 0;
  bool presented = false;
  bool is_client = false;             // signed by the client CA
  bool is_front_proxy = false;        // signed by the request header CA, with an allowed name
  wall_time not_after{};              // a long connection outlives its certificate: then it is good no more
  std::optional<wall_time> untimely;  // when nothing but the time was wrong with it
  user_ref user;                      // of the client certificate
  // The bearer token that came last, and who it speaks for while the cluster stands at that revision: a client sends
  // the same one with each request. Compared only with what came over this very connection. Kept from its second use
  // on: a connection that is one watch has no second.
  std::size_t token_hash = 0;
  std::string token, token_fingerprint;
  store::revision token_at = 0;
  wall_time token_checked{};
  user_ref token_speaks_for, token_user;  // as the token says, and with the group that everybody has
};

union_authenticator::union_authenticator(authn_settings settings, token_authenticator* tokens, store::store& objects)
    : settings_(std::move(settings)), tokens_(tokens), objects_(objects) {}
union_authenticator::~union_authenticator() = default;

void union_authenticator::use(std::shared_ptr<const crypto::trust> client_ca,
                              std::shared_ptr<const crypto::trust> request_header_ca) {
  settings_.client_ca = std::move(client_ca);
  settings_.request_header_ca = std::move(request_header_ca);
  ++trust_;
}

union_authenticator::connection_identity& union_authenticator::identity_of(net::http::connection_info& connection,
                                                                           wall_time now) {
  auto known = std::static_pointer_cast<connection_identity>(connection.attachment);
  if (known && known->owner == this && known->trust == trust_) {
    // One of the two clocks may have been set since, while the connection stood.
    auto age = known->untimely ? now - *known->untimely : wall_time::duration();
    if (age < certificate_recheck && -age < certificate_recheck) return *known;
  }
  auto found = std::make_shared<connection_identity>();
  found->owner = this;
  found->trust = trust_;
  found->presented = !connection.peer_certificates.empty();
  std::vector<crypto::certificate> chain;
  for (auto& der : connection.peer_certificates) {
    auto parsed = crypto::certificate::from_der(as_bytes(der));
    if (!parsed) {
      log::debug("client certificate from {} can't be read: {}", connection.peer.text(), parsed.error().message);
      chain.clear();
      break;
    }
    chain.push_back(std::move(*parsed));
  }
  if (!chain.empty()) {
    auto& leaf = chain.front();
    found->not_after = leaf.not_after();
    auto by = [&](const crypto::trust& anchors) {
      auto verified = anchors.verify_client(chain, now);
      if (!verified && verified.error().code == errc::expired) found->untimely = now;
      return verified;
    };
    if (settings_.request_header_ca && by(*settings_.request_header_ca)) {
      auto& names = settings_.request_header_names;
      found->is_front_proxy =
          names.empty() || std::find(names.begin(), names.end(), leaf.subject().user) != names.end();
    }
    if (settings_.client_ca) {
      auto verified = by(*settings_.client_ca);
      if (verified && !leaf.subject().user.empty()) {
        found->is_client = true;
        auto user = user_of(leaf);
        add_group(user, authenticated);
        found->user = std::move(user);
      } else if (!verified && !found->is_front_proxy) {
        log::debug("client certificate of {} from {} is not accepted: {}", quote(leaf.subject().user),
                   connection.peer.text(), verified.error().message);
      }
    }
  }
  connection.attachment = found;
  return *found;
}

union_authenticator::outcome union_authenticator::basic(const headers& h, user_info& user) const {
  auto coded = credentials(h, "Basic");
  auto table = coded.empty() || !settings_.passwd ? nullptr : settings_.passwd();
  if (!table) return outcome::none;
  auto text = unbase64(coded);
  auto colon = text ? text->find(':') : std::string::npos;
  if (colon == std::string::npos) return outcome::bad;
  auto entry = table->verify(std::string_view(*text).substr(0, colon), std::string_view(*text).substr(colon + 1));
  if (!entry) return outcome::bad;
  user.name = entry->user;
  user.uid = entry->uid;
  user.groups = entry->groups;
  return outcome::good;
}

union_authenticator::outcome union_authenticator::front_proxy(const headers& h, const connection_identity& connection,
                                                              user_info& user) const {
  if (!connection.is_front_proxy) return outcome::none;
  auto name = first_of(h, settings_.username_headers);
  if (name.empty()) return outcome::none;
  user.name = name;
  user.uid = first_of(h, settings_.uid_headers);
  for (auto& header : settings_.group_headers)
    for (auto group : h.all(header)) add_group(user, group);
  for (auto& [field, value] : h)
    for (auto& prefix : settings_.extra_prefixes)
      if (has_prefix_ignoring_case(field, prefix))
        user.extra[extra_key(std::string_view(field).substr(prefix.size()))].push_back(value);
  return outcome::good;
}

union_authenticator::outcome union_authenticator::bearer(const headers& h, connection_identity& connection,
                                                         const store::snapshot& cluster, wall_time now,
                                                         user_ref& user) {
  auto given = credentials(h, "Bearer");
  const bool again = !given.empty() && given == connection.token;
  auto age = now - connection.token_checked;
  if (again && cluster.at() == connection.token_at && age >= age.zero() && age < token_recheck) {
    user = connection.token_user;
    return outcome::good;
  }
  std::string other;
  if (!again) other = given.empty() ? bearer_token(h) : std::string(given);
  auto& token = again ? connection.token : other;
  if (token.empty() || !tokens_) return token.empty() ? outcome::none : outcome::bad;
  auto fingerprint = again ? connection.token_fingerprint : token_authenticator::fingerprint_of(token);
  auto who = tokens_->identify(token, fingerprint, cluster, now);
  if (!who) {
    log::debug("bearer token is not accepted: {}", who.error().message);
    return outcome::bad;
  }
  user = again && who->is(connection.token_speaks_for) ? connection.token_user : with_group(*who, authenticated);
  if (!again) {
    auto hash = std::hash<std::string_view>{}(token);
    if (std::exchange(connection.token_hash, hash) != hash) return outcome::good;
    connection.token = std::move(other);
    connection.token_fingerprint = std::move(fingerprint);
  }
  connection.token_at = cluster.at();
  connection.token_checked = now;
  connection.token_speaks_for = *std::move(who);
  connection.token_user = user;
  return outcome::good;
}

api_result<user_ref> union_authenticator::identify(const headers& h, net::http::connection_info& connection,
                                                   const store::snapshot& cluster, wall_time now,
                                                   std::string_view path) {
  auto& of_connection = identity_of(connection, now);
  bool fresh = now < of_connection.not_after;
  bool failed = of_connection.presented && !(fresh && (of_connection.is_client || of_connection.is_front_proxy));
  user_info named;
  auto done = basic(h, named);
  failed |= done == outcome::bad;
  if (done != outcome::good && fresh) done = front_proxy(h, of_connection, named);
  if (done == outcome::good) {
    add_group(named, authenticated);
    return named;
  }
  if (fresh && of_connection.is_client) return of_connection.user;
  user_ref user;
  done = bearer(h, of_connection, cluster, now, user);
  if (done == outcome::good) return user;
  failed |= done == outcome::bad;
  // Another scheme, or credentials of no use: who tried to be somebody is not taken for nobody.
  auto& paths = settings_.anonymous_paths;
  if (failed || !settings_.anonymous || (!paths.empty() && std::find(paths.begin(), paths.end(), path) == paths.end()))
    return fail(unauthorized());
  static const user_ref nobody =
      user_info{.name = std::string(anonymous_user), .groups = {std::string(unauthenticated)}};
  return nobody;
}

task<api_result<user_ref>> union_authenticator::authenticate(net::http::exchange& e) {
  auto& q = e.request();
  auto who = identify(q.headers, e.connection(), objects_.current(), reactor::loop::current().wall_now(), q.path);
  if (who || settings_.others.empty()) co_return who;
  if (auto token = bearer_token(q.headers); !token.empty())
    if (auto found = co_await ask_others(std::move(token))) co_return *std::move(found);
  co_return who;
}

task<std::optional<user_ref>> union_authenticator::ask_others(std::string token) {
  if (token.size() > bearer_token_max_bytes) co_return std::nullopt;
  for (auto* source : settings_.others) {
    auto who = co_await source->identify(token, {});
    if (!who) log::debug("bearer token is not accepted: {}", who.error().message);
    if (who && *who) co_return with_group((*who)->user, authenticated);
  }
  co_return std::nullopt;
}

std::string bearer_token(const headers& h) {
  if (auto token = credentials(h, "Bearer"); !token.empty()) return std::string(token);
  constexpr std::string_view prefix = "base64url.bearer.authorization.k8s.io.";
  if (!h.has_token("Upgrade", "websocket") || !h.has_token("Connection", "Upgrade")) return {};
  std::string_view named;
  bool twice = false, others = false;
  for (auto field : h.all("Sec-WebSocket-Protocol"))
    for (auto protocol : split(field, ',')) {
      protocol = trim(protocol);
      const bool is_token = protocol.starts_with(prefix);
      others |= !is_token && !protocol.empty();
      twice |= is_token && !named.empty();
      if (is_token) named = protocol;
    }
  if (named.empty()) return {};
  // Without another protocol there is none that the answer could name. What can't be taken is a failed attempt, and not
  // none: the text itself is then tried, and refused.
  auto token = unbase64url(named.substr(prefix.size()));
  return token && !token->empty() && others && !twice ? *token : std::string(named);
}

}  // namespace kedge::api
