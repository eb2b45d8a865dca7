// finalizers.h: metadata.finalizers, as controllers look at them and take theirs off.
#pragma once

#include <string_view>

#include "json/value.h"

namespace kedge::control {

inline bool has_finalizer(const json::value& object, std::string_view name) {
  auto& list = object["metadata"]["finalizers"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i].as_string() == name) return true;
  return false;
}

// The list goes with its last member.
inline void remove_finalizer(json::value& object, std::string_view name) {
  auto& list = object["metadata"]["finalizers"];
  json::array kept;
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i].as_string() != name) kept.push_back(list[i]);
  auto& metadata = object.member("metadata");
  if (kept.empty())
    metadata.erase("finalizers");
  else
    metadata.set("finalizers", std::move(kept));
}

}  // namespace kedge::control
