// service_lb.cc: K3s's ServiceLB: a Service of type LoadBalancer gets the addresses of nodes as its own. The nodes lead
// its ports there to it by their rules for Services (node/services), so there are no pods of a balancer.
//
//   nodes that are ready, chosen by labels, not taken by an older Service with one of the ports, nor by the node's own
//   API server or kubelet, under policy Local with an endpoint
//        ─▶ their ExternalIPs; where none has any, the InternalIPs ─▶ status.loadBalancer.ingress
//
// What a K3s server left goes: the DaemonSets of its balancer's pods, which would hold the nodes' ports, and the
// finalizers of its controller, for which a Service that is deleted would wait for ever.
#include <algorithm>
#include <set>
#include <utility>

#include "base/ip.h"
#include "control/conditions.h"
#include "control/controllers.h"
#include "control/finalizers.h"
#include "control/owners.h"
#include "control/resources.h"
#include "control/settings.h"

namespace kedge::control {

namespace {

const api::resource_id services{"", "v1", "services"};
const api::resource_id endpoint_slices{"discovery.k8s.io", "v1", "endpointslices"};
constexpr std::string_view enable_label = "svccontroller.k3s.cattle.io/enablelb";
const api::resource_id daemon_sets{"apps", "v1", "daemonsets"};
constexpr std::string_view daemon_set_mark = "daemonset:";
constexpr std::string_view of_service_label = "svccontroller.k3s.cattle.io/svcname";
constexpr std::string_view finalizers[] = {"service.kubernetes.io/load-balancer-cleanup",
                                           "svccontroller.k3s.cattle.io/daemonset"};
constexpr std::string_view pool_label = "svccontroller.k3s.cattle.io/lbpool";

bool is_balanced(const json::value& service) {
  return service["spec"]["type"].as_string() == "LoadBalancer" &&
         service["spec"]["loadBalancerClass"].as_string().empty() && service["metadata"]["deletionTimestamp"].is_null();
}
const json::value& label(const json::value& object, std::string_view name) {
  return object["metadata"]["labels"][name];
}

// Deleted, and waiting for K3s's controller.
bool is_held(const json::value& service) {
  return service["spec"]["loadBalancerClass"].as_string().empty() && is_deleting(service) &&
         std::ranges::any_of(finalizers, [&](auto name) { return has_finalizer(service, name); });
}

// "TCP/80".
std::set<std::string> ports_of(const json::value& service) {
  std::set<std::string> out;
  if (auto* all = service["spec"]["ports"].array())
    for (auto& p : *all)
      out.insert(std::string(p["protocol"].as_string("TCP")) + "/" + std::to_string(p["port"].as_integer()));
  return out;
}

std::vector<ip_address> addresses_of(const json::value& node, std::string_view type) {
  std::vector<ip_address> out;
  if (auto* all = node["status"]["addresses"].array())
    for (auto& a : *all)
      if (auto ip = ip_address::parse(a["address"].as_string()); ip && a["type"].as_string() == type)
        out.push_back(*ip);
  return out;
}

constexpr std::string_view api_service = "kubernetes", api_namespace = "default";

// Where the servers' API is: address and port.
std::set<std::pair<ip_address, std::int64_t>> api_ends(const view& cluster) {
  std::set<std::pair<ip_address, std::int64_t>> out;
  cluster.cluster().scan(cluster.prefix(endpoint_slices, api_namespace), {}, [&](const store::object_ref& o) {
    auto v = cluster.value(o);
    if (!v || label(*v, "kubernetes.io/service-name").as_string() != api_service) return true;
    for (std::size_t e = 0; e < (*v)["endpoints"].size(); ++e)
      for (std::size_t a = 0; a < (*v)["endpoints"][e]["addresses"].size(); ++a)
        if (auto ip = ip_address::parse((*v)["endpoints"][e]["addresses"][a].as_string()))
          for (std::size_t p = 0; p < (*v)["ports"].size(); ++p)
            out.emplace(*ip, (*v)["ports"][p]["port"].as_integer());
    return true;
  });
  return out;
}

class service_lb : public controller {
 public:
  std::vector<source> sources() override {
    return {{services, [this](const seen& s, keys& k) { service_changed(s, k); }},
            {nodes, [this](const seen& s, keys& k) { node_changed(s, k); }},
            {endpoint_slices, [this](const seen& s, keys& k) { slice_changed(s, k); }},
            {daemon_sets, [](const seen& s, keys& k) {
               if (!s.deleted() && !label(s.value(), of_service_label).is_null())
                 k.add(std::string(daemon_set_mark) + std::string(s.name()));
             }}};
  }

