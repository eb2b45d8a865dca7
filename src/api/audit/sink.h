// sink.h: where the handler tells who asked for what, and how it ended.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/request/attributes.h"
#include "base/time.h"

namespace kedge::api {

struct audit_record {
  std::string audit_id;
  std::string uri;  // as received, path and query
  std::string method;
  std::string user_agent;
  std::string source_address;  // the peer's IP
  attributes request;          // request.user is the effective user
  user_ref authenticated;      // who really asked when impersonating; name is empty otherwise
  int code = 0;                // 0: the client went away before an answer
  std::string reason;          // the Status reason of a failure
  std::string decision;        // "allow" or "forbid"; empty when it did not come that far
  std::string decision_reason;
  std::vector<std::pair<std::string, std::string>> annotations;  // of admission; the first of a key counts
  wall_time received{}, answered{};
};

class audit_sink {
 public:
  virtual ~audit_sink() = default;
  // Whether record() wants anything at all: spares the work of filling in the record.
  virtual bool enabled() const noexcept = 0;
  // When the answer is complete; for watches also when it begins (`started` true). Must not wait.
  virtual void record(const audit_record& r, bool started) = 0;
};

}  // namespace kedge::api
