// networking.k8s.io/v1, discovery.k8s.io/v1: pkg/apis/networking/v1/defaults.go, pkg/apis/discovery/v1/defaults.go
#include "schema/defaults/rules.h"

namespace kedge::schema::defaults {

namespace {

void network_policy(const target& t) {
  if (!t["spec"]["policyTypes"].empty()) return;
  auto types = json::array{"Ingress"};
  if (!t["spec"]["egress"].empty()) types.push_back("Egress");
  t.inside("spec").set("policyTypes", std::move(types));
}

void ingress_class(const target& t) {
  if (t["spec"].find("parameters")) t.inside("spec").inside("parameters").fill("scope", "Cluster");
}

void endpoint_port(const target& t) {
  t.fill("name", "");
  t.fill("protocol", "TCP");
}

constexpr rule rules[] = {
    {"networking/v1.NetworkPolicy", network_policy},
    {"networking/v1.NetworkPolicyPort", [](const target& t) { t.fill("protocol", "TCP"); }},
    {"networking/v1.IngressClass", ingress_class},
    {"discovery/v1.EndpointPort", endpoint_port},
};

}  // namespace

std::span<const rule> networking_rules() { return rules; }

}  // namespace kedge::schema::defaults
