// match_conditions.h: which questions an authorization webhook is asked: expressions over the SubjectAccessReview, all
// of which must hold.
//
// Compiled once with the configuration; immutable, shared by cores.
#pragma once

#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "api/configuration/fields.h"
#include "api/request/attributes.h"
#include "cel/program.h"

namespace kedge::api {

class match_conditions {
 public:
  // Those of a webhook's configuration. What is wrong with them is found at their expressions.
  static match_conditions read(fields& webhook);
  bool empty() const noexcept { return all_.empty(); }

  // False as soon as one doesn't hold, whatever else is wrong. An error's text: it can't be told.
  std::expected<bool, std::string> hold(const attributes& a) const;

 private:
  std::vector<std::shared_ptr<const cel::program>> all_;
};

}  // namespace kedge::api
