// http_answer.h: answers of servers that speak Kubernetes' error format, as results.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "net/http/client.h"

namespace kedge::node {

// The body of a 2xx answer. Otherwise an error whose message is that of the Status object in the body, or `url: 500
// Internal Server Error`; its code follows from the HTTP status (401 unauthenticated, 403 forbidden, 404 not_found, 409
// conflict or already_exists, 429 and 503 unavailable …).
result<std::string> body_or_error(net::http::client_response answer, std::string_view url);

}  // namespace kedge::node
