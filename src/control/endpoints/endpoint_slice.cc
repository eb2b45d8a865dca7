// endpoint_slice.cc: EndpointSlices of Services that select pods: who serves, and how well (endpointslice-controller).
//
//   service ─▶ its pods, by port mapping and family ─▶ endpoints wanted ─▶ slices that stand keep what is still wanted
//        ─▶ what is new fills those that change anyway, then one with room, then new ones ─▶ hints ─▶ create, update,
//        delete
//
// Slices have up to 100 endpoints (--max-endpoints-per-slice), and as few as possible are written for a change
// (KEP-752).
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/ip.h"
#include "control/conditions.h"
#include "control/controllers.h"
#include "control/endpoints/serving.h"
#include "control/owners.h"
#include "control/pods.h"
#include "control/resources.h"
#include "control/settings.h"
#include "control/workloads/replicas.h"
#include "json/write.h"
#include "meta/selector.h"

namespace kedge::control {
namespace {

const api::resource_id endpoint_slices{"discovery.k8s.io", "v1", "endpointslices"};
constexpr owner_kind service_kind{"v1", "Service"};
constexpr std::string_view manager = "endpointslice-controller.k8s.io";
constexpr std::string_view service_label = "kubernetes.io/service-name";
constexpr std::string_view manager_label = "endpointslice.kubernetes.io/managed-by";
constexpr std::string_view headless_label = "service.kubernetes.io/headless";

bool is_reserved(std::string_view label) {
  return label == service_label || label == manager_label || label == headless_label;
}

json::array ports_of(const json::value& service, const json::value& pod) {
  json::array out;
  for (std::size_t i = 0; i < service["spec"]["ports"].size(); ++i) {
    auto& p = service["spec"]["ports"][i];
    auto number = port_of(pod, p);
    if (!number) continue;
    json::object port{{"name", p["name"].as_string()}, {"protocol", p["protocol"].as_string("TCP")}, {"port", *number}};
    if (p["appProtocol"].is_string()) port.set("appProtocol", p["appProtocol"]);
    out.emplace_back(std::move(port));
  }
  std::sort(out.begin(), out.end(), [](auto& a, auto& b) {
    auto key = [](auto& p) {
      return std::tuple(p["name"].as_string(), p["port"].as_integer(), p["protocol"].as_string());
    };
    return key(a) < key(b);
  });
  return out;
}

// What names a set of ports, whatever the order of their members.
std::string key_of(const json::value& ports) {
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    auto& p = ports[i];
    lines.push_back(fmt::format("{}/{}/{}/{}", p["name"].as_string(), p["protocol"].as_string(), p["port"].as_integer(),
                                p["appProtocol"].as_string()));
  }
  std::sort(lines.begin(), lines.end());
  return fmt::format("{}", fmt::join(lines, "\n"));
}

json::value endpoint_of(const json::value& pod, const json::value* node, const json::value& service,
                        json::array addresses) {
  const bool serving = is_ready(pod), terminating = is_deleting(pod);
  const bool ready = service["spec"]["publishNotReadyAddresses"].as_bool() || (serving && !terminating);
  json::object out{{"addresses", std::move(addresses)},
                   {"conditions", json::object{{"ready", ready}, {"serving", serving}, {"terminating", terminating}}}};
  auto& spec = pod["spec"];
  auto& m = pod["metadata"];
  if (auto host = spec["hostname"].as_string();
      !host.empty() && spec["subdomain"].as_string() == service["metadata"]["name"].as_string())
    out.set("hostname", host);
  out.set("targetRef",
          json::object{{"kind", "Pod"}, {"namespace", m["namespace"]}, {"name", m["name"]}, {"uid", m["uid"]}});
  if (auto name = node_of(pod); !name.empty()) out.set("nodeName", name);
  if (node)
    if (auto zone = (*node)["metadata"]["labels"]["topology.kubernetes.io/zone"].as_string(); !zone.empty())
      out.set("zone", zone);
  return out;
}

// Endpoints of one pod are the same endpoint, however it does.
std::string identity_of(const json::value& endpoint) {
  std::string out(endpoint["targetRef"]["uid"].as_string());
  out += '/';
  out += endpoint["hostname"].as_string();
  out += '/';
  out += endpoint["nodeName"].as_string();
  for (std::size_t i = 0; i < endpoint["addresses"].size(); ++i) (out += '/') += endpoint["addresses"][i].as_string();
  return out;
}

json::value without_hints(json::value endpoint) {
  endpoint.erase("hints");
  return endpoint;
}

// spec.trafficDistribution: who is near is said with each endpoint (KEP-4444, KEP-3015).
void hint(json::value& endpoint, std::string_view how) {
  endpoint.erase("hints");
  if (!endpoint["conditions"]["ready"].as_bool()) return;
  json::object hints;
  auto zone = endpoint["zone"].as_string(), node = endpoint["nodeName"].as_string();
  if (how == "PreferSameNode" && !node.empty()) hints.set("forNodes", json::array{json::object{{"name", node}}});
  if (!zone.empty()) hints.set("forZones", json::array{json::object{{"name", zone}}});
  if (!hints.empty()) endpoint.set("hints", std::move(hints));
}

struct wanted_group {
  json::array ports;
  std::map<std::string, json::value> endpoints;  // by identity
};

// The slices of a service in one family.
class family {
 public:
  family(const json::value& service, std::string type, std::vector<const json::value*> standing, std::string trigger,
         std::size_t endpoints_max)
      : service_(service),
        type_(std::move(type)),
        standing_(std::move(standing)),
        trigger_(std::move(trigger)),
        endpoints_max_(endpoints_max) {}

