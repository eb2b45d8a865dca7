// convert.h: kinds that are served in more versions than they are stored in: events of events.k8s.io (stored as
// core/v1), and autoscaling/v1 (stored as v2).
#pragma once

#include <span>
#include <string_view>

#include "json/value.h"

namespace kedge::api {

struct conversion {
  std::string_view group, version, resource;
  std::string_view stored_group, stored_version;
  void (*to_stored)(json::value&);
  void (*from_stored)(json::value&);
};
std::span<const conversion> conversions() noexcept;

}  // namespace kedge::api
