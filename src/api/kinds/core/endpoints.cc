// endpoints.cc: Endpoints and EndpointSlice.
#include <unordered_set>

#include "api/kind_rules.h"
#include "base/ip.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

// Of an Endpoints: one of its two lists.
void check_addresses(causes& out, const json::value& list, const std::string& path) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto here = at(path, i);
    auto& one = list[i];
    auto ip = one["ip"].as_string();
    add_problems(out, here + ".ip", one["ip"], check_ip(ip));
    if (auto name = one["hostname"].as_string(); !name.empty()) add_problems(out, here + ".hostname", one["hostname"], check_dns1123_label(name));
    if (!one["nodeName"].is_null()) add_problems(out, here + ".nodeName", one["nodeName"], check_dns1123_subdomain(one["nodeName"].as_string()));
    add_problems(out, here + ".ip", one["ip"], check_endpoint_ip(ip));
  }
}

// A domain of two labels or more; the dot at its end is no part of it.
problems check_fqdn(std::string_view name) {
  if (name.ends_with('.')) name.remove_suffix(1);
  if (auto wrong = check_dns1123_subdomain(name); !wrong.empty()) return {join(wrong, ",")};
  auto labels = split(name, '.');
  if (labels.size() < 2) return {"should be a domain with at least two segments separated by dots"};
  for (auto label : labels)
    if (auto wrong = check_dns1123_label(label); !wrong.empty()) return {join(wrong, ",")};
  return {};
}

// Of an endpoint of a slice, by the slice's type. A family that doesn't fit is told of the list, as the real server does.
void check_address(causes& out, const json::value& v, std::string_view type, const std::string& list, std::size_t i) {
  auto text = v.as_string();
  auto path = at(list, i);
  if (type == "FQDN") return text.empty() ? out.push_back(required(path)) : add_problems(out, path, v, check_fqdn(text));
  const bool four = type == "IPv4";
  if (!four && type != "IPv6") return;
  auto wrong = four ? check_ip(text) : check_canonical_ip(text);
  add_problems(out, path, v, wrong);
  if (!wrong.empty()) return;
  if (ip_address::parse(text)->is_v4() != four) out.push_back(invalid_value(list, v, four ? "must be an IPv4 address" : "must be an IPv6 address"));
  add_problems(out, path, v, check_endpoint_ip(text));
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
    for (auto list : {"addresses", "notReadyAddresses"}) check_addresses(out, s[list], under(path, list));
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
  if (endpoints.size() > 1000) return out.push_back(too_many("endpoints", endpoints.size(), 1000));
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    auto path = at("endpoints", i) + ".addresses";
    auto& addresses = endpoints[i]["addresses"];
    if (addresses.empty()) out.push_back(required(path, "must contain at least 1 address"));
    if (addresses.size() > 100) out.push_back(too_many(path, addresses.size(), 100));
    for (std::size_t j = 0; j < addresses.size(); ++j) check_address(out, addresses[j], type, path, j);
    auto& node = endpoints[i]["nodeName"];
    if (!node.is_null()) add_problems(out, at("endpoints", i) + ".nodeName", node, check_dns1123_subdomain(node.as_string()));
    auto& host = endpoints[i]["hostname"];
    if (!host.is_null()) add_problems(out, at("endpoints", i) + ".hostname", host, check_dns1123_label(host.as_string()));
  }
  auto& ports = o["ports"];
  if (ports.size() > 20000) return out.push_back(too_many("ports", ports.size(), 20000));
  std::unordered_set<std::string_view> names;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    check_port(out, ports[i], at("ports", i), false);
    if (auto name = ports[i]["name"].as_string(); !names.insert(name).second) out.push_back(duplicate_value(at("ports", i) + ".name", name));
  }
}

// What stands already was right once, and may stay as it is.
void forgive(causes& out, std::string_view list, const json::value& now, const json::value& before) {
  if (now == before) std::erase_if(out, [&](const cause& c) { return c.field.starts_with(list); });
}

void endpoints_update(causes& out, const json::value& o, const json::value& old) {
  validate_endpoints(out, o);
  forgive(out, "subsets[", o["subsets"], old["subsets"]);
}
void slice_update(causes& out, const json::value& o, const json::value& old) {
  validate_slice(out, o);
  forgive(out, "endpoints[", o["endpoints"], old["endpoints"]);
  immutable(out, o["addressType"], old["addressType"], "addressType");
}

}  // namespace

const kind_rules kinds::endpoints{.group = "", .resource = "endpoints", .create_by_update = true, .validate = validate_endpoints, .validate_update = endpoints_update};
const kind_rules kinds::endpoint_slices{
    .group = "discovery.k8s.io", .resource = "endpointslices", .generation = true, .validate = validate_slice, .validate_update = slice_update};

}  // namespace kedge::api
