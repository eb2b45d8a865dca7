// at_rest.h: values encrypted in the datastore, as kube-apiserver writes and reads them.
//
//   k8s:enc:aescbc:v1:<key name>:<vector || ciphertext>
//   k8s:enc:aesgcm:v1:<key name>:<nonce || ciphertext || tag>      the datastore key is associated data
//   k8s:enc:secretbox:v1:<key name>:<nonce || box>
//   anything else                                                   identity: the value itself
//
// A configuration lists providers for resources; the first writes, and each value says by its prefix who reads it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/random.h"

namespace kedge::crypto {

enum class cipher : unsigned char { identity, aescbc, aesgcm, secretbox };
std::string_view name_of(cipher c) noexcept;

struct at_rest_key {
  std::string name;
  std::string secret;  // raw: 32 bytes for secretbox; 16, 24 or 32 for AES
};
struct at_rest_provider {
  cipher kind = cipher::identity;
  std::vector<at_rest_key> keys;  // the first writes; none for identity
};

class at_rest {
 public:
  at_rest() : providers_(1) {}  // identity alone
  explicit at_rest(std::vector<at_rest_provider> providers) : providers_(std::move(providers)) {}

  struct opened {
    std::string plain;
    bool stale = false;  // not written by the first provider's first key: a no-op update would rewrite it
  };
  // `datastore_key` is the object's key there (/registry/secrets/…). An unknown prefix or key is an error of this value
  // alone: errc::unsupported; a value that doesn't decrypt: errc::unauthenticated or errc::corrupt.
  result<opened> open(std::string_view stored, std::string_view datastore_key) const;
  result<std::string> seal(std::string_view plain, std::string_view datastore_key, random_source& random) const;

  // Whether the first provider's first key would write this value.
  bool is_newest(std::string_view stored) const;

  // Whether values are written as they are.
  bool writes_plain() const { return providers_.empty() || providers_.front().kind == cipher::identity; }
  const std::vector<at_rest_provider>& providers() const { return providers_; }

 private:
  std::vector<at_rest_provider> providers_;
};

// An EncryptionConfiguration (apiserver.config.k8s.io/v1).
class encryption_config {
 public:
  encryption_config() = default;  // nothing is encrypted
  // JSON, or YAML as users of --encryption-provider-config write it. errc::invalid names what is wrong, no secret.
  static result<encryption_config> parse(std::string_view text);

  // The providers for a resource ("secrets", group ""); wildcards `*.` (core group), `*.<group>` and `*.*` as in
  // Kubernetes; the first entry that fits. Identity when none does.
  const at_rest& for_resource(std::string_view resource, std::string_view group) const;

 private:
  struct entry {
    std::vector<std::string> resources;
    at_rest rules;
  };
  std::vector<entry> entries_;
  at_rest identity_;
};

// K3s's cred/encryption-config.json for `secrets`: one new 32-byte key named aescbckey or secretboxkey, and identity.
// `kind` is aescbc or secretbox.
std::string make_encryption_config(cipher kind, random_source& random);
// K3s's cred/encryption-state.json and node annotation: `<stage>-<SHA-256 of the configuration's bytes in hex>`.
std::string encryption_hash(std::string_view stage, std::string_view config);

}  // namespace kedge::crypto
