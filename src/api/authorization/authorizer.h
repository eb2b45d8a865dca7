// authorizer.h: whether they may.
#pragma once

#include <string>

#include "api/request/attributes.h"
#include "store/store.h"

namespace kedge::api {

struct decision {
  enum class kind : unsigned char { allow, deny, no_opinion } what = kind::no_opinion;
  std::string reason;
};

class authorizer {
 public:
  virtual ~authorizer() = default;
  virtual decision authorize(const attributes& a, const store::snapshot& cluster) = 0;
};

}  // namespace kedge::api
