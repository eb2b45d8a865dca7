// authenticator.h: who asks, found out of a request.
#pragma once

#include "api/request/user.h"
#include "meta/status.h"
#include "net/http/handler.h"

namespace kedge::api {

// x509 client certificates, Basic (passwd), service account tokens, bootstrap tokens, front proxy headers; anonymous.
class authenticator {
 public:
  virtual ~authenticator() = default;
  // The user, or 401. Groups system:authenticated / system:unauthenticated are added here. What can be known once per
  // connection (its certificate) is kept in connection().attachment. Impersonation is applied by the caller.
  virtual task<api_result<user_ref>> authenticate(net::http::exchange& e) = 0;
};

}  // namespace kedge::api
