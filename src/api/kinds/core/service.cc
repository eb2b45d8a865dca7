// service.cc: Service. Addresses and node ports are allocated in service_addresses.cc; what a type can't have, goes
// with a change of it.
#include <fmt/format.h>

#include <map>
#include <set>

#include "api/kinds/core/resources.h"
#include "api/kinds/core/warnings.h"
#include "api/registry/kind_rules.h"
#include "base/ip.h"
#include "base/strings.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

constexpr std::string_view old_hints = "service.kubernetes.io/topology-aware-hints",
                           topology_mode = "service.kubernetes.io/topology-mode";
constexpr std::string_view source_ranges = "service.beta.kubernetes.io/load-balancer-source-ranges";
constexpr std::int64_t affinity_max_seconds = 86400;

std::string_view type_of(const json::value& o) { return o["spec"]["type"].as_string(); }
bool is_external_name(const json::value& o) { return type_of(o) == "ExternalName"; }
bool is_balanced(const json::value& o) { return type_of(o) == "LoadBalancer"; }
bool is_headless(const json::value& o) {
  return o["spec"]["clusterIPs"].size() == 1 && o["spec"]["clusterIPs"][0].as_string() == "None";
}
bool needs_node_ports(const json::value& o) {
  return type_of(o) == "NodePort" || (is_balanced(o) && o["spec"]["allocateLoadBalancerNodePorts"].as_bool(true));
}
bool needs_health_port(const json::value& o) {
  return is_balanced(o) && o["spec"]["externalTrafficPolicy"].as_string() == "Local";
}
bool seen_from_outside(const json::value& o) {
  return is_balanced(o) || type_of(o) == "NodePort" || (type_of(o) == "ClusterIP" && !o["spec"]["externalIPs"].empty());
}
bool same(const json::value& o, const json::value& old, std::string_view member) {
  return o["spec"][member] == old["spec"][member];
}
bool same_addresses(const json::value& o, const json::value& old) {
  return o["spec"]["clusterIP"].as_string() == old["spec"]["clusterIP"].as_string() && same(o, old, "clusterIPs");
}

std::string_view family_of(std::string_view ip) {
  auto address = ip_address::parse_sloppy(ip);
  return !address ? "" : address->is_v6() ? "IPv6" : "IPv4";
}
// A Service that prefers both families keeps what it has when the cluster's families change: only who changes its
// addresses, families or policy changes that.
bool prefers_as_before(const json::value& o, const json::value& old) {
  auto prefers = [](const json::value& s) {
    return s["spec"]["ipFamilyPolicy"].as_string("PreferDualStack") == "PreferDualStack";
  };
  return o["spec"]["ipFamilyPolicy"].is_string() && type_of(o) == type_of(old) && !is_external_name(o) && prefers(o) &&
         prefers(old) && same_addresses(o, old) && same(o, old, "ipFamilies");
}

void copy_member(json::value& o, const json::value& old, std::string_view member) {
  if (auto v = old["spec"].find(member)) o.member("spec").set(member, *v);
}

// The list and its first item, which older clients write alone.
void pair_addresses(json::value& o, const json::value* old) {
  auto& spec = o.member("spec");
  auto ip = std::string(o["spec"]["clusterIP"].as_string());
  if (!old) {
    if (!ip.empty() && o["spec"]["clusterIPs"].empty()) spec.set("clusterIPs", json::array{ip});
    return;
  }
  auto before = (*old)["spec"]["clusterIP"].as_string();
  if (!(*old)["spec"]["clusterIPs"].empty() && o["spec"]["clusterIPs"].empty() && ip == before)
    copy_member(o, *old, "clusterIPs");
  if (ip == before || !same(o, *old, "clusterIPs")) return;
  if (!before.empty() && ip.empty())
    spec.erase("clusterIPs");
  else
    spec.set("clusterIPs", json::array{ip});
}

