// declared_features.cc: a pod that is on a node isn't changed into what the node doesn't say that it can
// (status.declaredFeatures; KEP-5328).
#include <algorithm>

#include "api/admission/plugin.h"
#include "api/registry/lookup.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

// With as many containers, in the same order: anything else is refused by validation.
bool resizes_first_containers(const json::value& now, const json::value& before) {
  auto &next = now["initContainers"], &old = before["initContainers"];
  if (next.size() != old.size()) return false;
  for (std::size_t i = 0; i < old.size(); ++i)
    if (old[i]["restartPolicy"].as_string() != "Always" && next[i]["resources"] != old[i]["resources"]) return true;
  return false;
}

std::vector<std::string> features_needed(const json::value& now, const json::value& before) {
  std::vector<std::string> out;
  if (now["resources"] != before["resources"]) out.emplace_back("InPlacePodLevelResourcesVerticalScaling");
  if (resizes_first_containers(now, before)) out.emplace_back("InPlacePodVerticalScalingInitContainers");
  return out;
}

bool declares(const json::value& node, std::string_view feature) {
  auto* all = node["status"]["declaredFeatures"].array();
  return all && std::any_of(all->begin(), all->end(), [&](auto& f) { return f.as_string() == feature; });
}

api_result<void> look(admission_request& r, plugin_context& c) {
  if ((!concerns(r, "", "pods") && !concerns(r, "", "pods", "resize")) || !r.object || !r.old) return {};
  auto& spec = (*r.object)["spec"];
  auto name = spec["nodeName"].as_string();
  if (name.empty()) return {};
  auto needed = features_needed(spec, (*r.old)["spec"]);
  if (needed.empty()) return {};
  auto node = read_object(c.cluster, object_key("minions", {}, name));
  if (!node) return fail(refused(r, "node " + quote(name) + " not found"));
  std::erase_if(needed, [&](auto& feature) { return declares(*node, feature); });
  if (needed.empty()) return {};
  return fail(refused(
      r, "pod update requires features " + join(needed, ", ") + " which are not available on node " + quote(name)));
}

}  // namespace

const plugin plugins::node_declared_features{
    .name = "NodeDeclaredFeatureValidator", .operations = on_create | on_update, .validate = look};

}  // namespace kedge::api
