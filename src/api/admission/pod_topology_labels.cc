// pod_topology_labels.cc: a pod that is on a node, or is bound to one, has the node's zone and region as labels
// (KEP-4742). A binding's labels become its pod's.
#include "api/admission/plugin.h"
#include "api/registry/lookup.h"
#include "meta/selector.h"

namespace kedge::api {
namespace {

constexpr std::string_view copied[] = {"topology.kubernetes.io/zone", "topology.kubernetes.io/region"};

api_result<void> admit(admission_request& r, plugin_context& c) {
  if (!r.object || r.what != operation::create) return {};
  std::string_view node;
  if (concerns(r, "", "pods", "binding")) {
    auto& target = (*r.object)["target"];
    if (target["kind"].as_string() == "Node") node = target["name"].as_string();
  } else if (concerns(r, "", "pods")) {
    node = (*r.object)["spec"]["nodeName"].as_string();
  }
  if (node.empty()) return {};
  auto found = c.cluster.find(object_key("minions", {}, node));
  if (!found) return {};
  // Not parsed: every pod that gets its node comes by here.
  for (auto label : copied)
    if (auto value = label_in_text(found->labels_text(), label))
      r.object->member("metadata").member("labels").set(label, *value);
  return {};
}

}  // namespace

const plugin plugins::pod_topology_labels{.name = "PodTopologyLabels", .operations = on_create, .mutate = admit};

}  // namespace kedge::api