// Families follow from addresses, where nothing is said of them, else from what the cluster has.
void set_families(json::value& o, const json::value* old, const service_ranges& services) {
  if (is_external_name(o) || (old && prefers_as_before(o, *old))) return;
  auto& spec = o.member("spec");
  const bool for_others =
      o["spec"]["clusterIP"].as_string() == "None" && o["spec"]["selector"].empty();  // of no pods of ours
  if (o["spec"]["ipFamilyPolicy"].is_null()) {
    auto before = old ? (*old)["spec"]["ipFamilyPolicy"].as_string() : std::string_view();
    spec.set("ipFamilyPolicy", !before.empty() ? before
                               : for_others    ? std::string_view("RequireDualStack")
                                               : std::string_view("SingleStack"));
  }
  auto single = [&] { return o["spec"]["ipFamilyPolicy"].as_string() == "SingleStack"; };
  if (old && single()) {
    if (same_addresses(o, *old) && o["spec"]["clusterIPs"].size() > 1) spec.member("clusterIPs").array()->resize(1);
    if (same(o, *old, "ipFamilies") && o["spec"]["ipFamilies"].size() > 1) spec.member("ipFamilies").array()->resize(1);
  }
  auto& before = old ? (*old)["spec"]["ipFamilies"] : o["spec"]["ipFamilies"];
  const bool fewer = !o["spec"]["ipFamilies"].empty() && o["spec"]["ipFamilies"].size() < before.size();
  if (fewer && !single()) return;  // which is told
  auto add = [&](std::string_view family) { spec.member("ipFamilies").push_back(json::value(family)); };
  name_set known;
  for (std::size_t i = 0; i < o["spec"]["ipFamilies"].size(); ++i) known.insert(o["spec"]["ipFamilies"][i].as_string());
  bool all_known = true;
  for (std::size_t i = o["spec"]["ipFamilies"].size(); i < o["spec"]["clusterIPs"].size(); ++i) {
    auto ip = o["spec"]["clusterIPs"][i].as_string();
    if (ip == "None") break;
    auto family = family_of(ip);
    all_known = all_known && services.has(family);
    if (services.has(family) && known.insert(family).second) add(family);
  }
  if (!all_known) return;  // which is told
  if (o["spec"]["ipFamilies"].empty()) add(services.first_family());
  if ((for_others || services.both()) && o["spec"]["ipFamilies"].size() < 2 && !single())
    add(o["spec"]["ipFamilies"][0].as_string() == "IPv4" ? "IPv6" : "IPv4");
}

std::set<std::int64_t> node_ports(const json::value& o) {
  std::set<std::int64_t> out;
  for (std::size_t i = 0; i < o["spec"]["ports"].size(); ++i)
    if (auto n = o["spec"]["ports"][i]["nodePort"].as_integer()) out.insert(n);
  return out;
}

// What was allocated stays when the body doesn't name it.
void keep_allocated(json::value& o, const json::value& old) {
  if (!is_external_name(old) && !is_external_name(o)) {
    if (o["spec"]["clusterIP"].as_string().empty()) copy_member(o, old, "clusterIP");
    if (o["spec"]["clusterIPs"].empty()) copy_member(o, old, "clusterIPs");
  }
  if (needs_node_ports(old) && needs_node_ports(o)) {
    const auto before = node_ports(old), now = node_ports(o);
    std::map<std::string_view, std::int64_t> by_name;
    for (std::size_t i = 0; i < old["spec"]["ports"].size(); ++i)
      by_name.insert_or_assign(old["spec"]["ports"][i]["name"].as_string(),
                               old["spec"]["ports"][i]["nodePort"].as_integer());
    auto ports = o.member("spec").find("ports");
    for (std::size_t i = 0; ports && ports->array() && i < ports->size(); ++i) {
      auto& p = (*ports->array())[i];
      auto found = by_name.find(p["name"].as_string());
      if (p["nodePort"].as_integer() != 0 || found == by_name.end() || found->second == 0) continue;
      if (!(before.contains(found->second) && now.contains(found->second))) p.set("nodePort", found->second);
    }
  }
  if (needs_health_port(old) && needs_health_port(o) && o["spec"]["healthCheckNodePort"].as_integer() == 0)
    copy_member(o, old, "healthCheckNodePort");
}

