// expression_access.h: what `authorizer` of an expression asks, answered by the server's own authorizer. Each question
// once a request.
#pragma once

#include <map>
#include <string>

#include "api/admission/admission.h"
#include "api/authorization/authorizer.h"
#include "api/expressions/authorizer.h"

namespace kedge::api {

class expression_access final : public expressions::access_host {
 public:
  // All outlive it.
  expression_access(const attributes& asked, authorizer& may, const store::snapshot& cluster)
      : asked_(asked), may_(may), cluster_(cluster) {}

  expressions::access_answer check(const expressions::access_question& q) const override;
  // What the request itself is about, without a verb.
  expressions::access_question about() const;

 private:
  const attributes& asked_;
  authorizer& may_;
  const store::snapshot& cluster_;
  mutable std::map<std::string, expressions::access_answer> known_;
};

}  // namespace kedge::api
