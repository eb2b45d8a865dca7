// configuration.h: which resources are encrypted in the datastore, and how: apiserver.config.k8s.io
// EncryptionConfiguration, as users write it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/encryption/limits.h"
#include "base/error.h"
#include "base/time.h"
#include "crypto/at_rest.h"

namespace kedge::api::encryption {

// A plugin that keeps the keys, behind a unix socket.
struct kms_settings {
  std::string name, socket;
  duration timeout = plugin_timeout;  // of each call
  bool operator==(const kms_settings&) const = default;
};

struct provider_settings {
  crypto::at_rest_provider local;  // not looked at with a plugin
  std::optional<kms_settings> kms;
};

struct rule_settings {
  std::vector<std::string> resources;        // "secrets", "widgets.example.com", "*.", "*.apps", "*.*"
  std::vector<provider_settings> providers;  // the first writes, all are read
};

// An error names all that is wrong, by path and in kube-apiserver's words, and no secret.
result<std::vector<rule_settings>> parse_encryption(std::string_view text);

}  // namespace kedge::api::encryption
