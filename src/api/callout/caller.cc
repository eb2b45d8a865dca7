#include "api/callout/caller.h"

#include <fmt/format.h>

#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "reactor/offload.h"

namespace kedge::api::callout {
namespace {

// A message of client-go for a status that says no more.
std::string message_of(int status, const std::string& told) {
  switch (status) {
    case 400: return "the server rejected our request for an unknown reason";
    case 401: return "the server has asked for the client to provide credentials";
    case 403:
    case 415: return told;
    case 404: return "the server could not find the requested resource";
    case 405: return "the server does not allow this method on the requested resource";
    case 406:
      return told.empty() || told == "unknown"
                 ? "the server was unable to respond with a content type that the client supports"
                 : told;
    case 409: return "the server reported a conflict";
    case 422: return "the server rejected our request due to an error in our request";
    case 429: return "the server has received too many requests and has asked us to try again later";
    case 503: return "the server is currently unable to handle the request";
    case 504:
      return "the server was unable to return a response in the time allotted, but may still be processing the request";
    default: break;
  }
  if (status >= 500)
    return fmt::format("an error on the server ({}) has prevented the request from succeeding", quote(told));
  return fmt::format("the server responded with the status code {} but did not return more information", status);
}

error refused(const answer& a) {
  if (auto v = json::parse(a.body);
      v && (*v)["kind"].as_string() == "Status" && (*v)["status"].as_string() == "Failure")
    return {errc::unavailable, std::string((*v)["message"].as_string())};
  const bool is_text = a.content_type.empty() || lower(a.content_type).starts_with("text/");
  const auto told = is_text ? std::string(trim(std::string_view(a.body).substr(0, told_text_max_bytes))) : "unknown";
  return {errc::unavailable, message_of(a.status, told)};
}

}  // namespace

result<json::value> object_of(const answer& a, std::string_view group, std::string_view kind) {
  if (a.status < 200 || a.status > 206) return std::unexpected(refused(a));
  if (a.body.empty())
    return fail(errc::protocol,
                fmt::format("0-length response with status code: {} and content type: {}", a.status, a.content_type));
  auto v = json::parse(a.body);
  // What is no JSON is read as YAML, of which nearly every text is one: that a hook may answer so, too, is the real
  // server's liberty.
  if (!v) v = json::parse_yaml(a.body);
  if (!v) return fail(errc::protocol, "couldn't get version/kind; json parse error: " + v.error().message);
  if (!v->is_object())
    return fail(errc::protocol,
                fmt::format("couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of "
                            "type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string "
                            "\"json:\\\"kind,omitempty\\\"\" }}",
                            json::kind_name(*v)));
  auto told = (*v)["kind"].as_string(), version = (*v)["apiVersion"].as_string();
  if (told == "Status" && (*v)["status"].as_string() != "Success")
    return fail(errc::unavailable, std::string((*v)["message"].as_string()));
  const bool is_known =
      told == kind && (version == fmt::format("{}/v1", group) || version == fmt::format("{}/v1beta1", group));
  if (!told.empty() && !version.empty() && !is_known)
    return fail(errc::protocol,
                fmt::format("no kind {} is registered for version {} in scheme \"pkg/runtime/scheme.go:111\"",
                            quote(told), quote(version)));
  return *std::move(v);
}

task<result<json::value>> object_in(answer a, std::string group, std::string kind) {
  if (a.body.size() <= read_here_max_bytes) co_return object_of(a, group, kind);
  auto read = co_await reactor::offload(
      [a = std::move(a), group = std::move(group), kind = std::move(kind)] { return object_of(a, group, kind); });
  if (!read) co_return fail(std::move(read).error());
  co_return *std::move(read);
}

}  // namespace kedge::api::callout
