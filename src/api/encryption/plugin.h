// plugin.h: the calls of a KMS plugin (k8s.io/kms v2) over its unix socket. Each ends within the provider's timeout.
#pragma once

#include <string>

#include "api/encryption/configuration.h"
#include "api/encryption/envelope.h"
#include "api/encryption/observer.h"
#include "net/grpc.h"

namespace kedge::api::encryption {

struct plugin_status {
  std::string version, health, key_id;
};

class plugin {
 public:
  // `told` of each call; null: nobody.
  explicit plugin(const kms_settings& s, reactor::network* network = nullptr, kms_observer* told = nullptr);

  task<result<plugin_status>> status();
  // `uid` names the call in the plugin's log.
  task<result<encrypted_seed>> encrypt(std::string uid, std::string seed);
  task<result<std::string>> decrypt(std::string uid, encrypted_seed seed);

 private:
  task<result<std::string>> call(std::string_view method, std::string message);
  net::grpc::channel channel_;
  duration timeout_;
  std::string name_;
  kms_observer* told_;
};

}  // namespace kedge::api::encryption
