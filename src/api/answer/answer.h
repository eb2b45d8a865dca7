// answer.h: how answers leave: headers that every answer has, gzip for large ones, Status for refusals.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/answer/encode.h"
#include "json/value.h"
#include "meta/status.h"
#include "net/http/handler.h"

namespace kedge::api {

// Who is told what was asked and answered, besides the client: audit.
class request_witness {
 public:
  virtual ~request_witness() = default;
  // The object in the body, decoded and with its defaults; or the patch, as it was sent.
  virtual void asked(const json::value& object) = 0;
  virtual void asked_to_patch(const json::value& patch) = 0;
  // Whether objects in answers are wanted, too; else answered() gets a Status at most.
  virtual bool wants_objects() const noexcept = 0;
  // An object, a list or a Status, as the client sees it.
  virtual void answered(json::value shown) = 0;
  virtual void refused(const status& s) = 0;
};

// What the answer to one request needs to know of it. Lives until it is answered.
struct reply {
  std::string audit_id;
  // UIDs of the request's flow schema and priority level, when it has been classified; they live as long as its flow.
  const std::string* flow_schema = nullptr;
  const std::string* priority_level = nullptr;
  view as;
  bool gzip = false;                  // the client takes it
  std::vector<std::string> warnings;  // texts for Warning headers
  int code = 0;                       // what was answered, for metrics and audit
  std::uint64_t bytes = 0;            // of its body, as they were sent
  std::string reason;
  request_witness* witness = nullptr;  // null: nobody. Lives as long as the request
};

// Head with Audit-Id, Cache-Control, flow control headers, Content-Type, Warning.
net::http::response head_of(const reply& r, int code, std::string_view content_type);

// `body` under a head of the caller's, gzipped when it is large and the client takes it.
task<void> send_body(net::http::exchange& e, reply& r, net::http::response head, std::string body);
// `body` as it is.
task<void> send_text(net::http::exchange& e, reply& r, int code, std::string body, std::string content_type);
// A value with kind and apiVersion in the client's format, whole.
task<void> send_value(net::http::exchange& e, reply& r, int code, const json::value& v);
task<void> send_status(net::http::exchange& e, reply& r, const status& s);
// A stored object in the client's view; ready bytes where they are what is wanted.
task<void> send_object(net::http::exchange& e, reply& r, const served& s, int code, store::object_ref o);
// The same for a value in the stored version.
task<void> send_stored_form(net::http::exchange& e, reply& r, const served& s, int code, json::value v);

// The texts of Warning headers, cut as the real server cuts them.
std::vector<std::string> warning_headers(const std::vector<std::string>& texts);

}  // namespace kedge::api
