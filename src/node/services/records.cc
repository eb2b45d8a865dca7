#include "node/services/records.h"

#include "base/strings.h"

#include <algorithm>

namespace kedge::node {

using json::value;

std::optional<transport> parse_transport(std::string_view text) {
  if (text == "TCP" || text.empty()) return transport::tcp;
  if (text == "UDP") return transport::udp;
  if (text == "SCTP") return transport::sctp;
  return std::nullopt;
}

std::string_view name_of(transport t) {
  switch (t) {
    case transport::tcp: return "tcp";
    case transport::udp: return "udp";
    case transport::sctp: return "sctp";
  }
  return "";
}

namespace {

template <typename F>
void each(const value& list, F f) {
  if (auto* all = list.array())
    for (auto& v : *all) f(v);
}

std::uint16_t port_of(const value& v) {
  auto n = v.as_integer();
  return n > 0 && n <= 65535 ? static_cast<std::uint16_t>(n) : 0;
}

std::vector<ip_address> addresses_of(const value& list) {
  std::vector<ip_address> out;
  each(list, [&](const value& v) {
    if (auto a = ip_address::parse_sloppy(v.as_string())) out.push_back(*a);
  });
  return out;
}

std::vector<std::string> names_of(const value& list) {
  std::vector<std::string> out;
  each(list, [&](const value& v) { out.emplace_back(v["name"].as_string()); });
  std::ranges::sort(out);
  return out;
}

}  // namespace

std::optional<service_record> decode_service(const value& service) {
  service_record s;
  auto& spec = service["spec"];
  s.name_space = service["metadata"]["namespace"].as_string();
  s.name = service["metadata"]["name"].as_string();
  if (s.name.empty()) return std::nullopt;
  if (spec["type"].as_string() == "ExternalName") {
    s.external_name = spec["externalName"].as_string();
    return s;
  }
  s.headless = spec["clusterIP"].as_string() == "None";
  s.cluster_ips = addresses_of(spec["clusterIPs"]);
  if (s.cluster_ips.empty())
    if (auto one = ip_address::parse_sloppy(spec["clusterIP"].as_string())) s.cluster_ips.push_back(*one);
  each(spec["ports"], [&](const value& p) {
    auto protocol = parse_transport(p["protocol"].as_string());
    auto port = port_of(p["port"]);
    if (protocol && port)
      s.ports.push_back({std::string(p["name"].as_string()), *protocol, port, port_of(p["nodePort"])});
  });
  s.external_ips = addresses_of(spec["externalIPs"]);
  if (spec["type"].as_string() == "LoadBalancer") {
    each(service["status"]["loadBalancer"]["ingress"], [&](const value& i) {
      auto a = ip_address::parse_sloppy(i["ip"].as_string());
      if (a && i["ipMode"].as_string("VIP") == "VIP") s.balancer_ips.push_back(*a);
    });
    each(spec["loadBalancerSourceRanges"], [&](const value& v) {
      // Which validation lets have spaces around it.
      if (auto r = ip_range::parse_sloppy(trim(v.as_string()))) s.source_ranges.push_back(*r);
    });
  }
  s.external_local = spec["externalTrafficPolicy"].as_string() == "Local";
  if (s.external_local && spec["type"].as_string() == "LoadBalancer")
    s.health_port = port_of(spec["healthCheckNodePort"]);
  s.internal_local = spec["internalTrafficPolicy"].as_string() == "Local";
  if (spec["sessionAffinity"].as_string() == "ClientIP") {
    auto seconds = spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].as_integer(10'800);
    s.affinity_seconds = static_cast<std::uint32_t>(std::clamp<std::int64_t>(seconds, 1, 86'400));
  }
  s.publish_not_ready = spec["publishNotReadyAddresses"].as_bool();
  return s;
}

std::optional<slice_record> decode_slice(const value& slice) {
  slice_record s;
  auto name = slice["metadata"]["labels"]["kubernetes.io/service-name"].as_string();
  auto type = slice["addressType"].as_string();
  if (name.empty() || (type != "IPv4" && type != "IPv6")) return std::nullopt;
  s.service = std::string(slice["metadata"]["namespace"].as_string()) + "/" + std::string(name);
  s.v4 = type == "IPv4";
  each(slice["ports"], [&](const value& p) {
    auto protocol = parse_transport(p["protocol"].as_string());
    // A port of null means all ports, which no Service can be led to.
    if (auto port = port_of(p["port"]); protocol && port)
      s.ports.push_back({std::string(p["name"].as_string()), *protocol, port});
  });
  each(slice["endpoints"], [&](const value& e) {
    slice_endpoint out;
    out.addresses = addresses_of(e["addresses"]);
    std::erase_if(out.addresses, [&](auto& a) { return a.is_v4() != s.v4; });
    if (out.addresses.empty()) return;
    auto& c = e["conditions"];
    out.ready = c["ready"].as_bool(true);
    out.serving = c["serving"].as_bool(out.ready);
    out.terminating = c["terminating"].as_bool(false);
    out.node = e["nodeName"].as_string();
    out.host_name = e["hostname"].as_string();
    if (e["targetRef"]["kind"].as_string() == "Pod") out.pod = e["targetRef"]["name"].as_string();
    out.zone_hints = names_of(e["hints"]["forZones"]);
    out.node_hints = names_of(e["hints"]["forNodes"]);
    s.endpoints.push_back(std::move(out));
  });
  return s;
}

}  // namespace kedge::node
