// endpoint_slice.cc: EndpointSlice.
#include <unordered_set>

#include "api/kinds/core/warnings.h"
#include "api/registry/kind_rules.h"
#include "base/ip.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

constexpr std::size_t endpoints_max = 1000, addresses_max = 100, ports_max = 20000, hints_max = 8, topology_max = 16;

using text_set = std::unordered_set<std::string_view>;

// A domain of two labels or more; the dot at its end is no part of it.
void check_domain(causes& out, std::string_view name, const place& at) {
  if (name.empty()) return out.push_back(required(at));
  auto rest = name;
  if (rest.ends_with('.')) rest.remove_suffix(1);
  if (auto wrong = check_dns1123_subdomain(rest); !wrong.empty())
    return out.push_back(invalid_value(at, rest, join(wrong, ",")));
  auto labels = split(rest, '.');
  if (labels.size() < 2)
    return out.push_back(invalid_value(at, rest, "should be a domain with at least two segments separated by dots"));
  for (auto label : labels)
    if (auto wrong = check_dns1123_label(label); !wrong.empty())
      out.push_back(invalid_value(at, label, join(wrong, ",")));
}

// A family that doesn't fit is told of the list, as the real server does.
void check_address(causes& out, std::string_view text, std::string_view type, const place& of_list, std::size_t i) {
  const place here(of_list, i);
  if (type == "FQDN") return check_domain(out, text, here);
  const bool four = type == "IPv4";
  if (!four && type != "IPv6") return;
  auto wrong = four ? check_ip(text) : check_canonical_ip(text);
  add_problems(out, here, text, wrong);
  if (!wrong.empty()) return;
  if (auto ip = ip_address::parse_sloppy(text); ip && ip->is_v4() != four)
    out.push_back(invalid_value(of_list, text, four ? "must be an IPv4 address" : "must be an IPv6 address"));
  add_problems(out, here, text, check_endpoint_ip(text));
}

// Names of zones or nodes.
void check_hints(causes& out, const json::value& list, const place& at, name_check check) {
  text_set names;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(at, i), of_name(here, "name");
    auto name = list[i]["name"].as_string();
    if (!names.insert(name).second) out.push_back(duplicate_value(of_name, name));
    add_problems(out, of_name, name, check(name));
  }
}

void check_endpoint(causes& out, const json::value& e, std::string_view type, const place& at) {
  auto &addresses = e["addresses"], &hints = e["hints"], &topology = e["deprecatedTopology"];
  const place of_addresses(at, "addresses"), of_hints(at, "hints"), of_zones(of_hints, "forZones"),
      of_nodes(of_hints, "forNodes");
  for (std::size_t i = 0; i < addresses.size(); ++i)
    check_address(out, addresses[i].as_string(), type, of_addresses, i);
  if (auto& node = e["nodeName"]; node.is_string())
    add_problems(out, place(at, "nodeName"), node, check_dns1123_subdomain(node.as_string()));
  if (topology.size() > topology_max)
    out.push_back(too_many(place(at, "deprecatedTopology"), topology.size(), topology_max));
  check_labels(out, topology, place(at, "deprecatedTopology"));
  if (auto& host = e["hostname"]; host.is_string())
    add_problems(out, place(at, "hostname"), host, check_dns1123_label(host.as_string()));
  if (auto count = hints["forZones"].size(); count > hints_max)
    return out.push_back(too_many(of_zones, count, hints_max));
  check_hints(out, hints["forZones"], of_zones, check_label_value);
  if (auto count = hints["forNodes"].size(); count > hints_max)
    return out.push_back(too_many(of_nodes, count, hints_max));
  check_hints(out, hints["forNodes"], of_nodes, check_dns1123_subdomain);
}

void check_endpoints(causes& out, const json::value& o) {
  auto& endpoints = o["endpoints"];
  const place at("endpoints");
  if (endpoints.size() > endpoints_max) return out.push_back(too_many(at, endpoints.size(), endpoints_max));
  for (std::size_t i = 0; i < endpoints.size(); ++i)
    check_endpoint(out, endpoints[i], o["addressType"].as_string(), place(at, i));
}

