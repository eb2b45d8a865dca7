#include "node/policy/records.h"

#include "json/write.h"

namespace kedge::node {

using json::value;

namespace {

template <typename F>
void each(const value& list, F f) {
  if (auto* all = list.array())
    for (auto& v : *all) f(v);
}

std::string labels_of(const value& object) {
  auto& labels = object["metadata"]["labels"];
  return labels.is_object() ? json::write(labels) : std::string();
}

selector_record selector_of(const value& v) { return {json::write(v), api::label_selector::from_object(v)}; }

void add_ports(std::vector<named_port>& out, const value& container) {
  each(container["ports"], [&](const value& p) {
    auto protocol = parse_transport(p["protocol"].as_string());
    auto number = p["containerPort"].as_integer();
    auto name = p["name"].as_string();
    if (protocol && !name.empty() && number > 0 && number <= 65535)
      out.push_back({std::string(name), *protocol, static_cast<std::uint16_t>(number)});
  });
}

std::optional<policy_peer> peer_of(const value& v) {
  policy_peer p;
  if (auto& block = v["ipBlock"]; block.is_object()) {
    auto range = ip_range::parse_sloppy(block["cidr"].as_string());
    if (!range) return std::nullopt;
    p.block = address_block{*range, {}};
    each(block["except"], [&](const value& e) {
      if (auto r = ip_range::parse_sloppy(e.as_string())) p.block->except.push_back(*r);
    });
    return p;
  }
  if (v["podSelector"].is_object()) p.pods = selector_of(v["podSelector"]);
  if (v["namespaceSelector"].is_object()) p.namespaces = selector_of(v["namespaceSelector"]);
  if (!p.pods && !p.namespaces) return std::nullopt;
  return p;
}

std::optional<policy_port> port_of(const value& v) {
  auto protocol = parse_transport(v["protocol"].as_string());
  if (!protocol) return std::nullopt;
  policy_port p{*protocol};
  auto& port = v["port"];
  if (port.is_string()) {
    p.name = port.as_string();
  } else if (!port.is_null()) {
    auto first = port.as_integer(), last = v["endPort"].as_integer(first);
    if (first < 1 || first > 65535 || last < first || last > 65535) return std::nullopt;
    p.first = static_cast<std::uint16_t>(first);
    p.last = static_cast<std::uint16_t>(last);
  }
  return p;
}

std::vector<policy_rule> rules_of(const value& list, const char* peers) {
  std::vector<policy_rule> out;
  each(list, [&](const value& v) {
    policy_rule r;
    if (v[peers].size() > 0) {
      r.peers.emplace();
      each(v[peers], [&](const value& p) {
        if (auto peer = peer_of(p)) r.peers->push_back(*std::move(peer));
      });
    }
    if (v["ports"].size() > 0) {
      r.ports.emplace();
      each(v["ports"], [&](const value& p) {
        if (auto port = port_of(p)) r.ports->push_back(*std::move(port));
      });
    }
    out.push_back(std::move(r));
  });
  return out;
}

}  // namespace

std::optional<pod_record> decode_policy_pod(const value& pod) {
  auto phase = pod["status"]["phase"].as_string();
  if (pod["spec"]["hostNetwork"].as_bool() || phase == "Succeeded" || phase == "Failed") return std::nullopt;
  pod_record r{.name_space = std::string(pod["metadata"]["namespace"].as_string()),
               .uid = std::string(pod["metadata"]["uid"].as_string()),
               .node = std::string(pod["spec"]["nodeName"].as_string()),
               .labels = labels_of(pod),
               .addresses = {},
               .ports = {}};
  each(pod["status"]["podIPs"], [&](const value& v) {
    if (auto a = ip_address::parse(v["ip"].as_string())) r.addresses.push_back(*a);
  });
  if (r.addresses.empty())
    if (auto a = ip_address::parse(pod["status"]["podIP"].as_string())) r.addresses.push_back(*a);
  each(pod["spec"]["containers"], [&](const value& c) { add_ports(r.ports, c); });
  each(pod["spec"]["initContainers"], [&](const value& c) {
    if (c["restartPolicy"].as_string() == "Always") add_ports(r.ports, c);
  });
  return r;
}

std::optional<namespace_record> decode_policy_namespace(const value& name_space) {
  return namespace_record{labels_of(name_space)};
}

std::optional<policy_record> decode_policy(const value& policy) {
  auto& spec = policy["spec"];
  policy_record p{.name_space = std::string(policy["metadata"]["namespace"].as_string()),
                  .name = std::string(policy["metadata"]["name"].as_string()),
                  .pods = selector_of(spec["podSelector"].is_object() ? spec["podSelector"] : value(json::object())),
                  .ingress = rules_of(spec["ingress"], "from"),
                  .egress = rules_of(spec["egress"], "to")};
  each(spec["policyTypes"], [&](const value& t) {
    p.isolates_ingress |= t.as_string() == "Ingress";
    p.isolates_egress |= t.as_string() == "Egress";
  });
  // Without types, which the API fills in: ingress always, egress where there are rules of it.
  if (spec["policyTypes"].size() == 0) {
    p.isolates_ingress = true;
    p.isolates_egress = !p.egress.empty();
  }
  return p;
}

}  // namespace kedge::node