// What stands there from the old type and isn't told to go; what the body changed itself is its own fault.
void drop_what_type_lacks(json::value& o, const json::value& old) {
  auto& spec = o.member("spec");
  auto drop_same = [&](std::string_view member) {
    if (same(o, old, member)) spec.erase(member);
  };
  if (is_external_name(o) && !is_external_name(old)) {
    if (same_addresses(o, old))
      for (auto member : {"clusterIP", "clusterIPs"}) spec.erase(member);
    drop_same("ipFamilies");
    drop_same("ipFamilyPolicy");
  }
  auto has_ports = [](const json::value& s) { return type_of(s) == "NodePort" || is_balanced(s); };
  if (has_ports(old) && !has_ports(o)) {
    const auto before = node_ports(old), now = node_ports(o);
    auto ports = spec.find("ports");
    if (std::includes(before.begin(), before.end(), now.begin(), now.end()) && ports && ports->array())
      for (auto& p : *ports->array()) p.erase("nodePort");
  }
  if (needs_health_port(old) && !needs_health_port(o)) drop_same("healthCheckNodePort");
  if (is_balanced(old) && !is_balanced(o)) {
    drop_same("allocateLoadBalancerNodePorts");
    drop_same("loadBalancerClass");
  }
  if (seen_from_outside(old) && !seen_from_outside(o)) drop_same("externalTrafficPolicy");
  if (is_external_name(o)) spec.erase("internalTrafficPolicy");
  if (!is_balanced(o)) o.member("status").set("loadBalancer", json::object{});
}

void prepare_create(json::value& o, const kind_context& c) {
  pair_addresses(o, nullptr);
  set_families(o, nullptr, c.services);
  if (auto policy = o["spec"]["internalTrafficPolicy"].as_string();
      is_external_name(o) && (policy == "Cluster" || policy == "Local"))
    o.member("spec").erase("internalTrafficPolicy");
  o.set("status", json::object{{"loadBalancer", json::object{}}});
}

void prepare_update(json::value& o, const json::value& old, const kind_context& c) {
  if (c.subresource == "status") return;
  keep_allocated(o, old);
  pair_addresses(o, &old);
  set_families(o, &old, c.services);
  drop_what_type_lacks(o, old);
}

// Texts of an older object, which are judged no more.
name_set texts_of(const json::value& list) {
  name_set out;
  for (std::size_t i = 0; i < list.size(); ++i) out.insert(trim(list[i].as_string()));
  return out;
}

// Addresses, families and their policy together.
void check_addresses(causes& out, const json::value& o, const json::value* old) {
  if (is_external_name(o)) return;
  auto &spec = o["spec"], &list = spec["clusterIPs"], &families = spec["ipFamilies"];
  const place at("spec"), of_list(at, "clusterIPs"), of_families(at, "ipFamilies");
  auto ip = spec["clusterIP"].as_string();
  if (!ip.empty() && list.empty()) out.push_back(required(of_list));
  if (!ip.empty() && !list.empty() && list[0].as_string() != ip)
    out.push_back(invalid_value(of_list, list, "first value must match `clusterIP`"));
  if (ip.empty() && !list.empty())
    out.push_back(invalid_value(of_list, list, "must be empty when `clusterIP` is not specified"));
  name_set seen;
  for (std::size_t i = 0; i < families.size(); ++i) {
    auto family = families[i].as_string();
    if (family != "IPv4" && family != "IPv6")
      out.push_back(not_supported(place(of_families, i), family, {"IPv4", "IPv6"}));
    if (!seen.insert(family).second) out.push_back(duplicate_value(place(of_families, i), family));
  }
  one_of(out, spec, at, "ipFamilyPolicy", {"PreferDualStack", "RequireDualStack", "SingleStack"});
  const auto known = old ? texts_of((*old)["spec"]["clusterIPs"]) : name_set();
  bool wrong = false;
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto text = list[i].as_string();
    if (i == 0 && text == "None") {
      wrong = wrong || list.size() > 1;
      if (list.size() > 1) out.push_back(invalid_value(of_list, list, "'None' must be the first and only value"));
      continue;
    }
    auto problems = known.contains(text) ? kedge::api::problems() : check_ip(text);
    wrong = wrong || !problems.empty();
    add_problems(out, place(of_list, i), text, problems);
  }
  if (list.size() > 2) out.push_back(invalid_value(of_list, list, "may only hold up to 2 values"));
  if (wrong) return;
  if (list.size() > 1) {
    name_set kinds;
    for (std::size_t i = 0; i < list.size(); ++i) kinds.insert(family_of(list[i].as_string()));
    if (kinds.size() < 2)
      out.push_back(invalid_value(of_list, list, "may specify no more than one IP for each IP family"));
  }
  for (std::size_t i = 0; i < list.size() && i < families.size() && !is_headless(o); ++i) {
    auto family = families[i].as_string();
    const bool is_six = family_of(list[i].as_string()) == "IPv6";
    if (family == "IPv4" && is_six)
      out.push_back(invalid_value(place(of_list, i), list[i],
                                  fmt::format("expected an IPv4 value as indicated by `ipFamilies[{}]`", i)));
    if (family == "IPv6" && !is_six)
      out.push_back(invalid_value(place(of_list, i), list[i],
                                  fmt::format("expected an IPv6 value as indicated by `ipFamilies[{}]`", i)));
  }
}

