// records.h: what a node uses of Services and EndpointSlices, for rules and for names.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "json/value.h"

namespace kedge::node {

enum class transport : std::uint8_t { tcp = 6, udp = 17, sctp = 132 };
std::optional<transport> parse_transport(std::string_view text);
std::string_view name_of(transport t);  // "tcp"

struct service_port {
  std::string name;
  transport protocol = transport::tcp;
  std::uint16_t port = 0, node_port = 0;
  friend bool operator==(const service_port&, const service_port&) noexcept = default;
};

struct service_record {
  std::string name_space, name;
  std::vector<ip_address> cluster_ips;  // none: headless, or ExternalName
  bool headless = false;
  std::string external_name;  // of type ExternalName
  std::vector<service_port> ports;
  std::vector<ip_address> external_ips;
  std::vector<ip_address> balancer_ips;  // status.loadBalancer.ingress of mode VIP
  std::vector<ip_range> source_ranges;
  bool external_local = false, internal_local = false;  // traffic policies
  std::uint32_t affinity_seconds = 0;                   // 0: none
  bool publish_not_ready = false;
  std::uint16_t health_port = 0;  // where a balancer asks for endpoints of a node; 0: nobody asks
  friend bool operator==(const service_record&, const service_record&) noexcept = default;

  bool accessible_from_outside() const {
    if (!external_ips.empty() || !balancer_ips.empty()) return true;
    for (auto& p : ports)
      if (p.node_port) return true;
    return false;
  }
};
// nullopt: no name.
std::optional<service_record> decode_service(const json::value& service);

struct slice_endpoint {
  std::vector<ip_address> addresses;
  bool ready = true, serving = true, terminating = false;
  std::string node, host_name, pod;  // pod: the targetRef's name
  std::vector<std::string> zone_hints, node_hints;
  friend bool operator==(const slice_endpoint&, const slice_endpoint&) noexcept = default;
};
struct slice_port {
  std::string name;
  transport protocol = transport::tcp;
  std::uint16_t port = 0;
  friend bool operator==(const slice_port&, const slice_port&) noexcept = default;
};
struct slice_record {
  std::string service;  // "namespace/name"
  bool v4 = true;
  std::vector<slice_port> ports;
  std::vector<slice_endpoint> endpoints;
  friend bool operator==(const slice_record&, const slice_record&) noexcept = default;
};
// nullopt: of no Service, or of names instead of addresses.
std::optional<slice_record> decode_slice(const json::value& slice);

}  // namespace kedge::node
