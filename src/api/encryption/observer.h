// observer.h: who is told what becomes of KMS plugins, for metrics.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/error.h"
#include "base/time.h"

namespace kedge::api::encryption {

// On the loop of the providers.
class kms_observer {
 public:
  virtual ~kms_observer() = default;
  // A call of the plugin. Null `failure`: it answered.
  virtual void called(std::string_view provider, std::string_view method, const error* failure, duration took) = 0;
  // A value was sealed, or opened, under this key of the plugin.
  virtual void used(std::string_view provider, std::string_view key_id, bool sealed) = 0;
  // The key that the plugin says it writes with; `wrong`: why it can't be one ("empty", "too_long").
  virtual void told(std::string_view provider, std::string_view key_id, std::string_view wrong) = 0;
  // How many seeds are kept opened.
  virtual void holds(std::string_view provider, std::size_t seeds) = 0;
};

}  // namespace kedge::api::encryption