// What the cluster can't give, which is told before anything else is looked at.
void check_families(causes& out, const json::value& o, const json::value* old, const service_ranges& services) {
  if (is_external_name(o) || (old && prefers_as_before(o, *old))) return;
  auto &spec = o["spec"], &list = spec["clusterIPs"], &families = spec["ipFamilies"];
  const auto start = out.size();
  check_addresses(out, o, old);
  if (out.size() > start) return;
  const place at("spec"), of_policy(at, "ipFamilyPolicy"), of_families(at, "ipFamilies"), of_list(at, "clusterIPs");
  auto& policy = spec["ipFamilyPolicy"];
  const bool single = policy.as_string() == "SingleStack";
  if (old && !single) {
    auto fewer = [&](std::string_view member) {
      return !spec[member].empty() && spec[member].size() < (*old)["spec"][member].size();
    };
    if (fewer("clusterIPs"))
      out.push_back(invalid_value(of_policy, policy, "must be 'SingleStack' to release the secondary cluster IP"));
    if (fewer("ipFamilies"))
      out.push_back(invalid_value(of_policy, policy, "must be 'SingleStack' to release the secondary IP family"));
  }
  if (single && list.size() == 2)
    out.push_back(invalid_value(
        of_policy, policy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified"));
  if (single && families.size() == 2)
    out.push_back(invalid_value(
        of_policy, policy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"));
  for (std::size_t i = families.size(); i < list.size() && !is_headless(o); ++i)
    if (auto family = family_of(list[i].as_string()); !services.has(family))
      out.push_back(
          invalid_value(place(of_list, i), list, fmt::format("{} is not configured on this cluster", family)));
  if (out.size() > start) return;
  if (is_headless(o) && spec["selector"].empty()) return;
  if (policy.as_string() == "RequireDualStack" && !services.both())
    out.push_back(invalid_value(of_policy, policy, "this cluster is not configured for dual-stack services"));
  for (std::size_t i = 0; i < families.size(); ++i)
    if (!services.has(families[i].as_string()))
      out.push_back(invalid_value(place(of_families, i), families[i], "not configured on this cluster"));
}

void check_port(causes& out, const json::value& p, const place& at, bool many, name_set& names) {
  auto name = p["name"].as_string();
  if (name.empty()) {
    if (many) out.push_back(required(place(at, "name")));
  } else {
    add_problems(out, place(at, "name"), name, check_dns1123_label(name));
    if (!names.insert(name).second) out.push_back(duplicate_value(place(at, "name"), name));
  }
  add_problems(out, place(at, "port"), p["port"].as_integer(), check_port_number(p["port"].as_integer()));
  one_of_needed(out, p, at, "protocol", {"SCTP", "TCP", "UDP"});
  if (auto& target = p["targetPort"]; !target.is_null()) check_port_or_name(out, target, place(at, "targetPort"));
  if (auto& protocol = p["appProtocol"]; protocol.is_string())
    add_problems(out, place(at, "appProtocol"), protocol, check_qualified_name(protocol.as_string()));
}

void check_repeated_ports(causes& out, const json::value& o, const json::value& ports, const place& at) {
  using key = std::pair<std::string_view, std::int64_t>;
  for (std::size_t i = 0; i < ports.size() && type_of(o) == "ClusterIP"; ++i) {
    const place here(at, i);
    if (ports[i]["nodePort"].as_integer() != 0)
      out.push_back(forbidden_value(place(here, "nodePort"), "may not be used when `type` is 'ClusterIP'"));
  }
  std::set<key> of_nodes, of_service;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const place here(at, i);
    auto& n = ports[i]["nodePort"];
    if (n.as_integer() != 0 && !of_nodes.insert(key(ports[i]["protocol"].as_string(), n.as_integer())).second)
      out.push_back(duplicate_value(place(here, "nodePort"), n));
  }
  for (std::size_t i = 0; i < ports.size(); ++i) {
    auto& p = ports[i];
    if (of_service.insert(key(p["protocol"].as_string(), p["port"].as_integer())).second) continue;
    out.push_back(duplicate_value(
        place(at, i),
        internal_form("core/v1.ServicePort", json::object{{"protocol", p["protocol"]}, {"port", p["port"]}})));
  }
}

void check_external_name(causes& out, const json::value& spec, const place& at) {
  for (auto member : {"clusterIPs", "ipFamilies", "ipFamilyPolicy"})
    if (!spec[member].is_null() && !(spec[member].is_array() && spec[member].empty()))
      out.push_back(forbidden_value(place(at, member), "may not be set for ExternalName services"));
  auto name = spec["externalName"].as_string();
  if (name.ends_with('.')) name.remove_suffix(1);
  if (name.empty())
    out.push_back(required(place(at, "externalName")));
  else
    add_problems(out, place(at, "externalName"), name, check_dns1123_subdomain(name));
}

void check_affinity(causes& out, const json::value& spec, const place& at) {
  one_of_needed(out, spec, at, "sessionAffinity", {"ClientIP", "None"});
  auto affinity = spec["sessionAffinity"].as_string();
  auto& config = spec["sessionAffinityConfig"];
  const place here(at, "sessionAffinityConfig"), of_client(here, "clientIP"), of_timeout(of_client, "timeoutSeconds");
  if (affinity == "None" && config.is_object())
    out.push_back(forbidden_value(here, "must not be set when session affinity is None"));
  if (affinity != "ClientIP") return;
  constexpr std::string_view when = "when session affinity type is ClientIP";
  if (!config.is_object()) return out.push_back(required(here, when));
  if (!config["clientIP"].is_object()) return out.push_back(required(of_client, when));
  auto& seconds = config["clientIP"]["timeoutSeconds"];
  if (seconds.is_null()) return out.push_back(required(of_timeout, when));
  if (seconds.as_integer() <= 0 || seconds.as_integer() > affinity_max_seconds)
    out.push_back(invalid_value(of_timeout, seconds,
                                fmt::format("must be greater than 0 and less than {}", affinity_max_seconds)));
}

void check_source_ranges(causes& out, const json::value& o, const json::value* old) {
  auto &ranges = o["spec"]["loadBalancerSourceRanges"], &note = o["metadata"]["annotations"][source_ranges];
  if (!ranges.empty()) {
    const place at("spec.LoadBalancerSourceRanges");
    if (!is_balanced(o)) out.push_back(forbidden_value(at, "may only be used when `type` is 'LoadBalancer'"));
    const auto known = old ? texts_of((*old)["spec"]["loadBalancerSourceRanges"]) : name_set();
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      auto text = trim(ranges[i].as_string());
      if (!known.contains(text)) add_problems(out, place(at, i), text, check_cidr(text));
    }
    return;
  }
  if (!note.is_string()) return;
  const place annotations("metadata.annotations"), at = place::of_key(annotations, source_ranges);
  if (!is_balanced(o)) out.push_back(forbidden_value(at, "may only be used when `type` is 'LoadBalancer'"));
  if (old && (*old)["metadata"]["annotations"][source_ranges] == note) return;
  auto text = trim(note.as_string());
  if (text.empty()) return;
  for (auto part : split(text, ',')) add_problems(out, at, trim(part), check_cidr(trim(part)));
}

void check_class(causes& out, const json::value& o, const place& at) {
  auto& name = o["spec"]["loadBalancerClass"];
  if (name.is_null()) return;
  if (!is_balanced(o))
    return out.push_back(
        forbidden_value(place(at, "loadBalancerClass"), "may only be used when `type` is 'LoadBalancer'"));
  add_problems(out, place(at, "loadBalancerClass"), name, check_qualified_name(name.as_string()));
}

void check_traffic(causes& out, const json::value& o, const place& at) {
  auto& spec = o["spec"];
  auto& policy = spec["externalTrafficPolicy"];
  if (seen_from_outside(o))
    one_of_needed(out, spec, at, "externalTrafficPolicy", {"Cluster", "Local"});
  else if (!policy.as_string().empty())
    out.push_back(invalid_value(place(at, "externalTrafficPolicy"), policy,
                                "may only be set for externally-accessible services"));
  // One that is needed and not given will be allocated.
  const place of_health(at, "healthCheckNodePort");
  if (auto port = spec["healthCheckNodePort"].as_integer(); port != 0) {
    if (needs_health_port(o))
      add_problems(out, of_health, port, check_port_number(port));
    else
      out.push_back(invalid_value(
          of_health, port, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"));
  }
  auto& inside = spec["internalTrafficPolicy"];
  if (inside.is_null() && (type_of(o) == "ClusterIP" || type_of(o) == "NodePort" || is_balanced(o)))
    out.push_back(required(place(at, "internalTrafficPolicy")));
  one_of(out, spec, at, "internalTrafficPolicy", {"Cluster", "Local"});
  one_of(out, spec, at, "trafficDistribution", {"PreferClose", "PreferSameZone", "PreferSameNode"});
}

void check(causes& out, const json::value& o, const json::value* old) {
  auto &spec = o["spec"], &annotations = o["metadata"]["annotations"], &ports = spec["ports"];
  const place at("spec"), of_ports(at, "ports"), of_annotations("metadata.annotations");
  if (auto &mode = annotations[topology_mode], &hints = annotations[old_hints];
      mode.is_string() && hints.is_string() && !(mode == hints))
    out.push_back(invalid_value(place::of_key(of_annotations, topology_mode), mode,
                                fmt::format("must match annotations[{}] when both are specified", old_hints)));
  if (ports.empty() && !is_headless(o) && !is_external_name(o)) out.push_back(required(of_ports));
  if (is_headless(o) && (is_balanced(o) || type_of(o) == "NodePort"))
    out.push_back(invalid_value("spec.clusterIPs[0]", "None",
                                fmt::format("may not be set to 'None' for {} services", type_of(o))));
  if (is_external_name(o)) check_external_name(out, spec, at);
  name_set names;
  for (std::size_t i = 0; i < ports.size(); ++i) check_port(out, ports[i], place(of_ports, i), ports.size() > 1, names);
  check_labels(out, spec["selector"], place(at, "selector"));
  check_affinity(out, spec, at);
  check_addresses(out, o, old);
  const auto known = old ? texts_of((*old)["spec"]["externalIPs"]) : name_set();
  for (std::size_t i = 0; i < spec["externalIPs"].size(); ++i) {
    auto text = spec["externalIPs"][i].as_string();
    auto wrong = known.contains(trim(text)) ? problems() : check_ip(text);
    add_problems(out, place(at, "externalIPs", i), text, wrong.empty() ? check_endpoint_ip(text) : wrong);
  }
  one_of_needed(out, spec, at, "type", {"ClusterIP", "ExternalName", "LoadBalancer", "NodePort"});
  check_repeated_ports(out, o, ports, of_ports);
  check_source_ranges(out, o, old);
  if (!spec["allocateLoadBalancerNodePorts"].is_null() && !is_balanced(o))
    out.push_back(
        forbidden_value(place(at, "allocateLoadBalancerNodePorts"), "may only be used when `type` is 'LoadBalancer'"));
  if (is_balanced(o) && spec["allocateLoadBalancerNodePorts"].is_null())
    out.push_back(required("allocateLoadBalancerNodePorts"));
  check_class(out, o, at);
  check_traffic(out, o, at);
}

// Ports that are asked for twice, which a new service's claim of them tells before anything else is looked at.
bool check_claims(causes& out, const json::value& o) {
  if (type_of(o) != "NodePort" && !is_balanced(o)) return true;
  std::map<std::int64_t, std::int64_t> by_port;  // of the service: what its first port of that number has
  std::set<std::int64_t> claimed;
  auto& ports = o["spec"]["ports"];
  for (std::size_t i = 0; i < ports.size(); ++i) {
    auto wanted = ports[i]["nodePort"].as_integer();
    if (wanted == 0) continue;
    auto& of_port = by_port[ports[i]["port"].as_integer()];
    if (wanted == of_port) continue;
    if (of_port == 0) of_port = wanted;
    if (claimed.insert(wanted).second) continue;
    const place at("spec.ports"), here(at, i);
    out.push_back(invalid_value(place(here, "nodePort"), wanted, "provided port is already allocated"));
    return false;
  }
  return true;
}

void validate(causes& out, const json::value& o) {
  if (check_claims(out, o)) check(out, o, nullptr);
}

constexpr std::string_view once = "may not change once set";

void check_address_change(causes& out, const json::value& o, const json::value& old) {
  if (is_headless(o) && is_headless(old)) return;
  auto &now = o["spec"]["clusterIPs"], &before = old["spec"]["clusterIPs"];
  const place at("spec.clusterIPs");
  if (now.size() == before.size()) {
    for (std::size_t i = 0; i < now.size(); ++i)
      if (!(now[i] == before[i])) out.push_back(invalid_value(place(at, i), now, once));
    return;
  }
  if (now.size() < before.size() && now.empty())
    out.push_back(invalid_value(place(at, 0), now, "primary clusterIP can not be unset"));
  if (!now.empty() && !before.empty() && !(now[0] == before[0])) out.push_back(invalid_value(place(at, 0), now, once));
  if (now.size() < before.size() && now.size() == 1 && o["spec"]["ipFamilyPolicy"].as_string() != "SingleStack")
    out.push_back(invalid_value("spec.ipFamilyPolicy", o["spec"]["ipFamilyPolicy"],
                                "must be set to 'SingleStack' when releasing the secondary clusterIP"));
}

void check_family_change(causes& out, const json::value& o, const json::value& old) {
  if (is_headless(o) || is_headless(old)) return;
  auto &now = o["spec"]["ipFamilies"], &before = old["spec"]["ipFamilies"], &addresses = o["spec"]["clusterIPs"];
  const place first("spec.ipFamilies[0]");
  if (now.size() == before.size()) {
    for (std::size_t i = 0; i < now.size(); ++i)
      if (!(now[i] == before[i])) out.push_back(invalid_value(first, now, once));
    return;
  }
  if (now.size() < before.size() && addresses.empty())
    out.push_back(invalid_value(first, now, "primary ipFamily can not be unset"));
  if (!now.empty() && !before.empty() && !(now[0] == before[0])) out.push_back(invalid_value(first, addresses, once));
  if (now.size() < before.size() && now.size() == 1 && o["spec"]["ipFamilyPolicy"].as_string() != "SingleStack")
    out.push_back(invalid_value("spec.ipFamilyPolicy", o["spec"]["ipFamilyPolicy"],
                                "must be set to 'SingleStack' when releasing the secondary ipFamily"));
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  if (!is_external_name(o) && !is_external_name(old)) {
    check_address_change(out, o, old);
    check_family_change(out, o, old);
  }
  const place at("spec");
  if (is_balanced(o) && is_balanced(old) && !same(o, old, "loadBalancerClass"))
    out.push_back(invalid_value(place(at, "loadBalancerClass"), o["spec"]["loadBalancerClass"], once));
  check_class(out, o, at);
  if (needs_health_port(o) && needs_health_port(old) && !same(o, old, "healthCheckNodePort"))
    out.push_back(forbidden_value(place(at, "healthCheckNodePort"), "field is immutable"));
  check(out, o, &old);
}

void validate_part(causes& out, const json::value& o, const json::value& old, std::string_view) {
  const place at("status.loadBalancer.ingress");
  auto &list = o["status"]["loadBalancer"]["ingress"], &before = old["status"]["loadBalancer"]["ingress"];
  if (!is_balanced(o)) {
    if (!list.empty()) out.push_back(forbidden_value(at, "may only be used when `spec.type` is 'LoadBalancer'"));
    return;
  }
  name_set known;
  for (std::size_t i = 0; i < before.size(); ++i) known.insert(before[i]["ip"].as_string());
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(at, i);
    auto ip = list[i]["ip"].as_string(), host = list[i]["hostname"].as_string();
    if (!ip.empty() && !known.contains(ip)) add_problems(out, place(here, "ip"), ip, check_ip(ip));
    auto& mode = list[i]["ipMode"];
    if (mode.is_null()) {
      if (!ip.empty()) out.push_back(required(place(here, "ipMode"), "must be specified when `ip` is set"));
    } else if (ip.empty()) {
      out.push_back(forbidden_value(place(here, "ipMode"), "may not be specified when `ip` is not set"));
    } else {
      one_of(out, list[i], here, "ipMode", {"Proxy", "VIP"});
    }
    if (host.empty()) continue;
    add_problems(out, place(here, "hostname"), host, check_dns1123_subdomain(host));
    if (ip_address::parse_sloppy(host))
      out.push_back(invalid_value(place(here, "hostname"), host, "must be a DNS name, not an IP address"));
  }
}

void warn(warnings& out, const json::value& o, const json::value*) {
  auto& spec = o["spec"];
  const place at("spec");
  if (o["metadata"]["annotations"].find(old_hints))
    out.push_back(fmt::format("annotation {} is deprecated, please use {} instead", old_hints, topology_mode));
  const bool none = type_of(o) == "ClusterIP" && spec["clusterIP"].as_string() == "None";
  if (!spec["clusterIP"].as_string().empty() && spec["clusterIP"].as_string() != "None")
    for (std::size_t i = 0; i < spec["clusterIPs"].size(); ++i)
      warn_ip(out, spec["clusterIPs"][i].as_string(), place(at, "clusterIPs", i));
  if (none) {
    if (!spec["loadBalancerIP"].as_string().empty())
      out.push_back("spec.loadBalancerIP is ignored for headless services");
    if (!spec["externalIPs"].empty()) out.push_back("spec.externalIPs is ignored for headless services");
    if (spec["sessionAffinity"].as_string() != "None")
      out.push_back("spec.SessionAffinity is ignored for headless services");
  }
  for (std::size_t i = 0; i < spec["externalIPs"].size(); ++i)
    warn_ip(out, spec["externalIPs"][i].as_string(), place(at, "externalIPs", i));
  if (!spec["externalIPs"].empty() && !none && !is_external_name(o))
    out.push_back("spec.externalIPs is deprecated and may no longer be implemented in some clusters");
  if (auto ip = spec["loadBalancerIP"].as_string(); !ip.empty()) warn_ip(out, ip, place(at, "loadBalancerIP"));
  for (std::size_t i = 0; i < spec["loadBalancerSourceRanges"].size(); ++i)
    warn_cidr(out, spec["loadBalancerSourceRanges"][i].as_string(), place(at, "loadBalancerSourceRanges", i));
  if (is_external_name(o) && !spec["externalIPs"].empty())
    out.push_back("spec.externalIPs is ignored when spec.type is \"ExternalName\"");
  if (!is_external_name(o) && !spec["externalName"].as_string().empty())
    out.push_back("spec.externalName is ignored when spec.type is not \"ExternalName\"");
  if (spec["trafficDistribution"].as_string() == "PreferClose")
    out.push_back("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"");
}

void warn_status(warnings& out, const json::value& o) {
  auto& list = o["status"]["loadBalancer"]["ingress"];
  const place at("status.loadBalancer.ingress");
  for (std::size_t i = 0; i < list.size(); ++i)
    if (auto ip = list[i]["ip"].as_string(); !ip.empty()) warn_ip(out, ip, place(at, i));
}

}  // namespace

const kind_rules kinds::services{.group = "",
                                 .resource = "services",
                                 .name = check_dns1123_label,
                                 .create_by_update = true,
                                 .answers_deleted_object = true,
                                 .prepare_create = prepare_create,
                                 .prepare_update = prepare_update,
                                 .check_settings = check_families,
                                 .validate = validate,
                                 .validate_update = validate_update,
                                 .validate_part = validate_part,
                                 .warn = warn,
                                 .warn_status = warn_status};

}  // namespace kedge::api