  void want(json::array ports, json::value endpoint) {
    auto& group = groups_[key_of(ports)];
    if (group.ports.empty()) group.ports = std::move(ports);
    if (endpoint["addresses"].empty()) return;
    auto id = identity_of(endpoint);
    group.endpoints.insert_or_assign(std::move(id), std::move(endpoint));
  }

  void plan_into(plan& p) {
    std::map<std::string, std::vector<const json::value*>> by_ports;
    for (auto s : standing_) owned(*s) ? by_ports[key_of((*s)["ports"])].push_back(s) : removed_.push_back(s);
    for (auto& [key, group] : groups_) fill(group, by_ports[key]);
    for (auto& [key, slices] : by_ports)
      if (!groups_.contains(key)) removed_.insert(removed_.end(), slices.begin(), slices.end());
    // A service without endpoints has one slice that says so.
    if (removed_.size() == standing_.size() && made_.empty()) {
      if (removed_.size() == 1 && is_placeholder(*removed_.front()))
        removed_.clear();
      else
        made_.push_back(fresh({}));
    }
    // A slice that goes and one that comes are one that changes.
    while (!removed_.empty() && !made_.empty()) {
      auto again = std::find_if(removed_.begin(), removed_.end(), [&](auto s) { return owned(*s); });
      if (again == removed_.end()) break;
      auto next = std::move(made_.back());
      made_.pop_back();
      next.member("metadata") = (**again)["metadata"];
      next.member("metadata").set("labels", labels());
      changed_.push_back(std::move(next));
      removed_.erase(again);
    }
    write(p);
  }

 private:
  bool owned(const json::value& slice) const {
    bool out = false;
    each_owner(slice,
               [&](auto& o) { out |= o["uid"].as_string() == uid_of(service_) && o["kind"].as_string() == "Service"; });
    return out;
  }
  bool is_placeholder(const json::value& slice) const {
    return slice["endpoints"].empty() && slice["ports"].empty() && slice["metadata"]["labels"] == labels();
  }

  json::value labels() const {
    json::value out = json::object{};
    if (auto own = service_["metadata"]["labels"].object())
      for (auto& l : *own)
        if (!is_reserved(l.name)) out.set(l.name, l.value);
    if (!has_address(service_)) out.set(headless_label, "");
    out.set(service_label, service_["metadata"]["name"]);
    out.set(manager_label, manager);
    return out;
  }

