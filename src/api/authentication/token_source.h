// token_source.h: bearer tokens that others vouch for: issuers of JWTs, a webhook. Asking may take a while.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "api/authentication/tokens.h"
#include "reactor/task.h"

namespace kedge::api {

class token_source {
 public:
  virtual ~token_source() = default;
  // Who the token speaks for, and which of the wanted audiences it is for. nullopt: it is none of this source's. An
  // error is for the log and for a review, and holds nothing of the token.
  virtual task<result<std::optional<token_identity>>> identify(std::string token, std::vector<std::string> wanted) = 0;
};

}  // namespace kedge::api
