// ingress_class.cc: IngressClass.
#include "api/kinds/networking/references.h"
#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

void check_parameters(causes& out, const json::value& reference, const place& at) {
  if (!reference.is_object()) return;
  check_typed_reference(out, reference, at);
  auto &scope = reference["scope"], &ns = reference["namespace"];
  const place of_namespace(at, "namespace");
  if (scope.is_null()) return out.push_back(required(place(at, "scope")));
  one_of(out, reference, at, "scope", {"Cluster", "Namespace"});
  if (scope.as_string() == "Namespace" && ns.is_null())
    out.push_back(required(of_namespace, "`parameters.scope` is set to 'Namespace'"));
  if (scope.as_string() == "Namespace" && !ns.is_null())
    add_problems(out, of_namespace, ns, check_dns1123_label(ns.as_string()));
  if (scope.as_string() == "Cluster" && !ns.is_null())
    out.push_back(forbidden_value(of_namespace, "`parameters.scope` is set to 'Cluster'"));
}

void validate(causes& out, const json::value& o) {
  constexpr std::size_t controller_max = 250;
  const place at("spec"), of_controller(at, "controller");
  auto controller = o["spec"]["controller"].as_string();
  if (controller.size() > controller_max) out.push_back(too_long(of_controller, controller_max));
  check_domain_path(out, controller, of_controller);
  check_parameters(out, o["spec"]["parameters"], place(at, "parameters"));
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  immutable(out, o["spec"]["controller"].as_string(), old["spec"]["controller"].as_string(), "spec.controller");
  validate(out, o);
}

}  // namespace

const kind_rules kinds::ingress_classes{.group = "networking.k8s.io",
                                        .resource = "ingressclasses",
                                        .generation = true,
                                        .validate = validate,
                                        .validate_update = validate_update};

}  // namespace kedge::api
