// configuration.h: who is asked whether they may: apiserver.config.k8s.io AuthorizationConfiguration, or the
// authorization-… flags, which say the same.
//
// Immutable once it is read, and shared by all cores.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/authorization/match_conditions.h"
#include "api/remote/kubeconfig.h"
#include "base/time.h"

namespace kedge::api {

enum class authorizer_type : unsigned char { always_allow, always_deny, node, rbac, webhook };

struct authorization_webhook_settings {
  std::shared_ptr<const remote_server> server;
  std::string version = "v1beta1";  // of its reviews
  duration timeout = std::chrono::seconds(30);
  duration authorized_ttl = std::chrono::minutes(5), unauthorized_ttl = std::chrono::seconds(30);
  bool keeps_authorized = true, keeps_unauthorized = true;
  bool denies_on_error = false;  // failurePolicy Deny
  match_conditions asked_if;     // about other questions it isn't asked
};

struct authorizer_settings {
  authorizer_type type = authorizer_type::rbac;
  std::string name;
  authorization_webhook_settings webhook;  // of that type alone
};

using authorization_configuration = std::vector<authorizer_settings>;

// Blocking: it reads the kubeconfigs that it names. An error names all that is wrong, by path.
result<authorization_configuration> parse_authorization(std::string_view text);

// What --authorization-mode lists, in that order. `webhook` is asked where Webhook stands. errc::invalid for what isn't
// a mode, or stands twice.
result<authorization_configuration> authorization_of_modes(const std::vector<std::string>& modes,
                                                           const authorization_webhook_settings& webhook);

}  // namespace kedge::api
