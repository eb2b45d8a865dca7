// mirroring.cc: EndpointSlices of Endpoints that somebody else writes, for Services without a selector
// (endpointslice-mirroring-controller).
//
//   endpoints ─▶ by ports and family ─▶ the slice that stands is made so, others go, missing ones come
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/ip.h"
#include "control/controllers.h"
#include "control/endpoints/serving.h"
#include "control/endpoints/subsets.h"
#include "control/owners.h"
#include "control/settings.h"
#include "control/workloads/members.h"
#include "json/write.h"
#include "meta/selector.h"

namespace kedge::control {
namespace {

const api::resource_id endpoints{"", "v1", "endpoints"};
const api::resource_id endpoint_slices{"discovery.k8s.io", "v1", "endpointslices"};
constexpr owner_kind endpoints_kind{"v1", "Endpoints"};
constexpr std::string_view manager_label = "endpointslice.kubernetes.io/managed-by",
                           manager = "endpointslicemirroring-controller.k8s.io";
constexpr std::string_view service_label = "kubernetes.io/service-name";
constexpr std::string_view skip_label = "endpointslice.kubernetes.io/skip-mirror";
constexpr std::string_view leader_note = "control-plane.alpha.kubernetes.io/leader";
constexpr std::string_view applied_note = "kubectl.kubernetes.io/last-applied-configuration";

bool is_mirrored(const json::value& o) {
  return o["metadata"]["labels"][skip_label].as_string() != "true" &&
         o["metadata"]["annotations"][leader_note].is_null();
}

json::value endpoint_of(const json::value& address, bool ready) {
  json::object out{{"addresses", json::array{address["ip"]}}, {"conditions", json::object{{"ready", ready}}}};
  if (auto host = address["hostname"].as_string(); !host.empty()) out.set("hostname", host);
  if (address["targetRef"].is_object()) out.set("targetRef", address["targetRef"]);
  if (auto node = address["nodeName"].as_string(); !node.empty()) out.set("nodeName", node);
  return out;
}

json::array slice_ports(const json::value& ports) {
  json::array out;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    json::object port{{"name", ports[i]["name"].as_string()},
                      {"protocol", ports[i]["protocol"].as_string("TCP")},
                      {"port", ports[i]["port"]}};
    if (ports[i]["appProtocol"].is_string()) port.set("appProtocol", ports[i]["appProtocol"]);
    out.emplace_back(std::move(port));
  }
  return out;
}

// What names a family and a set of ports, whatever their order.
std::string group_key(std::string_view family, const json::value& ports) {
  std::vector<std::string> all;
  for (std::size_t i = 0; i < ports.size(); ++i)
    all.push_back(fmt::format("{}/{}/{}/{}", ports[i]["name"].as_string(), ports[i]["protocol"].as_string(),
                              ports[i]["port"].as_integer(), ports[i]["appProtocol"].as_string()));
  std::sort(all.begin(), all.end());
  return fmt::format("{}\n{}", family, fmt::join(all, "\n"));
}

struct group {
  std::string family;
  json::array ports;
  std::map<std::string, json::value> endpoints;  // by their text: each once, and in an order
};

json::value by_text(const json::value& list) {
  std::map<std::string, json::value> sorted;
  for (std::size_t i = 0; i < list.size(); ++i) sorted.emplace(json::write(list[i]), list[i]);
  json::array out;
  for (auto& [_, e] : sorted) out.push_back(std::move(e));
  return out;
}

class mirroring final : public controller {
 public:
  explicit mirroring(const settings& s)
      : addresses_max_(s.mirroring_max_endpoints_per_subset), batch_(s.mirroring_endpointslice_updates_batch_period) {}

  std::vector<source> sources() override {
    return {{endpoints, own_key},
            {services,
             [](const seen& s, keys& k) {
               const bool selects = s.value()["spec"]["selector"].is_object();
               if (s.modified() ? selects != s.value_before()["spec"]["selector"].is_object() : !selects) own_key(s, k);
             }},
            {endpoint_slices, [this](const seen& s, keys& k) {
               auto& m = s.value()["metadata"];
               if (m["labels"][manager_label].as_string() == manager)
                 add_batched(k,
                             fmt::format("{}/{}", m["namespace"].as_string(), m["labels"][service_label].as_string()),
                             batch_);
             }}};
  }

