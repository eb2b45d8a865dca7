#include "node/join/http_answer.h"

#include "json/parse.h"

namespace kedge::node {

namespace {

errc code_of(int status, std::string_view reason) {
  switch (status) {
    case 400:
    case 422: return errc::invalid;
    case 401: return errc::unauthenticated;
    case 403: return errc::forbidden;
    case 404: return errc::not_found;
    case 409: return reason == "AlreadyExists" ? errc::already_exists : errc::conflict;
    case 410: return errc::expired;
    case 413: return errc::too_large;
    case 429:
    case 502:
    case 503: return errc::unavailable;
    case 504: return errc::timeout;
    default: return errc::protocol;
  }
}

}  // namespace

result<std::string> body_or_error(net::http::client_response answer, std::string_view url) {
  if (answer.status >= 200 && answer.status < 300) return std::move(answer.body);
  auto status = json::parse(answer.body);
  if (status && (*status)["kind"].as_string() == "Status" && !(*status)["message"].as_string().empty())
    return fail(code_of(answer.status, (*status)["reason"].as_string()), std::string((*status)["message"].as_string()));
  return fail(code_of(answer.status, {}), std::string(url) + ": " + std::to_string(answer.status) + " " +
                                              std::string(net::http::reason_phrase(answer.status)));
}

}  // namespace kedge::node