  json::value fresh(json::array ports) const {
    auto& m = service_["metadata"];
    return json::object{
        {"kind", "EndpointSlice"},
        {"apiVersion", "discovery.k8s.io/v1"},
        {"metadata", json::object{{"generateName", std::string(m["name"].as_string()) + "-"},
                                  {"namespace", m["namespace"]},
                                  {"labels", labels()},
                                  {"ownerReferences", json::array{controller_reference(service_kind, service_)}}}},
        {"addressType", type_},
        {"endpoints", json::array{}},
        {"ports", std::move(ports)}};
  }

  void fill(wanted_group& group, const std::vector<const json::value*>& slices) {
    std::vector<json::value> changing;
    std::vector<const json::value*> unchanged;
    const auto own_labels = labels();
    for (auto s : slices) {
      json::array kept;
      bool differs = false;
      for (std::size_t i = 0; i < (*s)["endpoints"].size(); ++i) {
        auto& e = (*s)["endpoints"][i];
        auto found = group.endpoints.find(identity_of(e));
        if (found == group.endpoints.end()) continue;
        differs |= !(found->second == without_hints(e));
        kept.push_back(std::move(found->second));
        group.endpoints.erase(found);
      }
      differs |= kept.size() != (*s)["endpoints"].size();
      if (differs && kept.empty()) {
        removed_.push_back(s);
      } else if (differs || !((*s)["metadata"]["labels"] == own_labels)) {
        auto next = *s;
        next.set("endpoints", std::move(kept));
        next.member("metadata").set("labels", own_labels);
        changing.push_back(std::move(next));
      } else {
        unchanged.push_back(s);
      }
    }
    auto take = [&](json::value& slice) {
      auto& list = slice.member("endpoints").make_array();
      while (!group.endpoints.empty() && list.size() < endpoints_max_) {
        list.push_back(std::move(group.endpoints.begin()->second));
        group.endpoints.erase(group.endpoints.begin());
      }
    };
    std::sort(changing.begin(), changing.end(),
              [](auto& a, auto& b) { return a["endpoints"].size() > b["endpoints"].size(); });
    for (auto& slice : changing) take(slice);
    while (!group.endpoints.empty()) {
      auto room = fullest_with_room(unchanged, group.endpoints.size());
      auto slice = room ? *room : fresh(group.ports);
      if (room) std::erase(unchanged, room);
      take(slice);
      (room ? changing : made_).push_back(std::move(slice));
    }
    for (auto& c : changing) changed_.push_back(std::move(c));
    for (auto s : unchanged) kept_.push_back(s);
  }

  const json::value* fullest_with_room(const std::vector<const json::value*>& slices, std::size_t n) const {
    const json::value* out = nullptr;
    for (auto s : slices)
      if ((*s)["endpoints"].size() + n <= endpoints_max_ &&
          (!out || (*s)["endpoints"].size() > (*out)["endpoints"].size()))
        out = s;
    return out;
  }

  // True when it differs from before.
  bool set_hints(json::value& slice) const {
    auto how = service_["spec"]["trafficDistribution"].as_string();
    const bool wanted = how == "PreferClose" || how == "PreferSameZone" || how == "PreferSameNode";
    bool changed = false;
    for (auto& e : slice.member("endpoints").make_array()) {
      auto before = e["hints"];
      wanted ? hint(e, how) : void(e.erase("hints"));
      changed |= !(before == e["hints"]);
    }
    return changed;
  }

  void write(plan& p) {
    for (auto s : kept_) {
      auto next = *s;
      if (set_hints(next)) changed_.push_back(std::move(next));
    }
    auto note = [&](json::value& slice) {
      auto& m = slice.member("metadata");
      if (!trigger_.empty())
        m.member("annotations").set(trigger_note, trigger_);
      else if (auto notes = m.find("annotations"))
        notes->erase(trigger_note);
    };
    for (auto& slice : made_) {
      set_hints(slice);
      note(slice);
      p.write(creation(endpoint_slices, std::string(service_["metadata"]["namespace"].as_string()), std::move(slice)));
    }
    for (auto& slice : changed_) {
      set_hints(slice);
      note(slice);
      p.write(update_of(endpoint_slices, std::move(slice)));
    }
    for (auto s : removed_) p.write(removal_of_any_version(endpoint_slices, *s));
  }