void check_ports(causes& out, const json::value& ports) {
  const place at("ports");
  if (ports.size() > ports_max) return out.push_back(too_many(at, ports.size(), ports_max));
  text_set names;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const place here(at, i);
    auto& p = ports[i];
    auto name = p["name"].as_string();
    if (!name.empty()) add_problems(out, place(here, "name"), name, check_dns1123_label(name));
    if (!names.insert(name).second) out.push_back(duplicate_value(place(here, "name"), name));
    if (p["protocol"].is_null()) out.push_back(required(place(here, "protocol")));
    one_of(out, p, here, "protocol", {"SCTP", "TCP", "UDP"});
    if (auto& app = p["appProtocol"]; app.is_string())
      add_problems(out, place(here, "appProtocol"), app, check_qualified_name(app.as_string()));
  }
}

// Rules that are declared with the types: they come last, and not for what stands already.
void check_declared(causes& out, const json::value& o, const json::value& old) {
  if (old.is_null() || !(o["addressType"] == old["addressType"]))
    one_of_needed(out, o, "", "addressType", {"FQDN", "IPv4", "IPv6"});
  if (!old.is_null()) declared_immutable(out, o["addressType"], old["addressType"], "addressType");
  auto& endpoints = o["endpoints"];
  if (endpoints == old["endpoints"]) return;
  const place at("endpoints");
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    const place here(at, i);
    const auto count = endpoints[i]["addresses"].size();
    if (count == 0) out.push_back(required(place(here, "addresses")));
    if (count > addresses_max) out.push_back(too_many(place(here, "addresses"), count, addresses_max));
  }
}

void validate(causes& out, const json::value& o) {
  check_ports(out, o["ports"]);
  check_endpoints(out, o);
  check_declared(out, o, {});
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  check_ports(out, o["ports"]);
  if (!(o["endpoints"] == old["endpoints"])) check_endpoints(out, o);
  check_declared(out, o, old);
}

// Labels of an endpoint's node were told before there was nodeName; they aren't taken any more, but the node they
// named.
void prepare(json::value& o, const json::value& old) {
  auto list = o.find("endpoints");
  auto endpoints = list ? list->array() : nullptr;
  if (!endpoints || *list == old["endpoints"]) return;
  constexpr std::string_view host_label = "kubernetes.io/hostname";
  std::unordered_set<std::string> nodes;
  for (std::size_t i = 0; i < old["endpoints"].size(); ++i)
    if (auto name = old["endpoints"][i]["deprecatedTopology"][host_label].as_string(); !name.empty())
      nodes.emplace(name);
  for (auto& e : *endpoints) {
    const std::string name(e["deprecatedTopology"][host_label].as_string());
    if (e["nodeName"].is_null() && nodes.contains(name) && check_dns1123_subdomain(name).empty())
      e.set("nodeName", name);
    e.erase("deprecatedTopology");
  }
}

void prepare_create(json::value& o, const kind_context&) { prepare(o, {}); }
void prepare_update(json::value& o, const json::value& old, const kind_context&) { prepare(o, old); }

void warn(warnings& out, const json::value& o, const json::value* old) {
  if (!old && o["addressType"].as_string() == "FQDN")
    out.emplace_back("spec.addressType: FQDN endpoints are deprecated");
  auto manager = o["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"].as_string();
  if (manager == "endpointslice-controller.k8s.io" || manager == "endpointslicemirroring-controller.k8s.io") return;
  auto& endpoints = o["endpoints"];
  const place at("endpoints");
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    const place here(at, i);
    for (std::size_t j = 0; j < endpoints[i]["addresses"].size(); ++j)
      warn_ip(out, endpoints[i]["addresses"][j].as_string(), place(here, "addresses", j));
  }
}

}  // namespace

const kind_rules kinds::endpoint_slices{.group = "discovery.k8s.io",
                                        .resource = "endpointslices",
                                        .generation = true,
                                        .labels_count = true,
                                        .prepare_create = prepare_create,
                                        .prepare_update = prepare_update,
                                        .validate = validate,
                                        .validate_update = validate_update,
                                        .warn = warn};

}  // namespace kedge::api
