// owners.h: metadata.ownerReferences, as controllers look at them.
#pragma once

#include <string_view>

#include "json/value.h"

namespace kedge::control {

// The reference of the owner that controls the object; null without one.
inline const json::value* controller_of(const json::value& object) noexcept {
  auto& owners = object["metadata"]["ownerReferences"];
  for (std::size_t i = 0; i < owners.size(); ++i)
    if (owners[i]["controller"].as_bool()) return &owners[i];
  return nullptr;
}

template <typename F>
void each_owner(const json::value& object, F f) {
  auto& owners = object["metadata"]["ownerReferences"];
  for (std::size_t i = 0; i < owners.size(); ++i) f(owners[i]);
}

inline std::string_view uid_of(const json::value& object) noexcept { return object["metadata"]["uid"].as_string(); }
inline bool is_deleting(const json::value& object) noexcept {
  return object["metadata"]["deletionTimestamp"].is_string();
}

}  // namespace kedge::control
