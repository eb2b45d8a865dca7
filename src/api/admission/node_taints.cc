// node_taints.cc: a node takes no pods before the node-lifecycle controller has seen it ready.
#include "api/admission/plugin.h"

namespace kedge::api {
namespace {

constexpr std::string_view not_ready = "node.kubernetes.io/not-ready";

api_result<void> taint(admission_request& r, plugin_context&) {
  if (!concerns(r, "", "nodes") || r.what != operation::create || !r.object) return {};
  auto& spec = r.object->member("spec");
  if (auto taints = spec["taints"].array())
    for (auto& t : *taints)
      if (t["key"].as_string() == not_ready && t["effect"].as_string() == "NoSchedule") return {};
  spec.member("taints").push_back(json::object{{"key", json::value(not_ready)}, {"effect", "NoSchedule"}});
  return {};
}

}  // namespace

const plugin plugins::taint_nodes_by_condition{
    .name = "TaintNodesByCondition", .operations = on_create, .mutate = taint};

}  // namespace kedge::api
