// request.h: what a URL and method ask for, as kube-apiserver's RequestInfo says, and the query's parameters.
// Sans-I/O: text in, value out.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/request/attributes.h"
#include "base/time.h"
#include "meta/status.h"

namespace kedge::api {

// Decoded query parameters in order. Unknown ones are kept and ignored by whoever doesn't ask for them.
class query_values {
 public:
  // A pair with a bad escape is left out, as Go's url.Query does.
  static query_values parse(std::string_view query);

  bool has(std::string_view name) const noexcept { return find(name) != nullptr; }
  // The first value; empty when absent.
  std::string_view get(std::string_view name) const noexcept;
  std::vector<std::string> all(std::string_view name) const;
  // Kubernetes' rule: absent false; "0" and "false" (any case) false; everything else, the empty text too, true.
  bool flag(std::string_view name) const noexcept;
  std::optional<bool> optional_flag(std::string_view name) const noexcept;
  // Absent: nullopt. 400 with strconv's text otherwise.
  api_result<std::optional<std::int64_t>> integer(std::string_view name) const;

 private:
  const std::string* find(std::string_view name) const noexcept;
  std::vector<std::pair<std::string, std::string>> values_;
};

// strconv.ParseInt's error text for what it can't parse; nullopt when it is fine and `out` is set.
std::optional<std::string> parse_go_int(std::string_view text, std::int64_t& out);

// What is asked for, as authorization sees it (but for the user), and what only routing needs of the shape of the path.
struct request_info : attributes {
  bool malformed =
      false;  // no route has this shape: nothing is ever there. `path` is as received then, if it can't be decoded
  bool deeper = false;            // more follows the subresource: other API servers alone have such paths
  bool bad_method = false;        // a resource path with a method that no verb stands for
  bool names_one = false;         // the path itself names an object (a name may also come from a field selector)
  bool is_the_namespace = false;  // namespaces/N of the core group as the object itself, not as where the resource lies
  std::string rest;  // what follows the subresource as received, with its leading slash; empty when nothing does
  bool long_running() const noexcept;
  bool read_only() const noexcept { return verb == "get" || verb == "list" || verb == "watch"; }
};

// `path` as received, not decoded.
request_info parse_request(std::string_view method, std::string_view path, const query_values& query);

// metav1.ListOptions of the query.
struct list_options {
  std::string label_selector, field_selector;
  bool watch = false, allow_bookmarks = false;
  std::string resource_version, resource_version_match;
  std::optional<std::int64_t> timeout_seconds;
  std::int64_t limit = 0;
  std::string continue_token;
  std::optional<bool> send_initial_events;
};
// 400 for what can't be parsed, 422 for what may not stand together.
api_result<list_options> parse_list_options(const query_values& query, bool as_watch);

// A resource version in the query: nullopt when empty, 400 when it is no number.
api_result<std::optional<std::uint64_t>> parse_resource_version(std::string_view text);

enum class field_validation : unsigned char { ignore, warn, strict };

struct write_options {
  bool dry_run = false;
  field_validation validation = field_validation::warn;
  std::string asked_validation;  // as the query has it
  std::string field_manager;
  bool force = false, has_force = false;
};
// `kind`: the options' name in a 422: CreateOptions, UpdateOptions, PatchOptions.
api_result<write_options> parse_write_options(const query_values& query, std::string_view kind);

// The part of `timeout=` that applies: at most `most`. 400 when it is no duration.
api_result<std::int64_t> parse_timeout_ms(const query_values& query, duration most);

}  // namespace kedge::api
