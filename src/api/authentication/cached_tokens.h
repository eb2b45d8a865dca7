// cached_tokens.h: what another source said of a token, remembered for a while.
//
// One a core. Requests with the same token that come while it is asked about wait for the one answer. Errors are not
// remembered. A token is kept as its hash.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "api/authentication/token_source.h"
#include "base/strings.h"
#include "reactor/sync.h"

namespace kedge::api {

class cached_tokens final : public token_source {
 public:
  // `of` outlives this. How long a good answer counts, and that it isn't this source's; zero: not at all.
  cached_tokens(token_source& of, duration good, duration unknown) : of_(of), good_(good), unknown_(unknown) {}

  task<result<std::optional<token_identity>>> identify(std::string token, std::vector<std::string> wanted) override;

 private:
  struct answer;
  void forget_some();
  token_source& of_;
  duration good_, unknown_;
  std::unordered_map<std::string, std::shared_ptr<answer>, string_hash, std::equal_to<>> answers_;
};

}  // namespace kedge::api
