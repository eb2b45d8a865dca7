#include "api/authentication/tokens.h"

#include <algorithm>

#include "api/authentication/limits.h"
#include "api/registry/lookup.h"
#include "crypto/digest.h"
#include "crypto/token.h"
#include "json/write.h"

namespace kedge::api {
namespace {

constexpr std::string_view claim_root = "kubernetes.io";

auto refuse(std::string why) { return fail(errc::unauthenticated, std::move(why)); }

std::int64_t seconds_of(wall_time t) {
  return std::chrono::duration_cast<std::chrono::seconds>(t.time_since_epoch()).count();
}

// metadata.deletionTimestamp plus the leeway; nullopt when it isn't being deleted.
std::optional<wall_time> ending_of(const json::value& object) {
  auto text = object["metadata"]["deletionTimestamp"].as_string();
  if (text.empty()) return std::nullopt;
  auto when = parse_rfc3339(text);
  return when ? *when + bound_object_leeway : wall_time{};
}

std::string secret_text(const json::value& secret, std::string_view key) {
  auto decoded = unbase64(secret["data"][key].as_string());
  return decoded ? std::move(*decoded) : std::string{};
}

// Claims of a token that lies in a Secret (legacy) in today's shape.
void modernise(json::value& claims) {
  constexpr std::string_view prefix = "kubernetes.io/serviceaccount/";
  auto legacy = [&](std::string_view name) {
    return std::string(claims[std::string(prefix) + std::string(name)].as_string());
  };
  if (legacy("namespace").empty() || claims[claim_root].is_object()) return;
  json::object account{{"name", legacy("service-account.name")}, {"uid", legacy("service-account.uid")}};
  json::object root{{"namespace", legacy("namespace")}, {"serviceaccount", std::move(account)}};
  root.set("secret", json::object{{"name", legacy("secret.name")}});
  claims.set("legacy", true);
  claims.set(claim_root, std::move(root));
}

bool is_bootstrap_group(std::string_view group) {
  constexpr std::string_view prefix = "system:bootstrappers:";
  auto rest = group.starts_with(prefix) ? group.substr(prefix.size()) : std::string_view{};
  auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !rest.empty() && rest.size() <= 256 && letter(rest.back()) &&
         std::all_of(rest.begin(), rest.end(), [&](char c) { return letter(c) || c == ':' || c == '-'; });
}

}  // namespace

result<void> token_authenticator::use(std::vector<crypto::public_key> keys) {
  KEDGE_TRY(verifier_, crypto::token_verifier::create(keys));
  settings_.keys = std::move(keys);
  checked_.clear();
  return {};
}

result<token_authenticator> token_authenticator::create(token_settings settings) {
  KEDGE_TRY(auto verifier, crypto::token_verifier::create(settings.keys));
  return token_authenticator(std::move(settings), std::move(verifier));
}

result<token_identity> token_authenticator::verify(std::string_view token, std::span<const std::string> wanted,
                                                   const store::snapshot& cluster, wall_time now) {
  if (token.size() > bearer_token_max_bytes) return refuse("the token is too long");
  if (crypto::is_bootstrap_token(token)) {
    if (!settings_.bootstrap_tokens) return refuse("bootstrap tokens are off");
    return verify_bootstrap(token, cluster, now);
  }
  return verify_service_account(token, wanted, cluster, now);
}

result<token_identity> token_authenticator::verify_bootstrap(std::string_view token, const store::snapshot& cluster,
                                                             wall_time now) const {
  auto id = token.substr(0, 6);
  auto name = "bootstrap-token-" + std::string(id);
  auto secret = read_object(cluster, object_key("secrets", "kube-system", name));
  auto unusable = [&](std::string_view why) {
    return refuse("secret kube-system/" + name + " is no usable bootstrap token: " + std::string(why));
  };
  if (!secret) return unusable("it isn't there");
  if (!(*secret)["metadata"]["deletionTimestamp"].is_null()) return unusable("it is being deleted");
  if ((*secret)["type"].as_string() != "bootstrap.kubernetes.io/token") return unusable("its type is another");
  if (secret_text(*secret, "token-id") != id || !equal_secret(secret_text(*secret, "token-secret"), token.substr(7)))
    return unusable("the secret differs");
  if (auto ends = secret_text(*secret, "expiration"); !ends.empty()) {
    auto when = parse_rfc3339(ends);
    if (!when || *when < now) return unusable("it has expired");
  }
  if (secret_text(*secret, "usage-bootstrap-authentication") != "true") return unusable("it isn't for authentication");
  user_info user;
  user.name = "system:bootstrap:" + std::string(id);
  user.groups.emplace_back("system:bootstrappers");
  auto extra = secret_text(*secret, "auth-extra-groups");
  if (!extra.empty())
    for (auto group : split(extra, ',')) {
      if (!is_bootstrap_group(group)) return unusable("it names a group that is none of system:bootstrappers");
      if (!user.in_group(group)) user.groups.emplace_back(group);
    }
  return token_identity{std::move(user), settings_.api_audiences};
}

std::string token_authenticator::fingerprint_of(std::string_view token) { return crypto::sha256(as_bytes(token)); }

result<user_ref> token_authenticator::identify(std::string_view token, std::string_view fingerprint,
                                               const store::snapshot& cluster, wall_time now) {
  if (crypto::is_bootstrap_token(token)) {
    KEDGE_TRY(auto who, verify(token, {}, cluster, now));
    return std::move(who.user);
  }
  KEDGE_TRY(auto known, find_checked(token, fingerprint, now));
  if (!known->second.for_api) return refuse("the token is for another audience");
  KEDGE_CHECK(check_objects(known->first, known->second, cluster, now));
  note_use(known->second, now);
  return known->second.user;
}

result<token_identity> token_authenticator::verify_service_account(std::string_view token,
                                                                   std::span<const std::string> wanted,
                                                                   const store::snapshot& cluster, wall_time now) {
  KEDGE_TRY(auto known, find_checked(token, fingerprint_of(token), now));
  auto audiences =
      audiences_of(known->second, wanted.empty() ? std::span<const std::string>(settings_.api_audiences) : wanted);
  if (audiences.empty()) return refuse("the token is for another audience");
  KEDGE_CHECK(check_objects(known->first, known->second, cluster, now));
  note_use(known->second, now);
  return token_identity{known->second.user, std::move(audiences)};
}

result<token_authenticator::checked_tokens::value_type*> token_authenticator::find_checked(std::string_view token,
                                                                                           std::string_view fingerprint,
                                                                                           wall_time now) {
  if (token.size() > bearer_token_max_bytes) return refuse("the token is too long");
  auto known = checked_.find(fingerprint);
  if (known == checked_.end()) {
    bool legacy_issuer = crypto::has_issuer(token, "kubernetes/serviceaccount");
    bool ours =
        legacy_issuer || std::any_of(settings_.issuers.begin(), settings_.issuers.end(),
                                     [&](const std::string& issuer) { return crypto::has_issuer(token, issuer); });
    if (!ours) return refuse("the token is of no issuer known here");
    KEDGE_TRY(auto claims, verifier_.verify(token));
    modernise(claims);
    // Only the secret's own tokens go without an end; the modern form without one is none of ours.
    if (legacy_issuer != claims["legacy"].as_bool()) return refuse("the token's claims are not its issuer's");
    if (!legacy_issuer && !claims["exp"].is_number()) return refuse("the token never expires");
    if (checked_.size() >= verified_tokens_max) checked_.clear();
    checked fresh;
    fresh.legacy = legacy_issuer;
    fresh.warn_after = claims[claim_root]["warnafter"].as_integer();
    fresh.claims = std::move(claims);
    fresh.for_api = !audiences_of(fresh, settings_.api_audiences).empty();
    known = checked_.emplace(std::string(fingerprint), std::move(fresh)).first;
  }
  KEDGE_CHECK(crypto::check_times(known->second.claims, now));
  return &*known;
}

void token_authenticator::note_use(const checked& c, wall_time now) const {
  if (!told_) return;
  if (c.legacy)
    told_(token_use::legacy);
  else if (c.warn_after != 0)
    told_(seconds_of(now) > c.warn_after ? token_use::stale : token_use::valid);
}

// Those of `wanted` that the token is for.
std::vector<std::string> token_authenticator::audiences_of(const checked& c,
                                                           std::span<const std::string> wanted) const {
  if (!c.claims["legacy"].as_bool()) return crypto::common_audiences(c.claims, wanted);
  // Legacy tokens name no audience: they are for the API.
  std::vector<std::string> out;
  for (auto& audience : wanted)
    if (std::find(settings_.api_audiences.begin(), settings_.api_audiences.end(), audience) !=
        settings_.api_audiences.end())
      out.push_back(audience);
  return out;
}

// The keys of what the token hangs on: its service account, and a pod, a secret or a node that it is bound to.
result<void> token_authenticator::find_keys(checked& c) {
  auto& root = c.claims[claim_root];
  auto ns = std::string(root["namespace"].as_string());
  auto name = std::string(root["serviceaccount"]["name"].as_string());
  if (ns.empty() || name.empty() || c.claims["sub"].as_string() != "system:serviceaccount:" + ns + ':' + name)
    return refuse("the token's subject is not its service account");
  auto& pod = root["pod"];
  auto& secret = root["secret"];
  auto& node = root["node"];
  if (pod.is_object()) c.bound_key = object_key("pods", ns, pod["name"].as_string());
  if (secret.is_object()) c.bound_key = object_key("secrets", ns, secret["name"].as_string());
  // A pod's token names the node for information only; a token bound to nothing else hangs on the node.
  if (node.is_object() && c.bound_key.empty()) c.node_key = object_key("minions", {}, node["name"].as_string());
  c.account_key = object_key("serviceaccounts", ns, name);
  return {};
}

result<void> token_authenticator::check_objects(const std::string& fingerprint, checked& c,
                                                const store::snapshot& cluster, wall_time now) const {
  if (c.account_key.empty()) KEDGE_CHECK(find_keys(c));
  auto account = cluster.find(c.account_key);
  store::object_ref bound, node_object;
  if (!c.bound_key.empty()) bound = cluster.find(c.bound_key);
  if (!c.node_key.empty()) node_object = cluster.find(c.node_key);

  auto version = [](const store::object_ref& o) { return o ? o->mod() : store::revision{0}; };
  bool there = account && (bound || c.bound_key.empty()) && (node_object || c.node_key.empty());
  bool same = c.account == version(account) && c.bound == version(bound) && c.node == version(node_object);
  if (there && same && c.account != 0) {
    if (c.good_until && *c.good_until < now) return refuse("what the token is bound to was deleted");
    return {};
  }
  c.account = 0;
  c.good_until.reset();

  auto& root = c.claims[claim_root];
  auto ns = std::string(root["namespace"].as_string());
  auto name = std::string(root["serviceaccount"]["name"].as_string());
  auto uid = root["serviceaccount"]["uid"].as_string();
  auto& pod = root["pod"];
  auto& secret = root["secret"];
  auto& node = root["node"];
  if (!account) return refuse("service account " + ns + '/' + name + " isn't there");
  if (!bound && !c.bound_key.empty()) return refuse("what the token is bound to isn't there");
  if (!node_object && !c.node_key.empty()) return refuse("the node that the token is bound to isn't there");
  auto parsed = read_object(account);
  if (!parsed || uid_of(*parsed) != uid)
    return refuse("service account " + ns + '/' + name + " is another one of that name");
  if (!(*parsed)["metadata"]["deletionTimestamp"].is_null())
    return refuse("service account " + ns + '/' + name + " is being deleted");
  auto check_bound = [&](const store::object_ref& object, const json::value& claim) -> result<void> {
    auto there = read_object(object);
    if (!there) return refuse("what the token is bound to can't be read");
    // Legacy tokens know only their secret's name: it must still hold this very token.
    if (c.claims["legacy"].as_bool() && crypto::sha256(as_bytes(secret_text(*there, "token"))) != fingerprint)
      return refuse("the token is not the one in its secret");
    if (!claim["uid"].is_null() && uid_of(*there) != claim["uid"].as_string())
      return refuse("what the token is bound to is another one of that name");
    if (auto ends = ending_of(*there)) {
      if (*ends < now) return refuse("what the token is bound to was deleted");
      c.good_until = ends;
    }
    return {};
  };
  if (bound) KEDGE_CHECK(check_bound(bound, pod.is_object() ? pod : secret));
  if (node_object) KEDGE_CHECK(check_bound(node_object, node));

  user_info user;
  user.name = c.claims["sub"].as_string();
  user.uid = uid;
  user.groups = {"system:serviceaccounts", "system:serviceaccounts:" + ns};
  auto extra = [&](std::string_view key, const json::value& value) {
    if (!value.as_string().empty())
      user.extra["authentication.kubernetes.io/" + std::string(key)] = {std::string(value.as_string())};
  };
  if (auto id = c.claims["jti"].as_string(); !id.empty()) extra("credential-id", "JTI=" + std::string(id));
  extra("pod-name", pod["name"]);
  extra("pod-uid", pod["uid"]);
  extra("node-name", node["name"]);
  extra("node-uid", node["uid"]);
  c.user = std::move(user);
  c.account = version(account);
  c.bound = version(bound);
  c.node = version(node_object);
  return {};
}

result<token_issuer> token_issuer::create(const crypto::private_key& key, std::string issuer,
                                          std::vector<std::string> api_audiences) {
  KEDGE_TRY(auto signer, crypto::token_signer::create(key));
  return token_issuer(std::move(signer), std::move(issuer), std::move(api_audiences));
}

result<std::string> token_issuer::issue(const request& r, wall_time now, random_source& random) const {
  auto issued = seconds_of(now);
  json::array audiences;
  for (auto& audience : r.audiences) audiences.emplace_back(audience);
  json::object root{{"namespace", r.ns}};
  auto named = [](const std::string& name, const std::string& uid) {
    return json::value(json::object{{"name", name}, {"uid", uid}});
  };
  if (!r.bound.node.empty()) root.set("node", named(r.bound.node, r.bound.node_uid));
  if (!r.bound.pod.empty()) root.set("pod", named(r.bound.pod, r.bound.pod_uid));
  if (!r.bound.secret.empty()) root.set("secret", named(r.bound.secret, r.bound.secret_uid));
  root.set("serviceaccount", named(r.account, r.account_uid));
  if (r.warn_after_seconds > 0) root.set("warnafter", issued + r.warn_after_seconds);
  json::value claims;
  claims.set("aud", std::move(audiences));
  claims.set("exp", issued + r.seconds);
  claims.set("iat", issued);
  claims.set("iss", issuer_);
  claims.set("jti", random.uuid());
  claims.set(claim_root, std::move(root));
  claims.set("nbf", issued);
  claims.set("sub", "system:serviceaccount:" + r.ns + ':' + r.account);
  return signer_.sign(claims);
}

std::string oidc_configuration(const token_settings& settings, std::string_view external, std::string_view jwks_uri) {
  std::vector<std::string> algorithms;
  for (auto& key : settings.keys) {
    auto algorithm = std::string(crypto::jwt_algorithm(key));
    if (!algorithm.empty() && std::find(algorithms.begin(), algorithms.end(), algorithm) == algorithms.end())
      algorithms.push_back(algorithm);
  }
  std::sort(algorithms.begin(), algorithms.end());
  json::array supported;
  for (auto& algorithm : algorithms) supported.emplace_back(algorithm);
  json::value out;
  out.set("issuer", settings.issuers.front());
  out.set("jwks_uri", jwks_uri.empty() ? std::string(external) + "/openid/v1/jwks" : std::string(jwks_uri));
  out.set("response_types_supported", json::array{"id_token"});
  out.set("subject_types_supported", json::array{"public"});
  out.set("id_token_signing_alg_values_supported", std::move(supported));
  return json::write(out);
}

result<std::string> oidc_keys(const token_settings& settings) {
  KEDGE_TRY(auto keys, crypto::jwks(settings.keys));
  return json::write(keys);
}

}  // namespace kedge::api
