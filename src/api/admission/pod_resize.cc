// pod_resize.cc: a pod isn't asked to be of a size that its node never has.
#include <fmt/format.h>

#include "api/admission/plugin.h"
#include "api/registry/lookup.h"
#include "base/strings.h"
#include "pod/amounts.h"

namespace kedge::api {
namespace {

status refused_for(const admission_request& r, std::string_view why, std::string reason) {
  auto out = refused(r, why);
  out.causes.push_back({.reason = std::move(reason), .message = {}, .field = {}});
  return out;
}

// What is asked for and the node doesn't have, were it empty.
std::string too_much(const json::value& pod, const json::value& allocatable) {
  auto requests = pod::amounts_of_pod(pod, "requests"), has = pod::amounts_of(allocatable);
  auto of = [](const pod::amounts& all, std::string_view name) {
    auto found = all.find(name);
    return found == all.end() ? schema::quantity() : found->second;
  };
  std::string out;
  auto cpu = of(requests, "cpu"), cpu_of_node = of(has, "cpu");
  if (cpu_of_node < cpu)
    out = fmt::format("cpu, requested: {}, allocatable: {}", cpu.milli_value(), cpu_of_node.milli_value());
  auto memory = of(requests, "memory"), memory_of_node = of(has, "memory");
  if (memory_of_node < memory)
    out += fmt::format("{}memory, requested: {}, allocatable: {}", out.empty() ? "" : "; ", memory.value(),
                       memory_of_node.value());
  return out;
}

api_result<void> look(admission_request& r, plugin_context& c) {
  if (!concerns(r, "", "pods", "resize") || !r.object || !r.old) return {};
  auto& spec = (*r.object)["spec"];
  auto name = spec["nodeName"].as_string();
  if (name.empty() || spec == (*r.old)["spec"]) return {};
  auto node = read_object(c.cluster, object_key("minions", {}, name));
  if (!node) return fail(refused(r, "node " + quote(name) + " not found"));
  if (auto system = (*node)["metadata"]["labels"]["kubernetes.io/os"].as_string("linux"); system != "linux")
    return fail(refused_for(
        r, fmt::format("pod resize is only supported on linux nodes, node {} is {}", quote(name), quote(system)),
        "UnsupportedPlatform"));
  if (auto what = too_much(*r.object, (*node)["status"]["allocatable"]); !what.empty())
    return fail(refused_for(r, "node didn't have enough allocatable resources: " + what, "NodeCapacity"));
  return {};
}

}  // namespace

const plugin plugins::pod_resize{.name = "PodResizeValidator", .operations = on_update, .validate = look};

}  // namespace kedge::api