  plan look(const view& cluster, const std::string& key, const moment&) override {
    plan p;
    auto slices = standing(cluster, key);
    auto source = cluster.get(endpoints, key);
    auto service = cluster.get(services, key);
    if (!source || !is_mirrored(*source) || !service || (*service)["spec"]["selector"].is_object()) {
      for (auto s : slices) p.write(removal_of_any_version(endpoint_slices, *s));
      return p;
    }
    auto wanted = groups_of(*source, p);
    std::vector<const json::value*> spare;
    for (auto s : slices) {
      auto at = wanted.find(group_key((*s)["addressType"].as_string(), (*s)["ports"]));
      if (at == wanted.end()) {
        spare.push_back(s);
        continue;
      }
      auto next = slice_of(*source, at->second, s);
      wanted.erase(at);  // another slice of the same is one too many
      if (!same(*s, next)) p.write(update_of(endpoint_slices, std::move(next)));
    }
    for (auto& [_, g] : wanted) {
      if (is_deleting(*source)) break;
      // A slice that goes and one that comes are one that changes, where the family is the same.
      auto again = std::ranges::find_if(spare, [&](auto s) { return (*s)["addressType"].as_string() == g.family; });
      auto next = slice_of(*source, g, again == spare.end() ? nullptr : *again);
      p.write(again == spare.end() ? creation(endpoint_slices, std::string(split_name(key).ns), std::move(next))
                                   : update_of(endpoint_slices, std::move(next)));
      if (again != spare.end()) spare.erase(again);
    }
    for (auto s : spare) p.write(removal_of_any_version(endpoint_slices, *s));
    return p;
  }

 private:
  static std::vector<const json::value*> standing(const view& cluster, const std::string& key) {
    std::vector<const json::value*> out;
    auto [ns, name] = split_name(key);
    cluster.cluster().scan(cluster.prefix(endpoint_slices, ns), {}, [&](const store::object_ref& o) {
      if (api::label_in_text(o->labels_text(), service_label) != name ||
          api::label_in_text(o->labels_text(), manager_label) != manager)
        return true;
      if (auto v = cluster.value(o)) out.push_back(v);
      return true;
    });
    return out;
  }

  std::map<std::string, group> groups_of(const json::value& source, plan& p) const {
    std::map<std::string, group> out;
    std::size_t bad = 0, skipped = 0;
    auto subsets = repacked(source["subsets"]);
    for (auto& subset : subsets) {
      auto ports = slice_ports(subset["ports"]);
      std::size_t added = 0;
      for (bool ready : {true, false}) {
        auto& list = subset[ready ? "addresses" : "notReadyAddresses"];
        for (std::size_t i = 0; i < list.size(); ++i) {
          auto ip = list[i]["ip"].as_string();
          auto parsed = ip_address::parse_sloppy(ip);
          if (!parsed) ++bad;
          if (!parsed || added >= addresses_max_) {
            ++skipped;
            continue;
          }
          const std::string family = ip.find(':') == ip.npos ? "IPv4" : "IPv6";
          auto& g = out[group_key(family, ports)];
          g.family = family;
          g.ports = ports;
          auto e = endpoint_of(list[i], ready);
          g.endpoints.emplace(json::write(e), e);
          ++added;
        }
      }
    }
    auto about = reference_to(source);
    if (bad > 0)
      p.tell(about, "InvalidIPAddress",
             fmt::format("Skipped {} invalid IP addresses when mirroring to EndpointSlices", bad), true);
    if (skipped > bad)
      p.tell(
          about, "TooManyAddressesToMirror",
          fmt::format(
              "A max of {} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses were skipped",
              addresses_max_, skipped),
          true);
    return out;
  }

  static json::value slice_of(const json::value& source, const group& g, const json::value* standing) {
    auto& m = source["metadata"];
    json::value next = json::object{{"kind", "EndpointSlice"}, {"apiVersion", "discovery.k8s.io/v1"}};
    next.set("metadata", standing ? (*standing)["metadata"]
                                  : json::value(json::object{{"generateName", std::string(m["name"].as_string()) + "-"},
                                                             {"namespace", m["namespace"]}}));
    auto& meta = next.member("metadata");
    json::value labels = m["labels"].is_object() ? m["labels"] : json::value(json::object{});
    labels.set(service_label, m["name"]);
    labels.set(manager_label, manager);
    meta.set("labels", std::move(labels));
    json::object notes;
    if (auto own = m["annotations"].object())
      for (auto& [name, value] : *own)
        if (name != trigger_note && name != applied_note) notes.append(name, value);
    notes.empty() ? void(meta.erase("annotations")) : meta.set("annotations", std::move(notes));
    meta.set("ownerReferences", json::array{controller_reference(endpoints_kind, source)});
    next.set("addressType", g.family);
    json::array list;
    for (auto& [_, e] : g.endpoints) list.push_back(e);
    next.set("endpoints", std::move(list));
    next.set("ports", g.ports);
    return next;
  }

  static bool same(const json::value& a, const json::value& b) {
    return a["metadata"] == b["metadata"] && a["ports"] == b["ports"] &&
           by_text(a["endpoints"]) == by_text(b["endpoints"]);
  }

  std::size_t addresses_max_;  // of a subset
  duration batch_;
};

}  // namespace

std::unique_ptr<controller> make_endpoint_mirroring(const settings& s) { return std::make_unique<mirroring>(s); }

}  // namespace kedge::control
