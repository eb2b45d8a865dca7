// cloud_node.cc: what K3s's embedded cloud controller does for a node: provider id, instance type, addresses from the
// agent's annotations, and the end of the taint `uninitialized` that a kubelet with cloud-provider=external sets.
#include "base/strings.h"
#include "control/controller.h"
#include "json/parse.h"

namespace kedge::control {

namespace {

const api::resource_id nodes{"", "v1", "nodes"};
constexpr std::string_view uninitialized = "node.cloudprovider.kubernetes.io/uninitialized";

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

bool initialise(json::value& node, const std::string& name) {
  bool changed = false;
  if (node["spec"]["providerID"].as_string().empty()) {
    node.member("spec").set("providerID", "k3s://" + name);
    changed = true;
  }
  auto& labels = node.member("metadata").member("labels");
  if (labels["node.kubernetes.io/instance-type"].as_string().empty()) {
    labels.set("node.kubernetes.io/instance-type", "k3s");
    labels.set("beta.kubernetes.io/instance-type", "k3s");
    changed = true;
  }
  if (auto* taints = node.member("spec").find("taints"); taints && taints->array()) {
    auto& list = *taints->array();
    auto before = list.size();
    std::erase_if(list, [](const json::value& t) { return t["key"].as_string() == uninitialized; });
    changed = changed || list.size() != before;
    if (list.empty()) node.member("spec").erase("taints");
  }
  return changed;
}

}  // namespace

task<void> run_cloud_node(context& c) {
  auto prefix = c.objects.prefix(nodes);
  work_queue queue;
  reactor::scope tasks;
  tasks.spawn(follow(c.objects.objects_store(), prefix, [&](const store::event& e) {
    if (e.type != store::event_type::deleted) queue.add(std::string(name_under(prefix, e.object->key())));
  }));
  co_await work("cloud-node", queue, 2, [&](std::string name) -> task<api::api_result<void>> {
    auto node = c.objects.get(nodes, "", name);
    if (!node) co_return api::api_result<void>();
    auto wanted = addresses(*node);
    if (wanted.empty()) co_return api::api_result<void>();  // it comes back when the agent has annotated it
    if (!((*node)["status"]["addresses"] == json::value(wanted))) {
      auto done = co_await c.objects.modify(
          nodes, "", name, [&](json::value& n) { n.member("status").set("addresses", wanted); return true; }, "status");
      if (!done) co_return api::fail(done.error());
    }
    auto done = co_await c.objects.modify(nodes, "", name, [&](json::value& n) { return initialise(n, name); });
    if (!done) co_return api::fail(done.error());
    co_return api::api_result<void>();
  });
}

}  // namespace kedge::control
