#include "api/aggregation/endpoint.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"

namespace kedge::api::aggregation {

result<endpoint_address> choose_endpoint(std::string_view ns, std::string_view name, std::uint16_t service_port,
                                         const json::value& service, std::vector<json::value> slices,
                                         const std::function<std::size_t(std::size_t)>& below) {
  if (!service.is_object())
    return fail(errc::not_found, fmt::format("service {} not found", quote(fmt::format("{}/{}", ns, name))));
  auto& spec = service["spec"];
  auto type = spec["type"].as_string("ClusterIP");
  if (type != "ClusterIP" && type != "LoadBalancer" && type != "NodePort")
    return fail(errc::unavailable, "unsupported service type " + quote(type));
  auto& ports = spec["ports"];
  std::size_t at = 0;
  while (at < ports.size() && ports[at]["port"].as_integer() != service_port) ++at;
  if (at == ports.size())
    return fail(errc::unavailable, fmt::format("no service port {} found for service {}", service_port, quote(name)));
  auto port_name = ports[at]["name"].as_string();
  for (auto i = slices.size(); i > 1; --i) std::swap(slices[i - 1], slices[below(i)]);
  auto family = spec["ipFamilies"][0].as_string();
  std::ranges::stable_partition(slices, [&](auto& s) { return s["addressType"].as_string() == family; });
  for (auto& slice : slices) {
    auto &of_slice = slice["ports"], &endpoints = slice["endpoints"];
    for (std::size_t p = 0; p < of_slice.size() && !endpoints.empty(); ++p) {
      auto number = of_slice[p]["port"].as_integer(0);
      if (of_slice[p]["name"].as_string() != port_name || number <= 0 || number > 65535) continue;
      const auto offset = below(endpoints.size());
      for (std::size_t i = 0; i < endpoints.size(); ++i) {
        auto& one = endpoints[(i + offset) % endpoints.size()];
        if (!one["conditions"]["ready"].as_bool(true)) continue;
        return endpoint_address{std::string(one["nodeName"].as_string()), std::string(one["addresses"][0].as_string()),
                                static_cast<std::uint16_t>(number)};
      }
    }
  }
  return fail(errc::unavailable, "no endpoints available for service " + quote(name));
}

}  // namespace kedge::api::aggregation
