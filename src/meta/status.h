// status.h: metav1.Status, the API's one error shape (facts: reasons, codes and message forms of kube-apiserver).
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "json/value.h"

namespace kedge::api {

struct cause {
  std::string reason;   // "FieldValueRequired" …
  std::string message;  // "Required value"
  std::string field;    // "metadata.name"
};

// What is wrong with an object, up to a megabyte of text: what is found after that is passed over. A body of 3 MB can
// be wrong in a hundred thousand places, each of which is told with the way to it and what stands there.
class causes : public std::vector<cause> {
 public:
  using std::vector<cause>::vector;
  void push_back(cause c);
  void clear() noexcept;
  bool full() const noexcept;

 private:
  std::size_t bytes_ = 0;
};

struct status {
  int code = 500;
  std::string reason;  // "NotFound"; empty where the real server has none
  std::string message;
  // details; all empty: the member is left out, unless empty_details
  std::string name, group, kind, uid;
  std::vector<cause> causes;
  int retry_after_seconds = 0;
  bool empty_details = false;   // `"details":{}` as some answers have
  std::string continue_token;   // metadata.continue of an expired list
  json::value to_json() const;  // kind Status, apiVersion v1
};

// What the API layer's functions give: a value or the Status to answer with.
template <typename T>
using api_result = std::expected<T, status>;

inline std::unexpected<status> fail(status s) { return std::unexpected<status>(std::move(s)); }

// The resource as messages name it: "pods", "deployments.apps".
std::string qualified(std::string_view group, std::string_view resource);

status bad_request(std::string message);
status unauthorized();
status not_found(std::string_view group, std::string_view resource, std::string_view name);
status no_such_resource();  // 404 "the server could not find the requested resource"
status already_exists(std::string_view group, std::string_view resource, std::string_view name);
status conflict(std::string_view group, std::string_view resource, std::string_view name, std::string_view why);
status forbidden(std::string_view group, std::string_view resource, std::string_view name, std::string_view why);
status invalid(std::string_view group, std::string_view kind, std::string_view name, std::vector<cause> causes);
status method_not_allowed();
status not_acceptable(std::string message);
status unsupported_media_type(std::string message);
status expired(std::string message);
status too_large(std::string message);
status too_many_requests(std::string message, int retry_after_seconds);
status timeout(std::string message, int retry_after_seconds = 0);
status unavailable(std::string message);
status internal_error(std::string message);  // "Internal error occurred: " + message
// A lower layer's error as the client should see it (store and datastore codes → 409, 410, 500, 503, 504 …).
status from_error(const error& e);

// Causes of validation, worded as field.Error is: `spec.x: Required value`.
cause required(std::string field, std::string_view detail = {});
cause invalid_value(std::string field, const json::value& value, std::string_view detail);
cause invalid_whatever(std::string field, std::string_view detail);  // invalid, and the value isn't told
cause not_supported(std::string field, const json::value& value, const std::vector<std::string>& supported);
cause duplicate_value(std::string field, const json::value& value);
cause forbidden_value(std::string field, std::string_view detail);
cause too_long(std::string field, std::size_t limit_bytes);
cause too_many_characters(std::string field, std::size_t limit);
cause too_many(std::string field, std::size_t actual, std::size_t limit);
cause not_found_value(std::string field, const json::value& value);
cause type_invalid(std::string field, const json::value& value, std::string_view detail);

}  // namespace kedge::api
