#include "api/aggregation/availability.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"

namespace kedge::api::aggregation {
namespace {

// Whether a slice has a ready endpoint and the port.
bool serves(const json::value& slice, std::string_view port_name) {
  auto &endpoints = slice["endpoints"], &ports = slice["ports"];
  bool ready = false, named = false;
  for (std::size_t i = 0; i < endpoints.size(); ++i) ready = ready || endpoints[i]["conditions"]["ready"].as_bool(true);
  for (std::size_t i = 0; i < ports.size(); ++i)
    named = named || (ports[i]["name"].as_string() == port_name && ports[i]["port"].is_integer());
  return ready && named;
}

}  // namespace

std::optional<availability> judge_objects(const api_service& s, const json::value& service,
                                          const std::vector<json::value>& slices) {
  const auto told = fmt::format("service/{} in {}", s.service_name, quote(s.service_namespace));
  auto not_there = [](std::string reason, std::string message) {
    return availability{"False", std::move(reason), std::move(message)};
  };
  if (!service.is_object()) return not_there("ServiceNotFound", told + " is not present");
  // Of others only their discovery tells.
  if (service["spec"]["type"].as_string("ClusterIP") != "ClusterIP") return std::nullopt;
  auto& ports = service["spec"]["ports"];
  std::size_t i = 0;
  while (i < ports.size() && ports[i]["port"].as_integer() != s.port) ++i;
  if (i == ports.size())
    return not_there("ServicePortError", fmt::format("{} is not listening on port {}", told, s.port));
  if (slices.empty()) return not_there("EndpointsNotFound", "cannot find endpointslices for " + told);
  auto port_name = ports[i]["name"].as_string();
  if (std::ranges::none_of(slices, [&](auto& slice) { return serves(slice, port_name); }))
    return not_there("MissingEndpoints",
                     fmt::format("endpointslices for {} have no addresses with port name {}", told, quote(port_name)));
  return std::nullopt;
}

availability passed() { return {"True", "Passed", "all checks passed"}; }
availability failed_discovery(std::string message) { return {"False", "FailedDiscoveryCheck", std::move(message)}; }

bool set_available(json::value& object, const availability& a, wall_time now) {
  json::array next;
  bool changed = true;
  auto& all = object["status"]["conditions"];
  auto make = [&](std::string since) {
    return json::object{{"type", "Available"},
                        {"status", a.status},
                        {"lastTransitionTime", std::move(since)},
                        {"reason", a.reason},
                        {"message", a.message}};
  };
  bool told = false;
  for (std::size_t i = 0; i < all.size(); ++i) {
    auto& c = all[i];
    if (told || c["type"].as_string() != "Available") {
      next.push_back(c);
      continue;
    }
    told = true;
    const bool same = c["status"].as_string() == a.status;
    changed = !same || c["reason"].as_string() != a.reason || c["message"].as_string() != a.message;
    next.emplace_back(make(same ? std::string(c["lastTransitionTime"].as_string()) : format_rfc3339(now)));
  }
  if (!told) next.emplace_back(make(format_rfc3339(now)));
  if (changed) object.member("status").set("conditions", std::move(next));
  return changed;
}

}  // namespace kedge::api::aggregation
