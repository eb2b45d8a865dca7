// webhook.h: an authorizer that asks another server (authorization.k8s.io SubjectAccessReview).
//
//   authorize ─▶ remembered answer │ else an open question ─▶ whoever can wait awaits answer() and asks once more
//
// One a core.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "api/authorization/authorizer.h"
#include "api/authorization/configuration.h"
#include "api/remote/remote.h"
#include "base/strings.h"

namespace kedge::api {

class webhook_authorizer {
 public:
  explicit webhook_authorizer(authorization_webhook_settings settings, reactor::network* network = nullptr);
  ~webhook_authorizer();

  // What is decided without asking anybody: that the question is none for it, or that this can't be told.
  std::optional<decision> unasked(const attributes& a) const;
  // nullopt: it has to be asked.
  std::optional<decision> known(const std::string& review);
  // Asks; known() has the answer then, at least for whoever asks next.
  task<void> ask(std::string review);

  // The review's text, which stands for the question.
  std::string review_of(const attributes& a) const;

 private:
  struct answer {
    decision says;
    time_point until{};
    bool once = false;
  };
  void keep(std::string review, answer a);
  decision failed(std::string why) const;
  const authorization_webhook_settings settings_;
  remote to_;
  std::unordered_map<std::string, answer, string_hash, std::equal_to<>> answers_;
};

}  // namespace kedge::api
