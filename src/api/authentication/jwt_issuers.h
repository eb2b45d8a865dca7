// jwt_issuers.h: tokens of OpenID Connect issuers.
//
//   token ─▶ whose is it? (`iss`, untrusted) ─▶ kept keys of that issuer ─▶ signature, times, audience ─▶ claims ─▶
//   user
//                                     │ a key that isn't known
//                                     └─▶ home loop: discovery, JWKS, once for all who wait, not more than once a
//                                     second
//
// One for all cores; keys are fetched ahead, so that requests wait for an issuer only when its keys have changed. An
// issuer that is away stops nobody but those whose tokens are of keys not seen yet.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "api/authentication/configuration.h"
#include "api/authentication/token_source.h"
#include "crypto/jws.h"
#include "net/http/client.h"
#include "reactor/loop.h"
#include "reactor/scope.h"
#include "reactor/sync.h"

namespace kedge::api {

class jwt_issuers final : public token_source {
 public:
  // On the home loop. `api_audiences`: what a token of an issuer is for, when a review asks.
  jwt_issuers(std::vector<std::string> api_audiences, reactor::loop& home, reactor::network* network = nullptr);
  ~jwt_issuers() override;

  // From now on these count, on all cores. On the home loop. Those whose settings stay keep their keys.
  void use(std::vector<jwt_issuer_settings> settings);
  // Fetches nothing more. On the home loop, after the last request.
  void stop();

  task<result<std::optional<token_identity>>> identify(std::string token, std::vector<std::string> wanted) override;

  struct issuer;

 private:
  using issuers = std::vector<std::shared_ptr<issuer>>;
  task<result<void>> refresh(std::shared_ptr<issuer> of);
  task<result<void>> fetch_keys(issuer& of);
  task<result<json::value>> get(issuer& of, std::string url);
  task<void> look_after(std::shared_ptr<issuer> of);

  const std::vector<std::string> api_audiences_;
  reactor::loop& home_;
  net::http::client client_;
  // Swapped as a whole, read by every core: an atomic pointer to what never changes.
  std::atomic<std::shared_ptr<const issuers>> current_;
  reactor::scope running_;
};

}  // namespace kedge::api
