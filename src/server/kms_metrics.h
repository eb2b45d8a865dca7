// kms_metrics.h: what /metrics tells of KMS plugins, under kube-apiserver's names.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <tuple>

#include "api/encryption/observer.h"
#include "api/metrics/metrics.h"

namespace kedge::server {

// Outlives the providers; `all` outlives this, and is asked for text no more after that.
class kms_metrics final : public api::encryption::kms_observer {
 public:
  // `instance`: the hash of this API server's name.
  kms_metrics(api::metrics& all, std::string instance);

  void called(std::string_view provider, std::string_view method, const error* failure, duration took) override;
  void used(std::string_view provider, std::string_view key_id, bool sealed) override;
  void told(std::string_view provider, std::string_view key_id, std::string_view wrong) override;
  void holds(std::string_view provider, std::size_t seeds) override;

 private:
  struct use {
    std::uint64_t count = 0;
    double last_seconds = 0;
  };
  // By what was done (empty: it was told), provider and the key's hash.
  using uses = std::map<std::tuple<std::string, std::string, std::string>, use>;
  void note(uses& of, std::string_view what, std::string_view provider, std::string_view key_id);
  const std::string& hash_of(std::string_view key_id);
  std::string text() const;

  api::metrics& all_;
  const std::string instance_;
  mutable std::mutex mutex_;
  uses used_, told_;
  std::map<std::string, std::string, std::less<>> hashes_;
};

}  // namespace kedge::server
