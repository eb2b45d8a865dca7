// remote.h: questions to a webhook that a kubeconfig names.
//
//   body ─▶ kept connection, or a new one ─▶ POST ─▶ 2xx: its JSON; else an error, after some more attempts
//
// One a core. Whoever asks waits with a deadline of his own beside those here.
#pragma once

#include <memory>
#include <string>

#include "api/remote/kubeconfig.h"
#include "json/value.h"

namespace kedge::api {

// When a question is asked again, and after how long the first time.
struct remote_patience {
  duration first_pause = std::chrono::milliseconds(500);
  duration attempt_time = std::chrono::seconds(30);  // of one
  bool whatever_happened = false;                    // else: lost connections, 429, 500, 504, and what says Retry-After
};

class remote {
 public:
  // `network` null: this machine's.
  explicit remote(std::shared_ptr<const remote_server> server, reactor::network* network = nullptr);

  // The answer's JSON. errc::refused and the like: nobody answered; errc::unavailable: with another status than 2xx,
  // which the message has.
  task<result<json::value>> ask(std::string body, remote_patience patience);
  // The same of an answer in which nothing is looked for.
  task<result<void>> tell(std::string body, remote_patience patience);

 private:
  struct attempt;
  task<result<net::http::client_response>> post(std::string body, remote_patience patience);
  task<attempt> try_once(const std::string& body, duration time);
  task<result<net::http::client_request>> make_request(std::string body, duration time);
  task<result<std::string>> authorization();

  std::shared_ptr<const remote_server> server_;
  net::http::client client_;
  std::string token_;  // of the file
  time_point token_read_{};
};

}  // namespace kedge::api
