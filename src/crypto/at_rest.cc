#include "crypto/at_rest.h"

#include <optional>

#include "base/bytes.h"
#include "base/strings.h"
#include "crypto/aead.h"
#include "crypto/digest.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::crypto {

namespace {

constexpr std::string_view encrypted_prefix = "k8s:enc:";
constexpr std::string_view version = "v1:";
constexpr std::size_t key_bytes = 32;

std::string prefix_of(cipher kind, std::string_view key_name) {
  std::string out(encrypted_prefix);
  return out.append(name_of(kind)).append(":").append(version).append(key_name).append(":");
}

result<std::string> seal_with(cipher kind, const at_rest_key& key, std::string_view plain,
                              std::string_view datastore_key, random_source& random) {
  switch (kind) {
    case cipher::aescbc: return cbc_seal(key.secret, random_bytes(random, cbc_vector_bytes), plain);
    case cipher::aesgcm: return gcm_seal(key.secret, random_bytes(random, gcm_nonce_bytes), plain, datastore_key);
    case cipher::secretbox: return secretbox_seal(key.secret, random_bytes(random, secretbox_nonce_bytes), plain);
    case cipher::identity: break;
  }
  return std::string(plain);
}

result<std::string> open_with(cipher kind, const at_rest_key& key, std::string_view sealed,
                              std::string_view datastore_key) {
  switch (kind) {
    case cipher::aescbc: return cbc_open(key.secret, sealed);
    case cipher::aesgcm: return gcm_open(key.secret, sealed, datastore_key);
    case cipher::secretbox: return secretbox_open(key.secret, sealed);
    case cipher::identity: break;
  }
  return std::string(sealed);
}

std::optional<cipher> cipher_of(std::string_view name) {
  for (auto c : {cipher::identity, cipher::aescbc, cipher::aesgcm, cipher::secretbox})
    if (name_of(c) == name) return c;
  return std::nullopt;
}

result<at_rest_key> parse_key(const json::value& v, cipher kind) {
  at_rest_key key{std::string(v["name"].as_string()), {}};
  // With ':' too: K3s names a key by the time of its rotation. A value is recognised by the whole name and the ':'
  // behind it.
  if (key.name.empty()) return fail(errc::invalid, "an encryption key needs a name");
  auto secret = unbase64(v["secret"].as_string());
  if (!secret) return fail(errc::invalid, "the secret of encryption key " + quote(key.name) + " is not base64");
  key.secret = std::move(*secret);
  auto n = key.secret.size();
  bool fits = kind == cipher::secretbox ? n == 32 : n == 16 || n == 24 || n == 32;
  if (!fits)
    return fail(errc::invalid, "the secret of encryption key " + quote(key.name) + " has " + std::to_string(n) +
                                   " bytes; " +
                                   (kind == cipher::secretbox ? "secretbox needs 32" : "AES needs 16, 24 or 32"));
  return key;
}

result<at_rest_provider> parse_provider(const json::value& v) {
  auto* fields = v.object();
  if (!fields || fields->size() != 1) return fail(errc::invalid, "an encryption provider must name exactly one kind");
  auto& [name, content] = *fields->begin();
  auto kind = cipher_of(name);
  if (!kind)
    return fail(errc::unsupported,
                "encryption provider " + quote(name) + " is not supported; use aescbc, aesgcm, secretbox or identity");
  at_rest_provider out{*kind, {}};
  if (*kind == cipher::identity) return out;
  auto* keys = content["keys"].array();
  if (!keys || keys->empty()) return fail(errc::invalid, "encryption provider " + quote(name) + " has no keys");
  for (auto& k : *keys) {
    KEDGE_TRY(auto key, parse_key(k, *kind));
    out.keys.push_back(std::move(key));
  }
  return out;
}

bool matches(std::string_view pattern, std::string_view resource, std::string_view group) {
  auto dot = pattern.find('.');
  auto p_resource = pattern.substr(0, dot);
  auto p_group = dot == std::string_view::npos ? std::string_view() : pattern.substr(dot + 1);
  return (p_resource == "*" || p_resource == resource) && (p_group == "*" || p_group == group);
}

}  // namespace

