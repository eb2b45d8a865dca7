// conditions.h: a webhook's matchConditions: expressions over the request, all of which must hold.
//
// Compiled once with the webhook; immutable, shared by cores.
#pragma once

#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "api/admission/admission.h"
#include "api/authorization/authorizer.h"
#include "cel/program.h"
#include "reactor/task.h"

namespace kedge::api::webhook {

// What they see: the objects in the version that the webhook knows, and the request without them. Null: null.
struct condition_values {
  const json::value *object = nullptr, *old = nullptr, *request = nullptr;
  const attributes& asked;  // of authorizer.requestResource
  authorizer* may = nullptr;
  const store::snapshot& cluster;
};

class conditions {
 public:
  explicit conditions(const json::value& list);
  bool empty() const noexcept { return all_.empty(); }

  // False as soon as one doesn't hold, whatever else is wrong. An error's text: it can't be told. Others have their
  // turn between two; all that is given outlives the task.
  task<std::expected<bool, std::string>> hold(condition_values v) const;

 private:
  struct one {
    std::string text;
    std::shared_ptr<const cel::program> program;  // null: `wrong` says why
    std::string wrong;
  };
  std::vector<one> all_;
};

}  // namespace kedge::api::webhook
