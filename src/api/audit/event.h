// event.h: what is known of one request while it runs, and how it is written at each of its stages.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "api/audit/policy.h"
#include "api/request/attributes.h"
#include "base/time.h"
#include "json/value.h"

namespace kedge::api {

struct audit_event {
  audit_verdict verdict;
  std::string audit_id;
  std::string uri;  // as received, path and query
  std::string user_agent;
  std::vector<std::string> sources;             // addresses: as proxies tell them, then the peer's
  attributes request;                           // request.user is who was authenticated
  std::optional<user_info> acting_as;           // whom they impersonate
  std::string uid, resource_version;            // of the object in the body
  json::value status;                           // responseStatus; null: not answered yet
  std::string request_object, response_object;  // JSON; empty: left out
  std::map<std::string, std::string> annotations;
  wall_time received{};
};

// audit.k8s.io/v1 Event as JSON, in one line without its end.
std::string audit_json(const audit_event& e, audit_stage stage, wall_time at);
// The old format of one line (`--audit-log-format=legacy`), without its end.
std::string audit_text(const audit_event& e, audit_stage stage);

// The addresses of X-Forwarded-For and X-Real-Ip, if they are some, and the peer's own.
std::vector<std::string> source_addresses(std::string_view forwarded_for, std::string_view real_ip,
                                          const std::string& peer);

}  // namespace kedge::api
