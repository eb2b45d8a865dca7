// rules.h: who seals and opens the values of which resource.
//
// Immutable once made. Of the loop that its plugins are kept on, and end on; what other cores ask, they ask of a
// rules_summary.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "api/encryption/configuration.h"
#include "api/encryption/provider.h"
#include "base/strings.h"

namespace kedge::api::encryption {

// What every core may know of a configuration, and hold as long as it likes: no plugin ends with it.
struct rules_summary {
  std::unordered_set<std::string, string_hash, std::equal_to<>> names;  // "secrets", "*.apps"
  std::vector<std::shared_ptr<const plugin_health>> plugins;

  // Whether the configuration names the resource of this key of the datastore.
  bool is_about(std::string_view key) const;
};

class rules {
 public:
  // `known`: plugins that stand already; those with the same settings are taken over.
  rules(const std::vector<rule_settings>& settings, const std::vector<std::shared_ptr<kms_provider>>& known,
        const std::function<std::shared_ptr<kms_provider>(const kms_settings&)>& make);

  rules_summary summary() const;
  // Nullopt: as it is.
  result<std::optional<std::string>> seal(std::string_view key, std::string_view plain) const;
  // By whichever provider wrote it. errc::unsupported: none of these.
  result<std::string> open(std::string_view key, std::string_view stored) const;
  // Whether a write now would seal it in the same way.
  bool is_newest(std::string_view key, std::string_view stored) const;
  // Whose seed has to be opened before the value can be; null: nobody's.
  std::shared_ptr<kms_provider> opener(std::string_view key, std::string_view stored, std::string_view& sealed) const;

  const std::vector<std::shared_ptr<kms_provider>>& plugins() const noexcept { return plugins_; }
  // Those that write.
  std::vector<std::shared_ptr<kms_provider>> writers() const;
  // Tells whether another configuration writes in another way.
  std::string writing() const;

 private:
  struct provider {
    crypto::at_rest local;  // of one provider
    std::shared_ptr<kms_provider> kms;
    std::string prefix;  // of what `kms` writes
  };
  using providers = std::vector<provider>;
  const providers* of(std::string_view key) const;

  std::unordered_map<std::string, providers, string_hash, std::equal_to<>> by_name_;  // "secrets", "*.apps"
  std::vector<std::shared_ptr<kms_provider>> plugins_;
  std::string writing_;
};

// The resource that an object's key in the datastore is of: "secrets", "deployments.apps"; nothing for what is none.
std::string resource_of_key(std::string_view key);

}  // namespace kedge::api::encryption
