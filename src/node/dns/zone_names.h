// zone_names.h: names of zones, as configurations write them.
#pragma once

#include <string>
#include <string_view>

#include "base/strings.h"

namespace kedge::node::dns {

// As questions have them: "Example.org." is "example.org", the root "".
inline std::string plain_zone(std::string_view text) {
  auto out = lower(text);
  if (out.ends_with('.')) out.pop_back();
  return out;
}

// Of plain names: whether `name` is the zone or lies in it.
inline bool is_under(std::string_view name, std::string_view zone) {
  return zone.empty() || name == zone ||
         (name.size() > zone.size() && name.ends_with(zone) && name[name.size() - zone.size() - 1] == '.');
}

}  // namespace kedge::node::dns
