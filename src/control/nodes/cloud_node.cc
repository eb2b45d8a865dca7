// cloud_node.cc: what K3s's embedded cloud controller does for a node: provider id, instance type, addresses from the
// agent's annotations, and the end of the taint `uninitialized` that a kubelet with cloud-provider=external sets.
#include "base/strings.h"
#include "control/controllers.h"
#include "control/resources.h"

namespace kedge::control {

namespace {

constexpr std::string_view uninitialized = "node.cloudprovider.kubernetes.io/uninitialized";
constexpr std::string_view instance_type = "node.kubernetes.io/instance-type";
constexpr std::string_view beta_instance_type = "beta.kubernetes.io/instance-type";

void add_addresses(json::array& out, const json::value& annotation, const char* type) {
  auto list = annotation.as_string();
  if (list.empty()) return;
  for (auto part : split(list, ','))
    if (auto a = trim(part); !a.empty()) out.push_back(json::object{{"type", type}, {"address", std::string(a)}});
}

// The addresses that the annotations say; empty before the agent has annotated.
json::array addresses(const json::value& node) {
  auto& a = node["metadata"]["annotations"];
  json::array out;
  add_addresses(out, a["k3s.io/internal-ip"], "InternalIP");
  if (out.empty()) return out;
  add_addresses(out, a["k3s.io/external-ip"], "ExternalIP");
  add_addresses(out, a["k3s.io/internal-dns"], "InternalDNS");
  add_addresses(out, a["k3s.io/external-dns"], "ExternalDNS");
  add_addresses(out, a["k3s.io/hostname"], "Hostname");
  return out;
}

json::value initialised(json::value node, const std::string& name) {
  if (node["spec"]["providerID"].as_string().empty()) node.member("spec").set("providerID", "k3s://" + name);
  auto& labels = node.member("metadata").member("labels");
  if (labels[instance_type].as_string().empty()) {
    labels.set(instance_type, "k3s");
    labels.set(beta_instance_type, "k3s");
  }
  if (auto* taints = node.member("spec").find("taints"); taints && taints->array()) {
    std::erase_if(*taints->array(), [](const json::value& t) { return t["key"].as_string() == uninitialized; });
    if (taints->empty()) node.member("spec").erase("taints");
  }
  return node;
}

plan look_at_node(const view& cluster, const std::string& name, const moment&) {
  plan p;
  auto node = cluster.get(nodes, {}, name);
  if (!node) return p;
  json::value wanted = addresses(*node);
  if (wanted.empty()) return p;  // it comes back when the agent has annotated it
  if (!((*node)["status"]["addresses"] == wanted)) {
    auto next = *node;
    next.member("status").set("addresses", std::move(wanted));
    return p.write(update_of(nodes, std::move(next), "status"));  // whose event brings it back for the rest
  }
  if (auto next = initialised(*node, name); !(next == *node)) p.write(update_of(nodes, std::move(next)));
  return p;
}

}  // namespace

std::unique_ptr<controller> make_cloud_node(const settings&) {
  return plain_controller({{nodes, living_key}}, look_at_node);
}

}  // namespace kedge::control
