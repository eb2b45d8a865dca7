#include "meta/status.h"

#include <fmt/format.h>

#include <unordered_set>

#include "base/strings.h"
#include "json/write.h"
#include "meta/limits.h"

namespace kedge::api {
namespace {

// As Go prints it: in what isn't one text, angle brackets and ampersands are escaped, as for HTML.
std::string told(const json::value& v) {
  auto text = json::write_beginning(v, value_told_bytes);
  if (!v.is_object() && !v.is_array()) return text;
  std::string out;
  out.reserve(text.size());
  for (char c : text)
    if (c == '<' || c == '>' || c == '&')
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      out += c;
  return out;
}

status make(int code, std::string_view reason, std::string message) {
  status s;
  s.code = code;
  s.reason = reason;
  s.message = std::move(message);
  return s;
}

status about(int code, std::string_view reason, std::string message, std::string_view group, std::string_view resource,
             std::string_view name) {
  auto s = make(code, reason, std::move(message));
  s.group = group;
  s.kind = resource;
  s.name = name;
  return s;
}

cause make_cause(std::string_view reason, std::string message, std::string field) {
  return {std::string(reason), std::move(message), std::move(field)};
}

}  // namespace

json::value status::to_json() const {
  json::object meta;
  if (!continue_token.empty()) meta.set("continue", continue_token);
  json::object out;
  out.set("kind", "Status");
  out.set("apiVersion", "v1");
  out.set("metadata", std::move(meta));
  out.set("status", code >= 200 && code < 300 ? "Success" : "Failure");
  if (!message.empty()) out.set("message", message);
  if (!reason.empty()) out.set("reason", reason);
  json::object details;
  if (!name.empty()) details.set("name", name);
  if (!group.empty()) details.set("group", group);
  if (!kind.empty()) details.set("kind", kind);
  if (!uid.empty()) details.set("uid", uid);
  if (!causes.empty()) {
    json::array list;
    for (auto& c : causes) {
      json::object o;
      if (!c.reason.empty()) o.set("reason", c.reason);
      if (!c.message.empty()) o.set("message", c.message);
      if (!c.field.empty()) o.set("field", c.field);
      list.emplace_back(std::move(o));
    }
    details.set("causes", std::move(list));
  }
  if (retry_after_seconds > 0) details.set("retryAfterSeconds", retry_after_seconds);
  if (!details.empty() || empty_details) out.set("details", std::move(details));
  if (code != 200) out.set("code", code);
  return out;
}

std::string qualified(std::string_view group, std::string_view resource) {
  return group.empty() ? std::string(resource) : fmt::format("{}.{}", resource, group);
}

status bad_request(std::string message) { return make(400, "BadRequest", std::move(message)); }
status unauthorized() { return make(401, "Unauthorized", "Unauthorized"); }

status not_found(std::string_view group, std::string_view resource, std::string_view name) {
  return about(404, "NotFound", fmt::format("{} {} not found", qualified(group, resource), quote(name)), group,
               resource, name);
}

status no_such_resource() {
  auto s = make(404, "NotFound", "the server could not find the requested resource");
  s.empty_details = true;
  return s;
}

status already_exists(std::string_view group, std::string_view resource, std::string_view name) {
  return about(409, "AlreadyExists", fmt::format("{} {} already exists", qualified(group, resource), quote(name)),
               group, resource, name);
}

status conflict(std::string_view group, std::string_view resource, std::string_view name, std::string_view why) {
  return about(409, "Conflict",
               fmt::format("Operation cannot be fulfilled on {} {}: {}", qualified(group, resource), quote(name), why),
               group, resource, name);
}

status forbidden(std::string_view group, std::string_view resource, std::string_view name, std::string_view why) {
  std::string message;
  if (resource.empty())
    message = fmt::format("forbidden: {}", why);
  else if (name.empty())
    message = fmt::format("{} is forbidden: {}", qualified(group, resource), why);
  else
    message = fmt::format("{} {} is forbidden: {}", qualified(group, resource), quote(name), why);
  auto s = about(403, "Forbidden", std::move(message), group, resource, name);
  s.empty_details = true;
  return s;
}

status invalid(std::string_view group, std::string_view kind, std::string_view name, std::vector<cause> causes) {
  // What is wrong twice is said once.
  std::unordered_set<std::string> said;
  std::string body;
  for (auto& c : causes) {
    auto text = fmt::format("{}: {}", c.field, c.message);
    if (!said.insert(text).second) continue;
    if (!body.empty()) body += ", ";
    body += text;
  }
  if (said.size() > 1) body = fmt::format("[{}]", body);
  auto s = about(422, "Invalid",
                 body.empty() ? fmt::format("{} {} is invalid", qualified(group, kind), quote(name))
                              : fmt::format("{} {} is invalid: {}", qualified(group, kind), quote(name), body),
                 group, kind, name);
  s.causes = std::move(causes);
  return s;
}

status method_not_allowed() {
  auto s = make(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
  s.empty_details = true;
  return s;
}

status not_acceptable(std::string message) { return make(406, "NotAcceptable", std::move(message)); }
status unsupported_media_type(std::string message) { return make(415, "UnsupportedMediaType", std::move(message)); }
status expired(std::string message) { return make(410, "Expired", std::move(message)); }
status too_large(std::string message) { return make(413, "RequestEntityTooLarge", std::move(message)); }

status too_many_requests(std::string message, int retry_after_seconds) {
  auto s = make(429, "TooManyRequests", std::move(message));
  s.retry_after_seconds = retry_after_seconds;
  return s;
}

status timeout(std::string message, int retry_after_seconds) {
  auto s = make(504, "Timeout", "Timeout: " + message);
  s.retry_after_seconds = retry_after_seconds;
  s.empty_details = true;
  return s;
}

status unavailable(std::string message) { return make(503, "ServiceUnavailable", std::move(message)); }

status internal_error(std::string message) {
  auto s = make(500, "InternalError", "Internal error occurred: " + message);
  s.causes.push_back({"", std::move(message), ""});
  return s;
}

status from_error(const error& e) {
  switch (e.code) {
    case errc::invalid:
    case errc::protocol: return bad_request(e.message);
    case errc::not_found: return make(404, "NotFound", e.message);
    case errc::already_exists: return make(409, "AlreadyExists", e.message);
    case errc::conflict: return make(409, "Conflict", e.message);
    case errc::expired: return expired(e.message);
    case errc::too_large: return too_large(fmt::format("Request entity too large: {}", e.message));
    case errc::unauthenticated: return unauthorized();
    case errc::forbidden: return make(403, "Forbidden", e.message);
    case errc::timeout:
    case errc::unknown_outcome:
      return timeout(fmt::format("request did not complete within the allotted timeout: {}", e.message));
    case errc::unavailable:
    case errc::refused: return unavailable(e.message);
    default: return internal_error(e.message);
  }
}

void causes::push_back(cause c) {
  if (full()) return;
  bytes_ += c.reason.size() + c.message.size() + c.field.size();
  std::vector<cause>::push_back(std::move(c));
}

void causes::clear() noexcept {
  std::vector<cause>::clear();
  bytes_ = 0;
}

bool causes::full() const noexcept { return bytes_ > causes_bytes_max; }

cause required(std::string field, std::string_view detail) {
  return make_cause("FieldValueRequired", detail.empty() ? "Required value" : fmt::format("Required value: {}", detail),
                    std::move(field));
}

cause invalid_value(std::string field, const json::value& value, std::string_view detail) {
  auto text = told(value);
  return make_cause(
      "FieldValueInvalid",
      detail.empty() ? fmt::format("Invalid value: {}", text) : fmt::format("Invalid value: {}: {}", text, detail),
      std::move(field));
}

cause invalid_whatever(std::string field, std::string_view detail) {
  return make_cause("FieldValueInvalid", fmt::format("Invalid value: {}", detail), std::move(field));
}

cause not_supported(std::string field, const json::value& value, const std::vector<std::string>& supported) {
  std::string list;
  for (auto& s : supported) {
    if (!list.empty()) list += ", ";
    list += quote(s);
  }
  auto text = fmt::format("Unsupported value: {}", told(value));
  if (!supported.empty()) text += ": supported values: " + list;
  return make_cause("FieldValueNotSupported", std::move(text), std::move(field));
}

cause duplicate_value(std::string field, const json::value& value) {
  return make_cause("FieldValueDuplicate", fmt::format("Duplicate value: {}", told(value)), std::move(field));
}

cause forbidden_value(std::string field, std::string_view detail) {
  return make_cause("FieldValueForbidden", detail.empty() ? "Forbidden" : fmt::format("Forbidden: {}", detail),
                    std::move(field));
}

cause too_long(std::string field, std::size_t limit_bytes) {
  return make_cause("FieldValueTooLong", fmt::format("Too long: may not be more than {} bytes", limit_bytes),
                    std::move(field));
}

cause too_many_characters(std::string field, std::size_t limit) {
  return make_cause("FieldValueTooLong", fmt::format("Too long: may not be more than {} characters", limit),
                    std::move(field));
}

cause too_many(std::string field, std::size_t actual, std::size_t limit) {
  return make_cause("FieldValueTooMany", fmt::format("Too many: {}: must have at most {} items", actual, limit),
                    std::move(field));
}

cause not_found_value(std::string field, const json::value& value) {
  return make_cause("FieldValueNotFound", fmt::format("Not found: {}", told(value)), std::move(field));
}

cause type_invalid(std::string field, const json::value& value, std::string_view detail) {
  return make_cause("FieldValueTypeInvalid", fmt::format("Invalid value: {}: {}", told(value), detail),
                    std::move(field));
}

}  // namespace kedge::api
