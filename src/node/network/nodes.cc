#include <algorithm>

#include "node/network/nodes.h"

#include "json/parse.h"
#include "json/write.h"

namespace kedge::node {

namespace {

constexpr std::string_view prefix = "flannel.alpha.coreos.com/";

const json::value& annotation(const json::value& node, std::string_view name) {
  return node["metadata"]["annotations"][std::string(prefix) + std::string(name)];
}

// {"VNI":1,"VtepMAC":"aa:bb:…"}; "null" with host-gw.
overlay_end decode_end(const json::value& node, std::string_view address, std::string_view data) {
  overlay_end e;
  // --flannel-external-ip: what the node is reached by, though its own view is another.
  auto overwrite = annotation(node, std::string(address) + "-overwrite").as_string();
  e.address = ip_address::parse(overwrite.empty() ? annotation(node, address).as_string() : overwrite);
  auto v = json::parse(annotation(node, data).as_string("null"));
  if (v && v->is_object()) {
    e.mac = parse_mac((*v)["VtepMAC"].as_string());
    e.vni = static_cast<std::uint32_t>((*v)["VNI"].as_integer(1));
  }
  return e;
}

}  // namespace

std::optional<node_record> decode_node(const json::value& node) {
  node_record n;
  n.name = node["metadata"]["name"].as_string();
  auto add = [&](std::string_view text) {
    if (auto r = ip_range::parse(text); r && std::ranges::find(n.pod_ranges, *r) == n.pod_ranges.end())
      n.pod_ranges.push_back(*r);
  };
  if (auto* all = node["spec"]["podCIDRs"].array())
    for (auto& r : *all) add(r.as_string());
  add(node["spec"]["podCIDR"].as_string());
  n.backend = annotation(node, "backend-type").as_string();
  n.v4 = decode_end(node, "public-ip", "backend-data");
  n.v6 = decode_end(node, "public-ipv6", "backend-v6-data");
  if (auto* all = node["status"]["addresses"].array())
    for (auto& a : *all) {
      auto type = a["type"].as_string();
      if (type == "Hostname") n.host_name = a["address"].as_string();
      auto address = ip_address::parse(a["address"].as_string());
      if (address && type == "InternalIP") n.internal.push_back(*address);
      if (address && type == "ExternalIP") n.external.push_back(*address);
    }
  if (auto* all = node["metadata"]["labels"].object())
    for (auto& l : *all)
      if (l.name.contains("svccontroller.k3s.cattle.io/") || l.name.starts_with("topology.kubernetes.io/") ||
          l.name == "node.kubernetes.io/exclude-from-external-load-balancers")
        n.labels.emplace(l.name, l.value.as_string());
  if (auto* all = node["status"]["conditions"].array())
    for (auto& c : *all)
      if (c["type"].as_string() == "Ready") n.ready = c["status"].as_string() == "True";
  return n;
}

json::object overlay_annotations(const own_end& own) {
  json::object all;
  auto set = [&](std::string_view name, json::value v) {
    all.set(std::string(prefix) + std::string(name), std::move(v));
  };
  auto data = [&](const overlay_end& e) -> json::value {
    if (!e.address) return nullptr;
    if (!e.mac) return "null";
    return json::write(
        json::value(json::object{{"VNI", static_cast<std::int64_t>(e.vni)}, {"VtepMAC", mac_text(*e.mac)}}));
  };
  set("kube-subnet-manager", "true");
  set("backend-type", own.backend);
  // Without IPv4 flannel's vxlan says nothing of it, where host-gw's "null" is all that there ever is.
  const bool says_v4 = own.v4.address || own.backend != "vxlan";
  set("backend-data", own.v4.address ? data(own.v4) : says_v4 ? json::value("null") : json::value());
  set("public-ip", own.v4.address ? json::value(own.v4.address->text()) : json::value());
  set("backend-v6-data", data(own.v6));
  set("public-ipv6", own.v6.address ? json::value(own.v6.address->text()) : json::value());
  return all;
}

}  // namespace kedge::node
