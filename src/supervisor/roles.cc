#include "supervisor/roles.h"

#include <fmt/format.h>

namespace kedge::supervisor {

namespace {

using json::array;
using json::object;

json::value rule(array groups, array resources, array verbs) {
  return object{{"apiGroups", std::move(groups)}, {"resources", std::move(resources)}, {"verbs", std::move(verbs)}};
}

task<result<void>> create(api::objects& objects, std::string plural, json::value o) {
  auto name = std::string(o["metadata"]["name"].as_string());
  auto ns = std::string(o["metadata"]["namespace"].as_string());
  auto made = co_await objects.create({"rbac.authorization.k8s.io", "v1", plural}, std::move(ns), std::move(o));
  if (!made && made.error().code != 409) {
    const bool away = made.error().code == 503 || made.error().code == 504;  // the database
    co_return fail(away ? errc::unavailable : errc::internal,
                   fmt::format("{} {} can't be made: {}", plural, name, made.error().message));
  }
  co_return result<void>();
}

constexpr auto version = "rbac.authorization.k8s.io/v1";
constexpr auto controller = "system:k3s-controller";  // as whom nodes read what their network is made of

struct role_and_binding {
  json::value role, binding;
};

// A ClusterRole of that name and rules, given to the nodes' controller.
role_and_binding of_controller(std::string name, array rules) {
  return {
      object{{"apiVersion", version},
             {"kind", "ClusterRole"},
             {"metadata", object{{"name", name}}},
             {"rules", std::move(rules)}},
      object{{"apiVersion", version},
             {"kind", "ClusterRoleBinding"},
             {"metadata", object{{"name", name}}},
             {"roleRef", object{{"apiGroup", "rbac.authorization.k8s.io"}, {"kind", "ClusterRole"}, {"name", name}}},
             {"subjects",
              array{object{{"apiGroup", "rbac.authorization.k8s.io"}, {"kind", "User"}, {"name", controller}}}}}};
}

role_and_binding of_k3s() {
  array read{"get", "list", "watch"};
  return of_controller(controller, array{rule({""}, {"nodes", "pods", "namespaces", "endpoints"}, read),
                                         rule({"discovery.k8s.io"}, {"endpointslices"}, read),
                                         rule({"networking.k8s.io"}, {"networkpolicies"}, read),
                                         rule({""}, {"nodes/status"}, {"patch"})});
}

task<result<void>> give(api::objects& objects, role_and_binding both) {
  KEDGE_CO_CHECK(co_await create(objects, "clusterroles", std::move(both.role)));
  co_return co_await create(objects, "clusterrolebindings", std::move(both.binding));
}

// Nodes answer the cluster's names, and read as kube-proxy what users configure of that.
task<result<void>> let_proxies_read(api::objects& objects) {
  constexpr auto name = "system:kedge-dns";
  auto read = rule({""}, {"configmaps"}, {"get", "list", "watch"});
  read.set("resourceNames", array{"coredns", "coredns-custom"});
  json::object where{{"name", name}, {"namespace", "kube-system"}};
  KEDGE_CO_CHECK(co_await create(
      objects, "roles",
      object{{"apiVersion", version}, {"kind", "Role"}, {"metadata", where}, {"rules", array{std::move(read)}}}));
  co_return co_await create(
      objects, "rolebindings",
      object{
          {"apiVersion", version},
          {"kind", "RoleBinding"},
          {"metadata", where},
          {"roleRef", object{{"apiGroup", "rbac.authorization.k8s.io"}, {"kind", "Role"}, {"name", name}}},
          {"subjects",
           array{object{{"apiGroup", "rbac.authorization.k8s.io"}, {"kind", "User"}, {"name", "system:kube-proxy"}}}}});
}

}  // namespace

std::vector<json::value> controller_roles() {
  auto both = of_k3s();
  return {std::move(both.role), std::move(both.binding)};
}

task<result<void>> make_roles(api::objects& objects) {
  KEDGE_CO_CHECK(co_await give(objects, of_k3s()));
  KEDGE_CO_CHECK(co_await let_proxies_read(objects));
  // Beside K3s's own, which may be there already without it.
  co_return co_await give(
      objects,
      of_controller("system:kedge-cluster-policies",
                    array{rule({"policy.networking.k8s.io"},
                               {"clusternetworkpolicies", "adminnetworkpolicies", "baselineadminnetworkpolicies"},
                               {"get", "list", "watch"})}));
}

}  // namespace kedge::supervisor
