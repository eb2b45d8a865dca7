// trail.h: what is told of one request, from its beginning to its end, whatever becomes of it.
//
//   begin ─▶ RequestReceived ─▶ who, whether, what is asked and answered ─▶ ResponseStarted (long ones) ─▶
//   ResponseComplete
//
// A request whose client goes away is dropped where it waits; its trail ends with it, and tells of that.
#pragma once

#include <string>

#include "api/answer/answer.h"
#include "api/audit/sink.h"
#include "api/authorization/authorizer.h"
#include "net/http/handler.h"

namespace kedge::api {

class audit_trail final : public request_witness {
 public:
  // `to` outlives it. What the policy says of the request is in `e.verdict` already, and is not none.
  audit_trail(audit_sink& to, audit_event e);
  ~audit_trail() override;
  audit_trail(const audit_trail&) = delete;
  audit_trail& operator=(const audit_trail&) = delete;

  // Tells that the request came. False: it may not go on.
  task<bool> begin();
  void acts_as(const user_info& user);
  void decided(const decision& d);
  void annotate(std::string key, std::string value);
  // The head of a long-running request's answer leaves.
  task<void> started(int code);
  // The answer is complete. 0: none was given.
  task<void> complete(int code);
  // Who could not be authenticated, with what they tried: one event at the answer's start, and none at its end.
  task<void> not_authenticated(int code, std::string tried);

  void asked(const json::value& object) override;
  void asked_to_patch(const json::value& patch) override;
  bool wants_objects() const noexcept override;
  void answered(json::value shown) override;
  void refused(const status& s) override;

 private:
  void note_code(int code);
  std::string text_of(json::value object);

  audit_sink& to_;
  audit_event event_;
  bool began_ = false, over_ = false;
};

// The ways in which a request tried to say who it is from: "bearer, x509".
std::string authentication_tried(const net::http::request& q, bool certificate);

}  // namespace kedge::api
