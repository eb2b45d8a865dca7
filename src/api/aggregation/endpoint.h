// endpoint.h: which of a service's endpoints is asked. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "json/value.h"

namespace kedge::api::aggregation {

struct endpoint_address {
  std::string node, address;  // the node is empty when it isn't known
  std::uint16_t port = 0;
};

// One that is ready, at random, of the family that the service has first before others. `below(n)` gives a number in
// [0, n). errc::not_found: there is no such service; errc::unavailable: none serves the port.
result<endpoint_address> choose_endpoint(std::string_view ns, std::string_view name, std::uint16_t service_port,
                                         const json::value& service, std::vector<json::value> slices,
                                         const std::function<std::size_t(std::size_t)>& below);

}  // namespace kedge::api::aggregation
