// impersonation.h: acting as somebody else, for who may (Impersonate-User, -Group, -Uid, -Extra-*).
//
//   headers ─▶ who is wanted ─▶ constrained (KEP-5284): the first mode that fits:  associated-node, arbitrary-node,
//   serviceaccount, user-info
//                                 may they impersonate-on:MODE:VERB what is asked for, and impersonate:MODE whom they
//                                 name?
//                            └▶ else as ever: may they impersonate each user, group, uid and extra that they name?
//
// This is the only place that reads those headers; what comes behind sees one user.
#pragma once

#include <optional>

#include "api/authorization/authorizer.h"
#include "net/http/handler.h"

namespace kedge::api {

// Who `asked.user` acts as for this request; nullopt without such headers. 400 when they name no user, 403 when none of
// the modes allows it (with the first refusal's words, as the real server).
api_result<std::optional<user_info>> impersonate(const net::http::headers& headers, const attributes& asked,
                                                 authorizer& authz, const store::snapshot& cluster);

}  // namespace kedge::api
