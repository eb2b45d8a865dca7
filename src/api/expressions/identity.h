// identity.h: what expressions see that decide who somebody is and whom to ask about them: a token's claims, the user
// that they made, a question of access.
//
// Each environment is made once and shared by all cores. A document that is read here is borrowed.
#pragma once

#include <memory>

#include "cel/environment.h"
#include "cel/value.h"
#include "json/value.h"

namespace kedge::api::expressions {

// `claims`: a map of whatever the token says.
std::shared_ptr<const cel::environment> claims_environment();
// `user`: username, uid, groups, extra.
std::shared_ptr<const cel::environment> user_environment();
// `request`: the spec of a SubjectAccessReview.
std::shared_ptr<const cel::environment> review_environment();

// JSON as those of `claims` and `user` see it: numbers are doubles, and a.b is also reached as a__dot__b.
cel::value loose_value(const json::value& document, cel::arena& memory);

}  // namespace kedge::api::expressions
