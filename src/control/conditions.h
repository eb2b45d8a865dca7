// conditions.h: status.conditions, as controllers read and set them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/time.h"
#include "json/value.h"

namespace kedge::control {

// Null value without one of the type.
const json::value& condition_of(const json::value& object, std::string_view type) noexcept;
// "True", "False", "Unknown"; empty without one.
std::string_view condition_status(const json::value& object, std::string_view type) noexcept;

struct condition {
  std::string type, status, reason, message;
  std::optional<std::int64_t> observed_generation = {};
  bool keeps_empty = false;  // metav1.Condition, whose reason and message are always there
};
// Puts it among the object's, where its type's stands or at the end. lastTransitionTime is `now` when the status is
// another than before. False when it stands there like that already.
bool set_condition(json::value& object, const condition& c, wall_time now);

}  // namespace kedge::control
