// authorizer.h: whether they may.
#pragma once

#include <string>

#include "api/request/attributes.h"
#include "reactor/task.h"
#include "store/store.h"

namespace kedge::api {

struct decision {
  enum class kind : unsigned char { allow, deny, no_opinion } what = kind::no_opinion;
  std::string reason;
  std::string error;  // of whoever could not tell; a refusal is then the server's fault
};

class authorizer {
 public:
  virtual ~authorizer() = default;
  // At once. Where somebody has to be asked first who may take a while (a webhook), that is a refusal, and there is an
  // open question until the next call. Whoever can wait awaits its answer and asks once more: decide() does.
  virtual decision authorize(const attributes& a, const store::snapshot& cluster) = 0;
  virtual bool has_open_question() const noexcept { return false; }
  virtual task<void> answer_open_question() { co_return; }
};

// authorize(), with all the answers that it takes.
task<decision> decide(authorizer& may, const attributes& a, const store::snapshot& cluster);

}  // namespace kedge::api
