// service.cc: Service. Addresses and node ports are allocated in service_addresses.cc.
#include <fmt/format.h>

#include "api/kind_rules.h"

namespace kedge::api {
namespace {

std::string_view type_of(const json::value& o) { return o["spec"]["type"].as_string("ClusterIP"); }
bool headless(const json::value& o) { return o["spec"]["clusterIP"].as_string() == "None"; }

// What follows from type and address, where the user said nothing (single-stack IPv4).
void set_families(json::value& o) {
  auto& spec = o.member("spec");
  if (type_of(o) == "ExternalName") return;
  if (!o["spec"]["clusterIPs"].empty() && o["spec"]["clusterIP"].as_string().empty()) spec.set("clusterIP", o["spec"]["clusterIPs"][0]);
  if (o["spec"]["clusterIPs"].empty() && !o["spec"]["clusterIP"].as_string().empty()) spec.set("clusterIPs", json::array{o["spec"]["clusterIP"]});
  const bool without_selector = headless(o) && o["spec"]["selector"].empty();
  if (o["spec"]["ipFamilyPolicy"].is_null()) spec.set("ipFamilyPolicy", without_selector ? "RequireDualStack" : "SingleStack");
  if (o["spec"]["ipFamilies"].empty()) {
    json::array families{json::value("IPv4")};
    if (without_selector) families.emplace_back("IPv6");
    spec.set("ipFamilies", std::move(families));
  }
}

void drop_node_ports(json::value& o) {
  auto ports = o.member("spec").find("ports");
  if (ports && ports->array())
    for (auto& p : *ports->array()) p.erase("nodePort");
}

void drop_what_type_lacks(json::value& o) {
  auto& spec = o.member("spec");
  auto type = type_of(o);
  if (type == "ExternalName")
    for (auto name : {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy", "externalTrafficPolicy"}) spec.erase(name);
  if (type != "LoadBalancer")
    for (auto name : {"allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort"}) spec.erase(name);
  if (type == "ClusterIP") spec.erase("externalTrafficPolicy");
}

void prepare_create(json::value& o, const kind_context&) {
  set_families(o);
  o.set("status", json::object{{"loadBalancer", json::object{}}});
}

void prepare_update(json::value& o, const json::value& old, const kind_context& c) {
  if (c.subresource == "status") return;
  auto& spec = o.member("spec");
  const bool same_type = type_of(o) == type_of(old);
  if (type_of(o) != "ExternalName" && type_of(old) != "ExternalName") {
    // What was allocated stays when the body doesn't name it.
    if (o["spec"]["clusterIP"].as_string().empty() && o["spec"]["clusterIPs"].empty()) {
      spec.set("clusterIP", old["spec"]["clusterIP"]);
      spec.set("clusterIPs", old["spec"]["clusterIPs"]);
    }
    for (auto name : {"ipFamilies", "ipFamilyPolicy"})
      if (o["spec"][name].is_null()) spec.set(name, old["spec"][name]);
    if (same_type && o["spec"]["healthCheckNodePort"].is_null() && o["spec"]["externalTrafficPolicy"].as_string() == "Local" &&
        old["spec"]["healthCheckNodePort"].is_integer())
      spec.set("healthCheckNodePort", old["spec"]["healthCheckNodePort"]);
    auto ports = spec.find("ports");
    for (std::size_t i = 0; ports && ports->array() && i < ports->size(); ++i) {
      auto& p = (*ports->array())[i];
      if (!p["nodePort"].is_null()) continue;
      for (std::size_t j = 0; j < old["spec"]["ports"].size(); ++j) {
        auto& before = old["spec"]["ports"][j];
        if (before["port"] == p["port"] && before["protocol"] == p["protocol"] && before["nodePort"].is_integer()) p.set("nodePort", before["nodePort"]);
      }
    }
  }
  if (type_of(o) == "ClusterIP" && type_of(old) != "ClusterIP" && type_of(old) != "ExternalName") drop_node_ports(o);
  if (type_of(o) == "ExternalName" && !same_type && o["spec"]["clusterIP"] == old["spec"]["clusterIP"]) {
    spec.erase("clusterIP");
    spec.erase("clusterIPs");
    drop_node_ports(o);
  }
  drop_what_type_lacks(o);
  set_families(o);
  if (type_of(o) != "LoadBalancer") o.member("status").set("loadBalancer", json::object{});
}

void check_ports(causes& out, const json::value& o) {
  auto& ports = o["spec"]["ports"];
  auto type = type_of(o);
  if (ports.empty() && !headless(o) && type != "ExternalName") out.push_back(required("spec.ports"));
  for (std::size_t i = 0; i < ports.size(); ++i) {
    auto path = at("spec.ports", i);
    auto& p = ports[i];
    auto name = p["name"].as_string();
    if (name.empty() && ports.size() > 1) out.push_back(required(path + ".name"));
    if (!name.empty()) {
      add_problems(out, path + ".name", name, check_dns1123_label(name));
      for (std::size_t j = 0; j < i; ++j)
        if (ports[j]["name"].as_string() == name) {
          out.push_back(duplicate_value(path + ".name", name));
          break;
        }
    }
    add_problems(out, path + ".port", p["port"], check_port_number(p["port"].as_integer()));
    one_of(out, p, path, "protocol", {"TCP", "UDP", "SCTP"});
    if (!p["targetPort"].is_null()) check_port_or_name(out, p["targetPort"], path + ".targetPort");
    if (type == "ClusterIP" && p["nodePort"].as_integer() != 0)
      out.push_back(forbidden_value(path + ".nodePort", "may not be used when `type` is 'ClusterIP'"));
    for (std::size_t j = 0; j < i; ++j)
      if (ports[j]["port"] == p["port"] && ports[j]["protocol"].as_string("TCP") == p["protocol"].as_string("TCP")) {
        out.push_back(duplicate_value(path, json::object{{"port", p["port"]}, {"protocol", p["protocol"]}}));
        break;
      }
  }
}

void validate(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  auto type = type_of(o);
  one_of(out, spec, "spec", "type", {"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"});
  check_ports(out, o);
  if (type == "ExternalName") {
    auto name = spec["externalName"].as_string();
    if (name.ends_with('.')) name.remove_suffix(1);
    if (name.empty())
      out.push_back(required("spec.externalName"));
    else
      add_problems(out, "spec.externalName", spec["externalName"], check_dns1123_subdomain(name));
    if (!spec["clusterIPs"].empty()) out.push_back(forbidden_value("spec.clusterIPs", "may not be set when `type` is 'ExternalName'"));
  }
  if (type == "LoadBalancer" && headless(o)) out.push_back(invalid_value("spec.clusterIPs[0]", "None", "may not be set to 'None' for LoadBalancer services"));
  if (type == "NodePort" && headless(o)) out.push_back(invalid_value("spec.clusterIPs[0]", "None", "may not be set to 'None' for NodePort services"));
  auto ip = spec["clusterIP"].as_string();
  if (!ip.empty() && ip != "None") add_problems(out, "spec.clusterIPs[0]", ip, check_ip(ip));
  check_labels(out, spec["selector"], "spec.selector");
  one_of(out, spec, "spec", "sessionAffinity", {"ClientIP", "None"});
  if (auto& seconds = spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"]; spec["sessionAffinity"].as_string() == "ClientIP" && seconds.is_integer())
    if (seconds.as_integer() <= 0 || seconds.as_integer() > 86400)
      out.push_back(invalid_value("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds, "must be greater than 0 and less than 86400"));
  for (std::size_t i = 0; i < spec["externalIPs"].size(); ++i) {
    auto& external = spec["externalIPs"][i];
    auto wrong = check_ip(external.as_string());
    add_problems(out, at("spec.externalIPs", i), external, wrong.empty() ? check_endpoint_ip(external.as_string()) : wrong);
  }
  one_of(out, spec, "spec", "internalTrafficPolicy", {"Cluster", "Local"});
  if (type == "NodePort" || type == "LoadBalancer")
    one_of(out, spec, "spec", "externalTrafficPolicy", {"Cluster", "Local"});
  else if (!spec["externalTrafficPolicy"].is_null() && spec["externalIPs"].empty())
    out.push_back(invalid_value("spec.externalTrafficPolicy", spec["externalTrafficPolicy"], "may only be set for externally-accessible services"));
  one_of(out, spec, "spec", "ipFamilyPolicy", {"SingleStack", "PreferDualStack", "RequireDualStack"});
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  validate(out, o);
  auto before = old["spec"]["clusterIP"].as_string();
  if (before.empty() || type_of(old) == "ExternalName" || type_of(o) == "ExternalName") return;
  if (o["spec"]["clusterIP"].as_string() != before)
    out.push_back(invalid_value("spec.clusterIPs[0]", o["spec"]["clusterIP"], "may not change once set"));
}

}  // namespace

const kind_rules kinds::services{.group = "",
                                 .resource = "services",
                                 .name = check_dns1035_label,
                                 .create_by_update = true,
                                 .answers_deleted_object = true,
                                 .prepare_create = prepare_create,
                                 .prepare_update = prepare_update,
                                 .validate = validate,
                                 .validate_update = validate_update};

}  // namespace kedge::api
