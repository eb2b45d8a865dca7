// endpoints.cc: Endpoints and EndpointSlice.
#include "api/kind_rules.h"

namespace kedge::api {
namespace {

void check_special_ip(causes& out, const std::string& field, const json::value& v) {
  auto ip = v.as_string();
  if (!is_ip(ip)) {
    out.push_back(invalid_value(field, v, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"));
    return;
  }
  if (ip == "0.0.0.0" || ip == "::") out.push_back(invalid_value(field, v, "may not be unspecified (0.0.0.0 or ::)"));
  if (ip.starts_with("127.") || ip == "::1") out.push_back(invalid_value(field, v, "may not be in the loopback range (127.0.0.0/8, ::1/128)"));
  if (ip.starts_with("169.254.") || ip.starts_with("fe80:")) out.push_back(invalid_value(field, v, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"));
  if (ip.starts_with("224.0.0.")) out.push_back(invalid_value(field, v, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"));
}

void check_port(causes& out, const json::value& p, const std::string& path, bool name_needed) {
  auto name = p["name"].as_string();
  if (name.empty() && name_needed) out.push_back(required(path + ".name"));
  if (!name.empty()) add_problems(out, path + ".name", name, check_dns1123_label(name));
  if (p["port"].is_integer()) add_problems(out, path + ".port", p["port"], check_port_number(p["port"].as_integer()));
  one_of(out, p, path, "protocol", {"TCP", "UDP", "SCTP"});
}

void validate_endpoints(causes& out, const json::value& o) {
  for (std::size_t i = 0; i < o["subsets"].size(); ++i) {
    auto path = at("subsets", i);
    auto& s = o["subsets"][i];
    if (s["addresses"].empty() && s["notReadyAddresses"].empty()) out.push_back(required(path, "must specify `addresses` or `notReadyAddresses`"));
    for (auto list : {"addresses", "notReadyAddresses"})
      for (std::size_t j = 0; j < s[list].size(); ++j) check_special_ip(out, at(under(path, list), j) + ".ip", s[list][j]["ip"]);
    for (std::size_t j = 0; j < s["ports"].size(); ++j) check_port(out, s["ports"][j], at(path + ".ports", j), s["ports"].size() > 1);
  }
}

void validate_slice(causes& out, const json::value& o) {
  auto type = o["addressType"].as_string();
  if (type.empty())
    out.push_back(required("addressType"));
  else
    one_of(out, o, "", "addressType", {"FQDN", "IPv4", "IPv6"});
  auto& endpoints = o["endpoints"];
  if (endpoints.size() > 1000) out.push_back(too_many("endpoints", endpoints.size(), 1000));
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    auto path = at("endpoints", i) + ".addresses";
    auto& addresses = endpoints[i]["addresses"];
    if (addresses.empty()) out.push_back(required(path, "must contain at least 1 address"));
    if (addresses.size() > 100) out.push_back(too_many(path, addresses.size(), 100));
    for (std::size_t j = 0; j < addresses.size(); ++j) {
      if (type == "FQDN")
        add_problems(out, at(path, j), addresses[j], check_dns1123_subdomain(addresses[j].as_string()));
      else
        check_special_ip(out, at(path, j), addresses[j]);
    }
  }
  auto& ports = o["ports"];
  if (ports.size() > 20000) out.push_back(too_many("ports", ports.size(), 20000));
  for (std::size_t i = 0; i < ports.size(); ++i) {
    check_port(out, ports[i], at("ports", i), false);
    for (std::size_t j = 0; j < i; ++j)
      if (ports[j]["name"].as_string() == ports[i]["name"].as_string()) {
        out.push_back(duplicate_value(at("ports", i) + ".name", ports[i]["name"].as_string()));
        break;
      }
  }
}

void slice_update(causes& out, const json::value& o, const json::value& old) { immutable(out, o["addressType"], old["addressType"], "addressType"); }

}  // namespace

const kind_rules kinds::endpoints{.group = "", .resource = "endpoints", .create_by_update = true, .validate = validate_endpoints};
const kind_rules kinds::endpoint_slices{
    .group = "discovery.k8s.io", .resource = "endpointslices", .generation = true, .validate = validate_slice, .validate_update = slice_update};

}  // namespace kedge::api
