#include "api/write/not_yet.h"

namespace kedge::api {
namespace {

constexpr std::string_view admission = "admissionregistration.k8s.io";

bool has_member(const json::value& v, std::string_view name) {
  if (auto* list = v.array()) {
    for (auto& one : *list)
      if (has_member(one, name)) return true;
  } else if (auto* members = v.object()) {
    for (auto& [key, value] : *members)
      if ((key == name && !value.empty()) || has_member(value, name)) return true;
  }
  return false;
}

bool has_rules(const json::value& definition) {
  return has_member(definition["spec"]["versions"], "x-kubernetes-validations");
}
bool converts_by_webhook(const json::value& definition) {
  return definition["spec"]["conversion"]["strategy"].as_string() == "Webhook";
}
bool is_another_range(const json::value& range) { return range["metadata"]["name"].as_string() != "kubernetes"; }
bool is_load_balancer(const json::value& service) {
  return service["spec"]["type"].as_string() == "LoadBalancer" &&
         service["spec"]["loadBalancerClass"].as_string().empty();
}

constexpr not_yet rows[] = {
    {admission, "validatingwebhookconfigurations", nullptr,
     "Kedge calls no admission webhooks yet: this configuration is kept, and nothing is refused by it"},
    {admission, "mutatingwebhookconfigurations", nullptr,
     "Kedge calls no admission webhooks yet: this configuration is kept, and nothing is changed or refused by it"},
    {admission, "validatingadmissionpolicies", nullptr,
     "Kedge evaluates no admission policies yet: this policy is kept, and nothing is refused by it"},
    {admission, "validatingadmissionpolicybindings", nullptr,
     "Kedge evaluates no admission policies yet: this binding is kept, and nothing is refused by it"},
    {admission, "mutatingadmissionpolicies", nullptr,
     "Kedge evaluates no admission policies yet: this policy is kept, and nothing is changed by it"},
    {admission, "mutatingadmissionpolicybindings", nullptr,
     "Kedge evaluates no admission policies yet: this binding is kept, and nothing is changed by it"},
    {"apiextensions.k8s.io", "customresourcedefinitions", has_rules,
     "Kedge evaluates no x-kubernetes-validations yet: objects that these rules forbid are accepted"},
    {"apiextensions.k8s.io", "customresourcedefinitions", converts_by_webhook,
     "Kedge calls no conversion webhooks yet: only the storage version is served"},
    {"networking.k8s.io", "ingresses", nullptr,
     "Kedge brings no ingress controller yet: without one of your own this ingress leads nowhere"},
    {"networking.k8s.io", "servicecidrs", is_another_range,
     "Kedge gives Services addresses only of --service-cidr yet: of this range none are given"},
    {"", "services", is_load_balancer,
     "Kedge brings no service load balancer yet: without one of your own this service's external address stays "
     "pending"},
};

}  // namespace

std::span<const not_yet> all_not_yet() { return rows; }

void warn_not_yet(std::vector<std::string>& out, std::string_view group, std::string_view resource,
                  const json::value& object) {
  for (auto& r : rows)
    if (r.resource == resource && r.group == group && (!r.applies || r.applies(object))) out.emplace_back(r.text);
}

}  // namespace kedge::api
