// endpoints.cc: the v1 Endpoints of Services that select pods, for those who still read them (endpoints-controller).
#include <fmt/format.h>

#include <algorithm>

#include "control/controllers.h"
#include "control/endpoints/serving.h"
#include "control/endpoints/subsets.h"
#include "control/owners.h"
#include "control/pods.h"
#include "control/resources.h"
#include "control/settings.h"
#include "control/workloads/replicas.h"

namespace kedge::control {
namespace {

const api::resource_id endpoints{"", "v1", "endpoints"};
constexpr std::string_view manager_label = "endpoints.kubernetes.io/managed-by", manager = "endpoint-controller";
constexpr std::string_view headless_label = "service.kubernetes.io/headless";
constexpr std::string_view capacity_note = "endpoints.kubernetes.io/over-capacity";
constexpr std::size_t addresses_max = 1000;  // of one object

bool is_managed(const json::value& o) { return o["metadata"]["labels"][manager_label].as_string() == manager; }

// The subset of one pod and one port (null: none).
json::value subset_of(const json::value& service, const json::value& pod, std::string_view ip, json::value port) {
  auto& m = pod["metadata"];
  json::object address{{"ip", ip}};
  if (auto host = pod["spec"]["hostname"].as_string();
      !host.empty() && pod["spec"]["subdomain"].as_string() == service["metadata"]["name"].as_string() &&
      m["namespace"] == service["metadata"]["namespace"])
    address.set("hostname", host);
  if (auto node = node_of(pod); !node.empty()) address.set("nodeName", node);
  address.set("targetRef",
              json::object{{"kind", "Pod"}, {"namespace", m["namespace"]}, {"name", m["name"]}, {"uid", m["uid"]}});
  json::object out;
  const bool ready = service["spec"]["publishNotReadyAddresses"].as_bool() || is_ready(pod);
  out.set(ready ? "addresses" : "notReadyAddresses", json::array{std::move(address)});
  if (!port.is_null()) out.set("ports", json::array{std::move(port)});
  return out;
}

json::array subsets_of(const json::value& service, const std::vector<const json::value*>& selected) {
  json::array out;
  const auto family = families_of(service).front();
  const bool all = service["spec"]["publishNotReadyAddresses"].as_bool();
  auto& ports = service["spec"]["ports"];
  for (auto pod : selected) {
    if (!serves(*pod) || (is_deleting(*pod) && !all)) continue;
    auto addresses = addresses_of(*pod, family);
    if (addresses.empty()) continue;
    auto ip = addresses.front().as_string();
    if (ports.empty() && !has_address(service)) out.push_back(subset_of(service, *pod, ip, {}));
    for (std::size_t i = 0; i < ports.size(); ++i) {
      auto number = port_of(*pod, ports[i]);
      if (!number) continue;
      json::object port;
      if (auto name = ports[i]["name"].as_string(); !name.empty()) port.set("name", name);
      port.set("port", *number);
      port.set("protocol", ports[i]["protocol"].as_string("TCP"));
      if (ports[i]["appProtocol"].is_string()) port.set("appProtocol", ports[i]["appProtocol"]);
      out.push_back(subset_of(service, *pod, ip, std::move(port)));
    }
  }
  return repacked(out);
}

json::value without_trigger(json::value o) {
  if (auto notes = o.member("metadata").find("annotations")) {
    notes->erase(trigger_note);
    if (notes->empty()) o.member("metadata").erase("annotations");
  }
  return o;
}

class endpoints_controller final : public controller {
 public:
  explicit endpoints_controller(const settings& s) : batch_(s.endpoint_updates_batch_period) {}

  std::vector<source> sources() override {
    return {{services, [this](const seen& s, keys& k) { selectors_.service_changed(s, k); }},
            {pods, [this](const seen& s, keys& k) { selectors_.pod_changed(s, k, batch_); }},
            // Its own, when somebody removed or changed them, and what outlived its Service while nobody looked.
            {endpoints, [](const seen& s, keys& k) {
               if (is_managed(s.value())) own_key(s, k);
             }}};
  }

  plan look(const view& cluster, const std::string& key, const moment&) override {
    plan p;
    auto service = cluster.get(services, key);
    auto standing = cluster.get(endpoints, key);
    if (!service) {
      triggers_.forget(key);
      if (standing) p.write(removal_of_any_version(endpoints, *standing));
      return p;
    }
    if (!(*service)["spec"]["selector"].is_object() || (*service)["spec"]["type"].as_string() == "ExternalName")
      return p;
    auto selected = pods_of(cluster, *service);
    auto subsets = subsets_of(*service, selected);
    if (standing && same(repacked((*standing)["subsets"]), subsets))
      subsets = (*standing)["subsets"].array() ? *(*standing)["subsets"].array() : json::array();
    auto next = made(*service, standing, std::move(subsets));
    auto trigger = triggers_.of(key, *service, selected);
    if (standing && without_trigger(next) == without_trigger(*standing)) return p;
    next = without_trigger(std::move(next));
    if (!trigger.empty()) next.member("metadata").member("annotations").set(trigger_note, trigger);
    auto about = reference_to(next);
    auto c = standing ? update_of(endpoints, std::move(next))
                      : creation(endpoints, std::string(split_name(key).ns), std::move(next));
    c.on_refused = notice{about, true, standing ? "FailedToUpdateEndpoint" : "FailedToCreateEndpoint",
                          fmt::format("Failed to {} endpoint {}{}: ", standing ? "update" : "create",
                                      standing ? "" : "for service ", key)};
    return p.write(std::move(c)), p;
  }

 private:
  static bool same(const json::array& a, const json::array& b) { return json::value(a) == json::value(b); }

  static json::value made(const json::value& service, const json::value* standing, json::array subsets) {
    auto& m = service["metadata"];
    json::value next =
        standing
            ? *standing
            : json::value(json::object{{"kind", "Endpoints"},
                                       {"apiVersion", "v1"},
                                       {"metadata", json::object{{"name", m["name"]}, {"namespace", m["namespace"]}}}});
    json::value labels = m["labels"].is_object() ? m["labels"] : json::value(json::object{});
    has_address(service) ? void(labels.erase(headless_label)) : labels.set(headless_label, "");
    labels.set(manager_label, manager);
    next.member("metadata").set("labels", std::move(labels));
    if (shorten(subsets, addresses_max))
      next.member("metadata").member("annotations").set(capacity_note, "truncated");
    else if (auto notes = next.member("metadata").find("annotations"))
      notes->erase(capacity_note);
    subsets.empty() ? void(next.erase("subsets")) : next.set("subsets", std::move(subsets));
    return next;
  }

  duration batch_;
  service_selectors selectors_;
  trigger_times triggers_;
};

}  // namespace

std::unique_ptr<controller> make_endpoints(const settings& s) { return std::make_unique<endpoints_controller>(s); }

}  // namespace kedge::control
