// webhook_tokens.h: tokens that another server reviews (authentication.k8s.io TokenReview).
#pragma once

#include "api/authentication/token_source.h"
#include "api/remote/remote.h"

namespace kedge::api {

// One a core.
class webhook_tokens final : public token_source {
 public:
  // `version`: "v1" or "v1beta1" of the reviews. `api_audiences`: what a token is for when the answer doesn't say.
  webhook_tokens(std::shared_ptr<const remote_server> server, std::string version,
                 std::vector<std::string> api_audiences, reactor::network* network = nullptr)
      : to_(std::move(server), network), version_(std::move(version)), api_audiences_(std::move(api_audiences)) {}

  task<result<std::optional<token_identity>>> identify(std::string token, std::vector<std::string> wanted) override;

 private:
  remote to_;
  const std::string version_;
  const std::vector<std::string> api_audiences_;
};

// {username, uid, groups, extra} as a review has it.
user_info user_of_review(const json::value& user);

}  // namespace kedge::api
