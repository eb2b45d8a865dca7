#include "control/scheduler/devices/extended_resources.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

namespace kedge::control::scheduler {
namespace {

// What the claim is called while it isn't written; no claim can have that name.
constexpr std::string_view unwritten_name = "<extended-resources>";

struct container_request {
  std::string name;
  std::int64_t count = 0;
};
using request_list = std::vector<std::optional<container_request>>;  // by container

struct mapping {
  std::string container, request;
};

// What container `i` needs of the resource beyond what it may use of `others`, who begin when it has ended.
std::optional<container_request> request_of(const pod_class& pod, std::size_t i, const std::string& resource,
                                            std::span<const std::optional<container_request>> others,
                                            std::vector<mapping>& mappings) {
  auto& c = pod.containers[i];
  const auto wanted = c.asks_for(resource);
  if (wanted == 0) return std::nullopt;
  std::int64_t there = 0;
  for (auto& other : others) {
    if (!other) continue;
    there += other->count;
    mappings.push_back({c.name, other->name});
    if (there >= wanted) return std::nullopt;
  }
  const auto place = std::ranges::lower_bound(c.requests, resource) - c.requests.begin();
  container_request out{fmt::format("container-{}-request-{}", i, place), wanted - there};
  mappings.push_back({c.name, out.name});
  return out;
}

struct resource_requests {
  std::vector<container_request> requests;
  std::vector<mapping> mappings;
};

// Those who stay have devices of their own. Those who pass, one after the other, use those of who comes behind them,
// and what more one of them needs is requested once, for who needs most.
resource_requests requests_for(const pod_class& pod, const std::string& resource) {
  resource_requests out;
  const auto containers = pod.containers.size();
  request_list staying(containers);
  for (std::size_t i = 0; i < containers; ++i)
    if (!pod.containers[i].passes) staying[i] = request_of(pod, i, resource, {}, out.mappings);
  std::vector<mapping> passing;
  std::optional<container_request> most;
  std::set<std::string> names;
  for (std::size_t i = 0; i < containers; ++i) {
    if (!pod.containers[i].passes) continue;
    auto r = request_of(pod, i, resource, std::span(staying).subspan(i), passing);
    if (!r) continue;
    names.insert(r->name);
    if (!most || most->count < r->count) most = std::move(r);
  }
  for (auto& m : passing) {
    if (most && names.contains(m.request)) m.request = most->name;
    out.mappings.push_back(std::move(m));
  }
  if (most) out.requests.push_back(*std::move(most));
  for (auto& r : staying)
    if (r) out.requests.push_back(*std::move(r));
  return out;
}

json::value claim_object(const pod_view& pod, const json::value& requests) {
  return json::object{{"metadata", json::object{{"namespace", pod.ns},
                                                {"name", unwritten_name},
                                                {"uid", fmt::format("{}/{}", unwritten_name, pod.uid)}}},
                      {"spec", json::object{{"devices", json::object{{"requests", requests}}}}}};
}

}  // namespace

bool asks_for_devices(const pod_class& pod, const devices_view& devices) {
  if (pod.containers.empty()) return false;
  return std::ranges::any_of(pod.requests.scalars, [&](auto& s) {
    return s.second != 0 && may_be_devices(s.first) && devices.class_for_resource(s.first);
  });
}

resources_on_node extended_resources_on(const node_view& node, const pod_class& pod, const devices_view& devices) {
  resources_on_node out;
  for (auto& [name, amount] : pod.requests.scalars) {
    if (amount == 0 || !may_be_devices(name)) continue;
    if (node.allocatable.scalar(name) == 0 && devices.class_for_resource(name))
      out.as_devices.push_back(name);
    else if (!node.allocatable.names(name))
      out.lacks_some = true;
  }
  return out;
}

device_counts count_devices(const node_view& node, const class_ref& of, const devices_view& devices) {
  device_counts out;
  for (auto* list : {&devices.slices_of(node.name), &devices.shared_slices()})
    for (auto& [name, s] : *list) {
      if (!s->by_device && !s->from.matches(node.name, node.labels)) continue;
      auto* chosen = devices.chosen_by(of, s);
      if (!chosen) return {};
      for (std::size_t i = 0; i < s->devices.size(); ++i) {
        auto& d = s->devices[i];
        if (!(*chosen)[i] || (s->by_device && !d.from.matches(node.name, node.labels))) continue;
        ++out.all;
        const device_id id{s->pool, d.name};
        out.given += devices.is_taken(id) || devices.is_shared(id);
      }
    }
  return out;
}

claim_for_resources make_claim_for(const pod_view& pod, std::span<const std::string> resources,
                                   const devices_view& devices) {
  std::vector<std::pair<std::string, json::value>> requests;  // by name
  json::array mappings;
  for (auto& resource : resources) {
    auto of_class = devices.class_for_resource(resource);
    if (!of_class) continue;
    auto wanted = requests_for(*pod.is, resource);
    for (auto& r : wanted.requests)
      requests.emplace_back(r.name, json::object{{"name", r.name},
                                                 {"exactly", json::object{{"deviceClassName", of_class->name},
                                                                          {"allocationMode", "ExactCount"},
                                                                          {"count", r.count}}}});
    for (auto& m : wanted.mappings)
      mappings.push_back(
          json::object{{"containerName", m.container}, {"resourceName", resource}, {"requestName", m.request}});
  }
  std::ranges::sort(requests, {}, &std::pair<std::string, json::value>::first);
  claim_for_resources out;
  json::array list;
  for (auto& [name, r] : requests) list.push_back(std::move(r));
  out.requests = std::move(list);
  out.mappings = std::move(mappings);
  out.claim = device_claim_of(claim_object(pod, out.requests));
  return out;
}

}  // namespace kedge::control::scheduler
