// envelope.h: a value as KMS v2 writes it (k8s:enc:kms:v2:<provider>:<EncryptedObject>): sealed with a key derived from
// a seed, beside the seed as the plugin has encrypted it.
//
//   data = info (32 bytes) || nonce || ciphertext || tag      key = HKDF-Expand-SHA256(seed, info), AES-256-GCM,
//                                                             the datastore key is associated data
//
// Values of kube-apiserver 1.28 and before are sealed with the plugin's key itself: data = nonce || ciphertext || tag.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/random.h"

namespace kedge::api::encryption {

// How the plaintext of `encrypted_seed` gives the key.
enum class seed_kind : int { key_itself = 0, derived = 1 };

// What the plugin made of a seed, and needs to open it again.
struct encrypted_seed {
  std::string key_id;  // of the plugin's own key
  std::string text;
  std::map<std::string, std::string> annotations;
  seed_kind kind = seed_kind::derived;

  // What a plugin may say. Errors in kube-apiserver's words.
  result<void> check() const;
  auto operator<=>(const encrypted_seed&) const = default;
};

struct envelope {
  encrypted_seed seed;
  std::string_view data;  // of the text that was read

  // errc::corrupt: it is none.
  static result<envelope> read(std::string_view text);
};

// The envelope of `plain` under the seed, of 32 bytes.
result<std::string> seal_envelope(const encrypted_seed& seed, std::string_view opened_seed, std::string_view plain,
                                  std::string_view datastore_key, random_source& random);
result<std::string> open_envelope(const envelope& e, std::string_view opened_seed, std::string_view datastore_key);

}  // namespace kedge::api::encryption
