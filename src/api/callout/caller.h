// caller.h: asking a server that others run: admission's webhooks, conversion's.
//
//   call ─▶ room of its configuration ─▶ target: URL, or Service ─▶ ready endpoint ─▶ kept connection, or egress + TLS
//        ◀─ answer, at most answer_max_bytes; no redirect is followed
//
// A server that hangs, or sends without end, costs its callers their time and nobody else anything: calls of one
// configuration are bounded, and each has a deadline.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "api/callout/limits.h"
#include "api/callout/target.h"
#include "json/value.h"
#include "net/http/handler.h"
#include "reactor/task.h"

namespace kedge::api::callout {

struct call {
  std::shared_ptr<const target> to;
  std::string on_behalf;  // of which configuration: whose room it takes
  std::string body;       // JSON
  std::chrono::seconds time = call_timeout;
  bool tells_time = false;  // the server is told by ?timeout=
  net::http::headers more = {};
};

struct answer {
  int status = 0;
  std::string content_type, body;
};

class caller {
 public:
  virtual ~caller() = default;
  // POST. An error's message is Go's: `Post "https://…?timeout=10s": context deadline exceeded`.
  virtual task<result<answer>> post(call c) = 0;
};

// The object of an answer, which shall be of that kind, in v1 or v1beta1 of the group. Errors are worded as client-go
// words what is no answer.
result<json::value> object_of(const answer& a, std::string_view group, std::string_view kind);
// The same; what is large is read by another thread.
task<result<json::value>> object_in(answer a, std::string group, std::string kind);

}  // namespace kedge::api::callout