  plan look(const view& cluster, const std::string& key, const moment&) override {
    plan p;
    if (key.starts_with(daemon_set_mark)) {
      auto* left = cluster.get(daemon_sets, std::string_view(key).substr(daemon_set_mark.size()));
      if (left && !is_deleting(*left))
        p.write(removal_of_any_version(daemon_sets, *left, {.propagation_policy = "Background"}));
      return p;
    }
    auto service = cluster.get(services, key);
    if (service && is_held(*service)) {
      auto next = *service;
      for (auto name : finalizers) remove_finalizer(next, name);
      return p.write(update_of(services, std::move(next)));
    }
    if (!service || !is_balanced(*service)) return p;
    json::array wanted;
    for (auto& ip : addresses_for(cluster, key, *service))
      wanted.push_back(json::object{{"ip", ip.text()}, {"ipMode", "VIP"}});
    auto& now = (*service)["status"]["loadBalancer"]["ingress"];
    if (now == json::value(wanted) || (now.empty() && wanted.empty())) return p;
    auto next = *service;
    auto& balancer = next.member("status").member("loadBalancer");
    bool any = !wanted.empty();
    if (any)
      balancer.set("ingress", std::move(wanted));
    else
      balancer = json::object{};
    p.write(update_of(services, std::move(next), "status"));
    if (any)
      return p.tell(reference_to(*service), "UpdatedLoadBalancer",
                    "Updated LoadBalancer with new IPs: " + text_of(now) + " -> " + text_of(wanted_of(p)));
    return p.tell(reference_to(*service), "UnAvailableLoadBalancer",
                  "LoadBalancer has no node that can serve it: none is ready and chosen, or others, or the nodes "
                  "themselves, have its ports",
                  true);
  }

 private:
  static const json::value& wanted_of(const plan& p) {
    return p.steps.front().changes.front().object["status"]["loadBalancer"]["ingress"];
  }
  static std::string text_of(const json::value& ingress) {
    std::string out;
    if (auto* all = ingress.array())
      for (auto& i : *all) out += (out.empty() ? "" : " ") + std::string(i["ip"].as_string());
    return "[" + out + "]";
  }

  void service_changed(const seen& s, keys& k) {
    if (!s.deleted() && is_held(s.value())) own_key(s, k);
    bool was = balanced_.contains(std::string(s.name())), is = !s.deleted() && is_balanced(s.value());
    if (!is)
      balanced_.erase(std::string(s.name()));
    else
      balanced_.insert(std::string(s.name()));
    // Its ports may be free for others now, or taken from them.
    if (was || is)
      for (auto& key : balanced_) k.add(key);
  }
  void node_changed(const seen& s, keys& k) {
    if (s.modified()) {
      auto &now = s.value(), &before = s.value_before();
      if (now["metadata"]["labels"] == before["metadata"]["labels"] &&
          now["status"]["addresses"] == before["status"]["addresses"] &&
          condition_of(now, "Ready")["status"] == condition_of(before, "Ready")["status"])
        return;
    }
    for (auto& key : balanced_) k.add(key);
  }
  void slice_changed(const seen& s, keys& k) {
    auto& slice = s.value();
    auto ns = slice["metadata"]["namespace"].as_string(), of = label(slice, "kubernetes.io/service-name").as_string();
    if (ns == api_namespace && of == api_service)
      for (auto& key : balanced_) k.add(key);
    auto key = std::string(ns) + "/" + std::string(of);
    if (balanced_.contains(key)) k.add(key);
  }