std::string_view name_of(cipher c) noexcept {
  switch (c) {
    case cipher::identity: return "identity";
    case cipher::aescbc: return "aescbc";
    case cipher::aesgcm: return "aesgcm";
    case cipher::secretbox: return "secretbox";
  }
  return "";
}

result<at_rest::opened> at_rest::open(std::string_view stored, std::string_view datastore_key) const {
  bool encrypted = stored.starts_with(encrypted_prefix);
  for (std::size_t p = 0; p < providers_.size(); ++p) {
    auto& provider = providers_[p];
    if (provider.kind == cipher::identity) {
      if (!encrypted) return opened{std::string(stored), p > 0};
      continue;
    }
    for (std::size_t k = 0; encrypted && k < provider.keys.size(); ++k) {
      auto prefix = prefix_of(provider.kind, provider.keys[k].name);
      if (!stored.starts_with(prefix)) continue;
      KEDGE_TRY(auto plain, open_with(provider.kind, provider.keys[k], stored.substr(prefix.size()), datastore_key));
      return opened{std::move(plain), p > 0 || k > 0};
    }
  }
  // The prefix is no secret; what follows its fifth colon is ciphertext.
  return fail(errc::unsupported, encrypted ? "the value was encrypted with a provider or key that isn't configured"
                                           : "the value isn't encrypted, and identity isn't configured");
}

bool at_rest::is_newest(std::string_view stored) const {
  if (writes_plain()) return !stored.starts_with(encrypted_prefix);
  auto& first = providers_.front();
  return !first.keys.empty() && stored.starts_with(prefix_of(first.kind, first.keys.front().name));
}

result<std::string> at_rest::seal(std::string_view plain, std::string_view datastore_key, random_source& random) const {
  if (writes_plain()) return std::string(plain);
  auto& provider = providers_.front();
  if (provider.keys.empty()) return fail(errc::invalid, "the first encryption provider has no keys");
  KEDGE_TRY(auto sealed, seal_with(provider.kind, provider.keys.front(), plain, datastore_key, random));
  return prefix_of(provider.kind, provider.keys.front().name) + sealed;
}

result<encryption_config> encryption_config::parse(std::string_view text) {
  auto first = trim(text);
  KEDGE_TRY(auto document, first.starts_with('{') ? json::parse(first) : json::parse_yaml(text));
  if (document["kind"].as_string() != "EncryptionConfiguration")
    return fail(errc::invalid, "encryption configuration must be of kind EncryptionConfiguration");
  auto* list = document["resources"].array();
  if (!list || list->empty()) return fail(errc::invalid, "encryption configuration has no resources");
  encryption_config out;
  for (auto& item : *list) {
    std::vector<std::string> names;
    if (auto* resources = item["resources"].array())
      for (auto& r : *resources) names.emplace_back(r.as_string());
    std::vector<at_rest_provider> providers;
    if (auto* all = item["providers"].array())
      for (auto& v : *all) {
        KEDGE_TRY(auto provider, parse_provider(v));
        providers.push_back(std::move(provider));
      }
    if (names.empty() || providers.empty())
      return fail(errc::invalid, "each entry of an encryption configuration needs resources and providers");
    out.entries_.push_back({std::move(names), at_rest(std::move(providers))});
  }
  return out;
}

const at_rest& encryption_config::for_resource(std::string_view resource, std::string_view group) const {
  for (auto& e : entries_)
    for (auto& pattern : e.resources)
      if (matches(pattern, resource, group)) return e.rules;
  return identity_;
}

std::string make_encryption_config(cipher kind, random_source& random) {
  json::object key;
  key.set("name", std::string(name_of(kind)) + "key");
  key.set("secret", base64(as_bytes(random_bytes(random, key_bytes))));
  json::value first, identity, entry, document;
  first.member(name_of(kind)).member("keys").push_back(std::move(key));
  identity.set("identity", json::object());
  entry.member("resources").push_back("secrets");
  entry.member("providers").push_back(std::move(first));
  entry.member("providers").push_back(std::move(identity));
  document.set("kind", "EncryptionConfiguration");
  document.set("apiVersion", "apiserver.config.k8s.io/v1");
  document.member("resources").push_back(std::move(entry));
  return json::write(document);
}

std::string encryption_hash(std::string_view stage, std::string_view config) {
  return std::string(stage) + "-" + sha256_hex(as_bytes(config));
}

}  // namespace kedge::crypto
