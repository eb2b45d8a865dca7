// networking.cc: NetworkPolicy, Ingress, IngressClass, IPAddress, ServiceCIDR.
#include <fmt/format.h>

#include "api/kind_rules.h"
#include "base/ip.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

void check_peers(causes& out, const json::value& peers, const std::string& path) {
  for (std::size_t i = 0; i < peers.size(); ++i) {
    auto here = at(path, i);
    auto& p = peers[i];
    const bool selects = p["podSelector"].is_object() || p["namespaceSelector"].is_object();
    if (!selects && !p["ipBlock"].is_object()) out.push_back(required(here, "must specify a peer"));
    if (selects && p["ipBlock"].is_object()) out.push_back(forbidden_value(here, "may not specify both ipBlock and another peer"));
    check_label_selector(out, p["podSelector"], here + ".podSelector");
    check_label_selector(out, p["namespaceSelector"], here + ".namespaceSelector");
    if (!p["ipBlock"].is_object()) continue;
    auto cidr = p["ipBlock"]["cidr"].as_string();
    if (cidr.empty())
      out.push_back(required(here + ".ipBlock.cidr"));
    else
      add_problems(out, here + ".ipBlock.cidr", cidr, check_cidr(cidr));
  }
}

void check_policy_ports(causes& out, const json::value& ports, const std::string& path) {
  for (std::size_t i = 0; i < ports.size(); ++i) {
    auto here = at(path, i);
    one_of(out, ports[i], here, "protocol", {"SCTP", "TCP", "UDP"});
    if (!ports[i]["port"].is_null()) check_port_or_name(out, ports[i]["port"], here + ".port");
  }
}

void network_policy(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  check_label_selector(out, spec["podSelector"], "spec.podSelector");
  for (auto [list, peers] : {std::pair{"ingress", "from"}, std::pair{"egress", "to"}})
    for (std::size_t i = 0; i < spec[list].size(); ++i) {
      auto path = at(under("spec", list), i);
      check_policy_ports(out, spec[list][i]["ports"], path + ".ports");
      check_peers(out, spec[list][i][peers], under(path, peers));
    }
  for (std::size_t i = 0; i < spec["policyTypes"].size(); ++i) {
    auto type = spec["policyTypes"][i].as_string();
    if (type != "Ingress" && type != "Egress") out.push_back(not_supported(at("spec.policyTypes", i), type, {"Egress", "Ingress"}));
  }
}

void check_backend(causes& out, const json::value& b, const std::string& path) {
  const bool service = b["service"].is_object(), resource = b["resource"].is_object();
  if (service && resource) out.push_back(invalid_value(path, "", "cannot set both resource and service backends"));
  if (!service && !resource) out.push_back(required(path, "must specify either resource or service backend"));
  if (!service) return;
  if (b["service"]["name"].as_string().empty())
    out.push_back(required(path + ".service.name"));
  else
    add_problems(out, path + ".service.name", b["service"]["name"], check_dns1035_label(b["service"]["name"].as_string()));
  auto& port = b["service"]["port"];
  if (port["number"].as_integer() == 0 && port["name"].as_string().empty()) out.push_back(required(path + ".service.port", "port name or number is required"));
}

void ingress(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  if (spec["rules"].empty() && !spec["defaultBackend"].is_object())
    out.push_back(invalid_value("spec", spec["rules"].is_null() ? json::value(json::array{}) : spec["rules"], "either `defaultBackend` or `rules` must be specified"));
  if (spec["defaultBackend"].is_object()) check_backend(out, spec["defaultBackend"], "spec.defaultBackend");
  for (std::size_t i = 0; i < spec["rules"].size(); ++i) {
    auto path = at("spec.rules", i);
    auto& r = spec["rules"][i];
    auto host = r["host"].as_string();
    if (!host.empty()) {
      if (ip_address::parse_sloppy(host)) out.push_back(invalid_value(path + ".host", host, "must be a DNS name, not an IP address"));
      add_problems(out, path + ".host", host, host.starts_with("*") ? check_wildcard_dns1123_subdomain(host) : check_dns1123_subdomain(host));
    }
    if (!r["http"].is_object()) continue;
    if (r["http"]["paths"].empty()) out.push_back(required(path + ".http.paths"));
    for (std::size_t j = 0; j < r["http"]["paths"].size(); ++j) {
      auto here = at(path + ".http.paths", j);
      auto& p = r["http"]["paths"][j];
      auto type = p["pathType"].as_string();
      if (type.empty())
        out.push_back(required(here + ".pathType", "pathType must be specified"));
      else if (type != "ImplementationSpecific" && !p["path"].as_string().starts_with('/'))
        out.push_back(invalid_value(here + ".path", p["path"].as_string(), "must be an absolute path"));
      one_of(out, p, here, "pathType", {"Exact", "ImplementationSpecific", "Prefix"});
      check_backend(out, p["backend"], here + ".backend");
    }
  }
}

void ingress_class(causes& out, const json::value& o) {
  auto c = o["spec"]["controller"].as_string();
  if (c.find('/') == std::string_view::npos)
    out.push_back(invalid_value("spec.controller", c, "must be a domain-prefixed path (such as \"acme.io/foo\")"));
}
void ingress_class_update(causes& out, const json::value& o, const json::value& old) {
  ingress_class(out, o);
  immutable(out, o["spec"]["controller"], old["spec"]["controller"], "spec.controller");
}

void address_object(causes& out, const json::value& o) {
  auto& ref = o["spec"]["parentRef"];
  if (!ref.is_object()) {
    out.push_back(required("spec.parentRef"));
    return;
  }
  need(out, ref, "spec.parentRef", "resource");
  need(out, ref, "spec.parentRef", "name");
}
void address_object_update(causes& out, const json::value& o, const json::value& old) {
  address_object(out, o);
  immutable(out, o["spec"]["parentRef"], old["spec"]["parentRef"], "spec.parentRef");
}

void service_cidr(causes& out, const json::value& o) {
  auto& list = o["spec"]["cidrs"];
  if (list.empty()) out.push_back(required("spec.cidrs", "at least one CIDR required"));
  if (list.size() > 2) out.push_back(invalid_value("spec.cidrs", list, "may only hold up to 2 values"));
  for (std::size_t i = 0; i < list.size(); ++i) add_problems(out, at("spec.cidrs", i), list[i], check_canonical_cidr(list[i].as_string()));
}
void service_cidr_update(causes& out, const json::value& o, const json::value& old) {
  service_cidr(out, o);
  immutable(out, o["spec"]["cidrs"], old["spec"]["cidrs"], "spec.cidrs");
}

constexpr std::string_view networking = "networking.k8s.io";

}  // namespace

const kind_rules kinds::network_policies{.group = networking, .resource = "networkpolicies", .generation = true, .validate = network_policy};
const kind_rules kinds::ingresses{.group = networking, .resource = "ingresses", .generation = true, .validate = ingress};
const kind_rules kinds::ingress_classes{.group = networking, .resource = "ingressclasses", .generation = true, .validate = ingress_class, .validate_update = ingress_class_update};
const kind_rules kinds::ip_addresses{.group = networking, .resource = "ipaddresses", .name = check_canonical_ip, .validate = address_object, .validate_update = address_object_update};
const kind_rules kinds::service_cidrs{.group = networking, .resource = "servicecidrs", .validate = service_cidr, .validate_update = service_cidr_update};

}  // namespace kedge::api
