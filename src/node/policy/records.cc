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

// --- of the whole cluster

std::optional<policy_peer> pods_of(const value& v) {
  policy_peer p;
  if (v["namespaces"].is_object()) {
    p.namespaces = selector_of(v["namespaces"]);
  } else if (auto& pods = v["pods"]; pods.is_object()) {
    p.namespaces =
        selector_of(pods["namespaceSelector"].is_object() ? pods["namespaceSelector"] : value(json::object()));
    p.pods = selector_of(pods["podSelector"].is_object() ? pods["podSelector"] : value(json::object()));
  } else {
    return std::nullopt;
  }
  return p;
}

// False: it is of a kind that isn't known.
bool add_cluster_peer(std::vector<policy_peer>& out, const value& v) {
  if (auto pods = pods_of(v)) {
    out.push_back(*std::move(pods));
    return true;
  }
  if (v["networks"].size() == 0) return false;
  bool good = true;
  each(v["networks"], [&](const value& n) {
    auto range = ip_range::parse(n.as_string());
    good = good && range;
    if (range) out.push_back({.pods = {}, .namespaces = {}, .block = address_block{*range, {}}});
  });
  return good;
}

// What follows adds the ports that an element names: none where it is of a kind that isn't known.
void add_numbers(std::vector<policy_port>& out, transport protocol, const value& first, const value& last) {
  auto from = first.as_integer(), to = last.as_integer(from);
  if (from >= 1 && from <= to && to <= 65535)
    out.push_back({protocol, static_cast<std::uint16_t>(from), static_cast<std::uint16_t>(to)});
}
// A name stands for whatever protocol the container's port has.
void add_name(std::vector<policy_port>& out, const value& name) {
  if (name.as_string().empty()) return;
  for (auto protocol : {transport::tcp, transport::udp, transport::sctp})
    out.push_back({.protocol = protocol, .name = std::string(name.as_string())});
}

// AdminNetworkPolicy's way to say it.
void add_admin_port(std::vector<policy_port>& out, const value& v) {
  add_name(out, v["namedPort"]);
  if (auto& one = v["portNumber"]; one.is_object())
    if (auto protocol = parse_transport(one["protocol"].as_string()))
      add_numbers(out, *protocol, one["port"], one["port"]);
  if (auto& some = v["portRange"]; some.is_object())
    if (auto protocol = parse_transport(some["protocol"].as_string()))
      add_numbers(out, *protocol, some["start"], some["end"]);
}
// ClusterNetworkPolicy's.
void add_cluster_port(std::vector<policy_port>& out, const value& v) {
  add_name(out, v["destinationNamedPort"]);
  for (auto [name, protocol] : {std::pair{"tcp", transport::tcp}, {"udp", transport::udp}, {"sctp", transport::sctp}}) {
    auto& of = v[name];
    if (!of.is_object()) continue;
    auto& port = of["destinationPort"];
    if (!port.is_object())
      out.push_back({protocol});
    else if (port["range"].is_object())
      add_numbers(out, protocol, port["range"]["start"], port["range"]["end"]);
    else
      add_numbers(out, protocol, port["number"], port["number"]);
  }
}

std::vector<policy_rule> cluster_rules_of(const value& list, const char* peers) {
  std::vector<policy_rule> out;
  each(list, [&](const value& v) {
    policy_rule r;
    auto action = v["action"].as_string();
    r.action = action == "Accept" || action == "Allow" ? policy_action::accept
               : action == "Pass"                      ? policy_action::pass
                                                       : policy_action::deny;
    r.peers.emplace();
    bool known = true;
    each(v[peers], [&](const value& p) { known = add_cluster_peer(*r.peers, p) && known; });
    if (v["protocols"].size() > 0 || v["ports"].size() > 0) {
      r.ports.emplace();
      auto add = [&](auto read, const value& p) {
        const auto before = r.ports->size();
        read(*r.ports, p);
        known = known && r.ports->size() > before;
      };
      each(v["protocols"], [&](const value& p) { add(add_cluster_port, p); });
      each(v["ports"], [&](const value& p) { add(add_admin_port, p); });
    }
    if (!known && r.action == policy_action::accept) return;
    if (!known) r = {.peers = std::nullopt, .ports = std::nullopt, .action = policy_action::deny};
    out.push_back(std::move(r));
  });
  return out;
}

std::optional<policy_record> decode_tiered(const value& policy, policy_tier tier) {
  auto& spec = policy["spec"];
  auto subject = pods_of(spec["subject"]);
  if (!subject) return std::nullopt;
  policy_record p{.name_space = {},
                  .name = std::string(policy["metadata"]["name"].as_string()),
                  .pods = {},
                  .ingress = cluster_rules_of(spec["ingress"], "from"),
                  .egress = cluster_rules_of(spec["egress"], "to"),
                  .tier = tier,
                  .subject = std::move(subject),
                  .priority = spec["priority"].as_integer()};
  p.isolates_ingress = !p.ingress.empty();
  p.isolates_egress = !p.egress.empty();
  return p;
}

}  // namespace

std::optional<policy_record> decode_cluster_policy(const value& policy) {
  return decode_tiered(policy,
                       policy["spec"]["tier"].as_string() == "Baseline" ? policy_tier::baseline : policy_tier::admin);
}
std::optional<policy_record> decode_admin_policy(const value& policy) {
  return decode_tiered(policy, policy_tier::admin);
}
std::optional<policy_record> decode_baseline_policy(const value& policy) {
  return decode_tiered(policy, policy_tier::baseline);
}

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