  const json::value& service_;
  std::string type_;
  std::vector<const json::value*> standing_, kept_, removed_;
  std::string trigger_;
  std::size_t endpoints_max_;  // of a slice
  std::map<std::string, wanted_group> groups_;
  std::vector<json::value> made_, changed_;
};

class endpoint_slice final : public controller {
 public:
  explicit endpoint_slice(const settings& s)
      : endpoints_max_(s.max_endpoints_per_slice), batch_(s.endpointslice_updates_batch_period) {}

  std::vector<source> sources() override {
    return {{services, [this](const seen& s, keys& k) { selectors_.service_changed(s, k); }},
            {pods, [this](const seen& s, keys& k) { selectors_.pod_changed(s, k, batch_); }},
            {endpoint_slices,
             [this](const seen& s, keys& k) {
               auto& m = s.value()["metadata"];
               if (m["labels"][manager_label].as_string() != manager) return;
               add_batched(k, fmt::format("{}/{}", m["namespace"].as_string(), m["labels"][service_label].as_string()),
                           batch_);
             }},
            {nodes, [this](const seen& s, keys& k) { node_changed(s, k); }}};
  }

  plan look(const view& cluster, const std::string& key, const moment&) override {
    plan p;
    auto service = cluster.get(services, key);
    if (!service) triggers_.forget(key);
    if (!service || !(*service)["spec"]["selector"].is_object() ||
        (*service)["spec"]["type"].as_string() == "ExternalName" || is_deleting(*service))
      return p;
    auto types = families_of(*service);
    auto standing = slices_of(cluster, *service);
    auto selected = pods_of(cluster, *service);
    auto trigger = triggers_.of(key, *service, selected);
    for (auto& [type, slices] : standing)
      if (std::find(types.begin(), types.end(), type) == types.end())
        for (auto s : slices) p.write(removal_of_any_version(endpoint_slices, *s));
    for (auto& type : types) {
      family f(*service, type, standing[type], trigger, endpoints_max_);
      for (auto pod : selected) {
        if (!serves(*pod)) continue;
        auto node = node_of(*pod).empty() ? nullptr : cluster.get(nodes, {}, node_of(*pod));
        auto ports = ports_of(*service, *pod);
        if (!node && !(*service)["spec"]["publishNotReadyAddresses"].as_bool()) {
          missing_node_.insert(key);
          continue;
        }
        f.want(std::move(ports), endpoint_of(*pod, node, *service, addresses_of(*pod, type)));
      }
      f.plan_into(p);
    }
    return p;
  }

 private:
  // Services whose pods' nodes weren't known; and a zone that changes is every endpoint's there.
  void node_changed(const seen& s, keys& k) {
    const bool zone = s.modified() && !(s.value()["metadata"]["labels"]["topology.kubernetes.io/zone"] ==
                                        s.value_before()["metadata"]["labels"]["topology.kubernetes.io/zone"]);
    if (s.added())
      for (auto& key : std::exchange(missing_node_, {})) k.add(key);
    if (zone) selectors_.name_all(k);
  }

  static std::map<std::string, std::vector<const json::value*>> slices_of(const view& cluster,
                                                                          const json::value& service) {
    std::map<std::string, std::vector<const json::value*>> out;
    auto name = service["metadata"]["name"].as_string();
    cluster.cluster().scan(cluster.prefix(endpoint_slices, service["metadata"]["namespace"].as_string()), {},
                           [&](const store::object_ref& o) {
                             if (api::label_in_text(o->labels_text(), service_label) != name ||
                                 api::label_in_text(o->labels_text(), manager_label) != manager)
                               return true;
                             if (auto v = cluster.value(o))
                               out[std::string((*v)["addressType"].as_string())].push_back(v);
                             return true;
                           });
    return out;
  }

  std::size_t endpoints_max_;
  duration batch_;
  service_selectors selectors_;
  trigger_times triggers_;
  std::set<std::string> missing_node_;
};

}  // namespace

std::unique_ptr<controller> make_endpoint_slice(const settings& s) { return std::make_unique<endpoint_slice>(s); }

}  // namespace kedge::control
