// service_ranges.h: of what Services' addresses and node ports are given, by this server's settings.
#pragma once

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/ip.h"

namespace kedge::api {

struct service_ranges {
  std::vector<ip_range> cidrs = {ip_range::parse("10.43.0.0/16").value()};  // --service-cidr: one of a family at most
  int first_port = 30000, last_port = 32767;

  // Families as Services name them: "IPv4", "IPv6".
  static std::string_view family(const ip_range& r) { return r.is_v4() ? "IPv4" : "IPv6"; }
  std::string_view first_family() const { return family(cidrs.front()); }
  bool has(std::string_view f) const {
    return std::ranges::any_of(cidrs, [&](auto& r) { return family(r) == f; });
  }
  bool both() const { return has("IPv4") && has("IPv6"); }
};

}  // namespace kedge::api
