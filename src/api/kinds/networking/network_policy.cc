// network_policy.cc: NetworkPolicy.
#include <unordered_set>

#include "api/kinds/core/warnings.h"
#include "api/registry/kind_rules.h"
#include "base/ip.h"

namespace kedge::api {
namespace {

using text_set = std::unordered_set<std::string_view>;

// What an older object has that is wrong by now.
struct allowances {
  bool any_label_values = false;
  text_set ranges;
};

void check_ports(causes& out, const json::value& ports, const place& at) {
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const place here(at, i), of_end(here, "endPort"), of_port(here, "port");
    auto &port = ports[i]["port"], &end = ports[i]["endPort"];
    if (auto& protocol = ports[i]["protocol"]; !protocol.is_null() && protocol.as_string() != "TCP" &&
                                               protocol.as_string() != "UDP" && protocol.as_string() != "SCTP")
      out.push_back(not_supported(place(here, "protocol"), protocol, {"TCP", "UDP", "SCTP"}));
    if (port.is_integer()) {
      add_problems(out, of_port, port, check_port_number(port.as_integer()));
      if (end.is_null()) continue;
      if (end.as_integer() < port.as_integer())
        out.push_back(invalid_value(of_end, end, "must be greater than or equal to `port`"));
      add_problems(out, of_end, end, check_port_number(end.as_integer()));
    } else if (port.is_string()) {
      if (!end.is_null()) out.push_back(invalid_value(of_end, end, "may not be specified when `port` is non-numeric"));
      add_problems(out, of_port, port, check_port_name(port.as_string()));
    } else if (!end.is_null()) {
      out.push_back(invalid_value(of_end, end, "may not be specified when `port` is not specified"));
    }
  }
}

void check_range(causes& out, std::string_view range, const place& at, const allowances& allowed) {
  if (!allowed.ranges.contains(range)) add_problems(out, at, range, check_cidr(range));
}

void check_block(causes& out, const json::value& block, const place& at, const allowances& allowed) {
  auto text = block["cidr"].as_string();
  if (text.empty()) return;  // told at the end, as a rule that is declared with the type
  check_range(out, text, place(at, "cidr"), allowed);
  auto range = ip_range::parse_sloppy(text);
  if (!range) return;
  for (std::size_t i = 0; i < block["except"].size(); ++i) {
    const place here(at, "except", i);
    auto except_text = block["except"][i].as_string();
    check_range(out, except_text, here, allowed);
    auto except = ip_range::parse_sloppy(except_text);
    if (except && (!range->contains(except->network()) || range->prefix() >= except->prefix()))
      out.push_back(invalid_value(here, except_text, "must be a strict subset of `cidr`"));
  }
}

void check_peers(causes& out, const json::value& peers, const place& at, const allowances& allowed) {
  for (std::size_t i = 0; i < peers.size(); ++i) {
    const place here(at, i);
    auto& peer = peers[i];
    int kinds = 0;
    for (auto member : {"podSelector", "namespaceSelector"}) {
      if (!peer[member].is_object()) continue;
      ++kinds;
      check_label_selector(out, peer[member], place(here, member), allowed.any_label_values);
    }
    const bool block = peer["ipBlock"].is_object();
    if (block) check_block(out, peer["ipBlock"], place(here, "ipBlock"), allowed);
    if (kinds == 0 && !block) out.push_back(required(here, "must specify a peer"));
    if (kinds > 0 && block) out.push_back(forbidden_value(here, "may not specify both ipBlock and another peer"));
  }
}

struct direction {
  std::string_view rules, peers;
};
constexpr direction directions[] = {{"ingress", "from"}, {"egress", "to"}};

void check_spec(causes& out, const json::value& spec, const allowances& allowed) {
  const place at("spec");
  check_label_selector(out, spec["podSelector"], place(at, "podSelector"), allowed.any_label_values);
  for (auto& d : directions)
    for (std::size_t i = 0; i < spec[d.rules].size(); ++i) {
      const place here(at, d.rules, i);
      check_ports(out, spec[d.rules][i]["ports"], place(here, "ports"));
      check_peers(out, spec[d.rules][i][d.peers], place(here, d.peers), allowed);
    }
  auto& types = spec["policyTypes"];
  if (types.size() > 2)
    return out.push_back(invalid_value(place(at, "policyTypes"), types, "may not specify more than two policyTypes"));
  for (std::size_t i = 0; i < types.size(); ++i)
    if (auto type = types[i].as_string(); type != "Ingress" && type != "Egress")
      out.push_back(not_supported(place(at, "policyTypes", i), type, {"Ingress", "Egress"}));
}

// Each block of addresses in the spec.
template <typename Visit>
void each_block(const json::value& spec, Visit visit) {
  const place at("spec");
  for (auto& d : directions)
    for (std::size_t i = 0; i < spec[d.rules].size(); ++i) {
      auto& peers = spec[d.rules][i][d.peers];
      const place of_rule(at, d.rules, i);
      for (std::size_t j = 0; j < peers.size(); ++j) {
        const place of_peer(of_rule, d.peers, j);
        if (peers[j]["ipBlock"].is_object()) visit(peers[j]["ipBlock"], place(of_peer, "ipBlock"));
      }
    }
}

void check(causes& out, const json::value& spec, const allowances& allowed) {
  check_spec(out, spec, allowed);
  each_block(spec, [&](const json::value& block, const place& at) { need(out, block, at, "cidr"); });
}

void validate(causes& out, const json::value& o) { check(out, o["spec"], {}); }

void validate_update(causes& out, const json::value& o, const json::value& old) {
  allowances allowed{.any_label_values = has_bad_values(old["spec"]["podSelector"])};
  each_block(old["spec"], [&](const json::value& block, const place&) {
    allowed.ranges.insert(block["cidr"].as_string());
    for (std::size_t i = 0; i < block["except"].size(); ++i) allowed.ranges.insert(block["except"][i].as_string());
  });
  check(out, o["spec"], allowed);
}

void warn(warnings& out, const json::value& o, const json::value*) {
  each_block(o["spec"], [&](const json::value& block, const place& at) {
    warn_cidr(out, block["cidr"].as_string(), place(at, "cidr"));
    for (std::size_t i = 0; i < block["except"].size(); ++i)
      warn_cidr(out, block["except"][i].as_string(), place(at, "except", i));
  });
}

}  // namespace

const kind_rules kinds::network_policies{.group = "networking.k8s.io",
                                         .resource = "networkpolicies",
                                         .generation = true,
                                         .validate = validate,
                                         .validate_update = validate_update,
                                         .warn = warn};

}  // namespace kedge::api
