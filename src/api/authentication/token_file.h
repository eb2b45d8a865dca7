// token_file.h: tokens that stand in a file (--token-auth-file): token,user,uid,"group1,group2" in each line.
#pragma once

#include <memory>
#include <unordered_map>

#include "api/authentication/token_source.h"
#include "base/strings.h"

namespace kedge::api {

// Immutable, shared by all cores.
class token_file final : public token_source {
 public:
  // An error names the line. What is no token is told in `warnings`, as kube-apiserver does, and passed over.
  static result<std::shared_ptr<token_file>> parse(std::string_view text, std::vector<std::string>& warnings);
  // What its tokens are for.
  void for_audiences(std::vector<std::string> api_audiences) { api_audiences_ = std::move(api_audiences); }

  task<result<std::optional<token_identity>>> identify(std::string token, std::vector<std::string> wanted) override;

 private:
  std::unordered_map<std::string, user_ref, string_hash, std::equal_to<>> users_;  // by the token's fingerprint
  std::vector<std::string> api_audiences_;
};

}  // namespace kedge::api
