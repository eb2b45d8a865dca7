// claims.h: from a token's claims to a user: by the names of claims, or by expressions over them.
//
//   claims ─▶ username, groups, uid, extra ─▶ rules over the claims ─▶ rules over the user
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/authentication/configuration.h"
#include "api/request/user.h"
#include "base/error.h"
#include "base/time.h"
#include "json/value.h"

namespace kedge::api {

// The user that the claims make, by these mappings; an error in kube-apiserver's words. The signature has been checked.
result<user_info> user_of_claims(const json::value& claims, const jwt_issuer_settings& by);
// Times and audience. Errors in kube-apiserver's words.
result<void> check_claims(const json::value& claims, const jwt_issuer_settings& by, wall_time now);

// ["a" "b"], as messages list texts.
std::string quoted_list(const std::vector<std::string>& list);

}  // namespace kedge::api
