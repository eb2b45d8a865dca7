#include "crypto/token.h"

#include <algorithm>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/strings.h"
#include "crypto/certificate.h"
#include "crypto/digest.h"
#include "crypto/limits.h"

namespace kedge::crypto {

namespace {

constexpr std::string_view prefix = "K10";
constexpr std::string_view separator = "::";
constexpr std::size_t hash_length = 64;  // SHA-256 in hexadecimal digits
constexpr std::size_t bootstrap_id_length = 6, bootstrap_secret_length = 16;

bool is_lower_alphanumeric(std::string_view text) {
  for (char c : text)
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))) return false;
  return true;
}

result<void> check_password(std::string_view password) {
  if (password.size() > token_password_max_bytes)
    return fail(errc::too_large, "the token's password is longer than 3968 bytes");
  return {};
}

result<token> parse_credentials(std::string hash, std::string_view credentials) {
  token out{.ca_hash = std::move(hash)};
  if (is_bootstrap_token(credentials)) {
    out.bearer = credentials;
    return out;
  }
  auto colon = credentials.find(':');
  if (colon == std::string_view::npos || colon + 1 == credentials.size())
    return fail(errc::invalid, "invalid token format");
  out.user = credentials.substr(0, colon);
  out.password = credentials.substr(colon + 1);
  KEDGE_CHECK(check_password(out.password));
  return out;
}

}  // namespace

bool is_bootstrap_token(std::string_view text) {
  return text.size() == bootstrap_id_length + 1 + bootstrap_secret_length && text[bootstrap_id_length] == '.' &&
         is_lower_alphanumeric(text.substr(0, bootstrap_id_length)) &&
         is_lower_alphanumeric(text.substr(bootstrap_id_length + 1));
}

std::string token::authorization() const {
  if (!bearer.empty()) return "Bearer " + bearer;
  if (user.empty()) return {};
  return "Basic " + base64(as_bytes(user + ":" + password));
}

std::string token::format() const {
  std::string out(prefix);
  out.append(ca_hash).append(separator);
  if (!bearer.empty()) return out + bearer;
  return out.append(user).append(":").append(password);
}

result<token> parse_token(std::string_view text) {
  if (text.empty()) return fail(errc::invalid, "token must not be empty");
  if (text.size() > token_max_bytes) return fail(errc::too_large, "token is longer than 4096 bytes");
  if (!text.starts_with(prefix)) {
    // As K3s: a bare bootstrap token is `K10::<token>`, everything else `K10:::<password>`.
    if (is_bootstrap_token(text)) return token{.bearer = std::string(text)};
    KEDGE_CHECK(check_password(text));
    return token{.password = std::string(text)};
  }
  text.remove_prefix(prefix.size());
  auto at = text.find(separator);
  if (at == std::string_view::npos) return parse_credentials({}, text);
  if (at != 0 && at != hash_length) return fail(errc::invalid, "invalid token CA hash length");
  return parse_credentials(std::string(text.substr(0, at)), text.substr(at + separator.size()));
}

result<token> parse_token(std::string_view text, std::string_view user) {
  KEDGE_TRY(auto t, parse_token(text));
  if (t.bearer.empty()) t.user = user;
  return t;
}

result<std::string> normalize_token(std::string_view text) {
  auto t = parse_token(text);
  if (!t || t->password.empty())
    return fail(
        errc::invalid,
        "failed to normalize server token; must be in format K10<CA-HASH>::<USERNAME>:<PASSWORD> or <PASSWORD>");
  return std::move(t->password);
}

std::string_view password_of_token(std::string_view text, std::string_view user) {
  if (!text.starts_with(prefix)) return text;
  auto mark = "::" + std::string(user) + ":";
  auto at = text.find(mark);
  return at == std::string_view::npos ? text : text.substr(at + mark.size());
}

std::string generate_token(random_source& random) { return random.hex_text(16); }

std::string generate_bootstrap_token(random_source& random) {
  static constexpr std::string_view alphabet = "0123456789abcdefghijklmnopqrstuvwxyz";
  std::string out;
  for (std::size_t i = 0; i < bootstrap_id_length + bootstrap_secret_length; ++i) {
    if (i == bootstrap_id_length) out += '.';
    out += alphabet[random.below(alphabet.size())];
  }
  return out;
}

result<std::string> ca_hash(std::string_view bundle_pem, wall_time now) {
  KEDGE_TRY(auto bundle, parse_bundle(bundle_pem));
  if (auto root = root_of(bundle, now)) return root->fingerprint_sha256();
  return sha256_hex(as_bytes(bundle_pem));
}

std::string authorities_mark(std::string_view server_ca_pem, std::string_view client_ca_pem) {
  return "\"" + sha256_hex(as_bytes(std::string(server_ca_pem).append(1, '\0').append(client_ca_pem))) + "\"";
}

namespace {

// The authority of the bundle that the token's hash names and the bundle's signer leads to: its root, or the one that
// was the whole bundle when the token was made.
result<certificate> named_authority(const token& t, std::span<const certificate> bundle, wall_time now) {
  if (bundle.size() > authority_bundle_max)
    return fail(errc::too_large,
                "the Cluster CA's bundle has more than " + std::to_string(authority_bundle_max) + " certificates");
  if (auto root = root_of(bundle, now); root && equal_secret(t.ca_hash, root->fingerprint_sha256())) return *root;
  for (auto& one : bundle) {
    const bool named =
        equal_secret(t.ca_hash, sha256_hex(as_bytes(one.pem()))) || equal_secret(t.ca_hash, one.fingerprint_sha256());
    if (named && leads_to(bundle, std::span(&one, 1), now)) return one;
  }
  return fail(errc::unauthenticated, "");
}

}  // namespace

result<void> check_ca_hash(const token& t, std::string_view bundle_pem, wall_time now) {
  if (t.ca_hash.empty()) return {};
  KEDGE_TRY(auto hash, ca_hash(bundle_pem, now));
  if (equal_secret(t.ca_hash, hash)) return {};
  KEDGE_TRY(auto bundle, parse_bundle(bundle_pem));
  if (bundle.size() > 1 && named_authority(t, bundle, now)) return {};
  return fail(errc::unauthenticated,
              "token CA hash does not match the Cluster CA certificate hash: " + t.ca_hash + " != " + hash);
}

result<std::string> vouched_ca(const token& t, std::string_view bundle_pem, wall_time now) {
  KEDGE_CHECK(check_ca_hash(t, bundle_pem, now));
  if (t.ca_hash.empty() || equal_secret(t.ca_hash, sha256_hex(as_bytes(bundle_pem)))) return std::string(bundle_pem);
  KEDGE_TRY(auto bundle, parse_bundle(bundle_pem));
  KEDGE_TRY(auto named, named_authority(t, bundle, now));
  std::vector<certificate> good;
  for (auto& one : bundle) {
    std::vector<certificate> path{one};
    path.insert(path.end(), bundle.begin(), bundle.end());
    if (leads_to(path, std::span(&named, 1), now)) good.push_back(one);
  }
  // The self-signed form of one that is good: it vouches for nothing that the other doesn't.
  std::string out = write_bundle(good);
  for (auto& one : bundle) {
    const auto same_key = [&](const certificate& other) { return other.key() == one.key(); };
    if (std::ranges::find(good, one) == good.end() && std::ranges::any_of(good, same_key)) out += one.pem();
  }
  return out;
}

}  // namespace kedge::crypto