  // Whether an older Service than this one has one of its ports. Who came first keeps them.
  bool is_disputed(const view& cluster, const std::string& key, const json::value& service) const {
    auto mine = ports_of(service);
    auto age = [](const json::value& v, const std::string& name) {
      return std::pair(std::string(v["metadata"]["creationTimestamp"].as_string()), name);
    };
    for (auto& other : balanced_) {
      auto v = other == key ? nullptr : cluster.get(services, other);
      if (!v || !is_balanced(*v) || label(*v, pool_label).as_string() != label(service, pool_label).as_string())
        continue;
      auto theirs = ports_of(*v);
      if (age(*v, other) < age(service, key) && std::ranges::any_of(mine, [&](auto& p) { return theirs.contains(p); }))
        return true;
    }
    return false;
  }

  std::vector<ip_address> addresses_for(const view& cluster, const std::string& key, const json::value& service) const {
    if (is_disputed(cluster, key, service)) return {};
    std::vector<const json::value*> all;
    bool listed = false;
    cluster.cluster().scan(cluster.prefix(nodes), {}, [&](const store::object_ref& o) {
      if (auto v = cluster.value(o)) {
        all.push_back(v);
        listed |= label(*v, enable_label).as_string() == "true";
      }
      return true;
    });
    const auto serving = nodes_with_endpoints(cluster, service);
    const auto api = api_ends(cluster);
    const auto ports = ports_of(service);
    bool local = service["spec"]["externalTrafficPolicy"].as_string() == "Local";
    std::erase_if(all, [&](const json::value* n) {
      if (condition_of(*n, "Ready")["status"].as_string() != "True" || has_own(*n, ports, api)) return true;
      // As soon as one node is labelled, those alone count that are; pools are looked at only then.
      if (listed && label(*n, enable_label).as_string() != "true") return true;
      if (listed && !label(service, pool_label).as_string().empty() &&
          label(*n, pool_label).as_string() != label(service, pool_label).as_string())
        return true;
      return local && !serving.contains(std::string((*n)["metadata"]["name"].as_string()));
    });
    std::set<ip_address> found;
    for (auto* type : {"ExternalIP", "InternalIP"}) {
      if (!found.empty()) break;
      for (auto* n : all)
        for (auto& a : addresses_of(*n, type)) found.insert(a);
    }
    std::vector<std::string> families;
    if (auto* asked = service["spec"]["ipFamilies"].array())
      for (auto& f : *asked) families.emplace_back(f.as_string());
    if (families.empty())
      families.emplace_back(service["spec"]["clusterIP"].as_string().contains(':') ? "IPv6" : "IPv4");
    std::vector<ip_address> out;
    for (auto& f : families)
      for (auto& a : found)
        if (a.is_v6() == (f == "IPv6")) out.push_back(a);
    return out;
  }

  // One of the ports is where the node's own server or kubelet listens.
  static bool has_own(const json::value& node, const std::set<std::string>& ports,
                      const std::set<std::pair<ip_address, std::int64_t>>& api) {
    auto is_asked = [&](std::int64_t port) { return ports.contains("TCP/" + std::to_string(port)); };
    if (is_asked(node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_integer())) return true;
    for (auto* type : {"ExternalIP", "InternalIP"})
      for (auto& a : addresses_of(node, type))
        for (auto& [ip, port] : api)
          if (ip == a && is_asked(port)) return true;
    return false;
  }

  static std::set<std::string> nodes_with_endpoints(const view& cluster, const json::value& service) {
    std::set<std::string> out;
    auto name = service["metadata"]["name"].as_string();
    cluster.cluster().scan(cluster.prefix(endpoint_slices, service["metadata"]["namespace"].as_string()), {},
                           [&](const store::object_ref& o) {
                             auto v = cluster.value(o);
                             if (!v || label(*v, "kubernetes.io/service-name").as_string() != name) return true;
                             if (auto* all = (*v)["endpoints"].array())
                               for (auto& e : *all)
                                 if (e["conditions"]["ready"].as_bool(true)) out.emplace(e["nodeName"].as_string());
                             return true;
                           });
    return out;
  }

  std::set<std::string> balanced_;
};

}  // namespace

std::unique_ptr<controller> make_service_lb(const settings&) { return std::make_unique<service_lb>(); }

}  // namespace kedge::control
