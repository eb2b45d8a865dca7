// service_accounts.cc: every living namespace has a ServiceAccount `default` and a ConfigMap `kube-root-ca.crt`, and gets
// them back when they are deleted or edited.
#include "control/controller.h"

namespace kedge::control {

namespace {
const api::resource_id namespaces{"", "v1", "namespaces"};
const api::resource_id accounts{"", "v1", "serviceaccounts"};
const api::resource_id config_maps{"", "v1", "configmaps"};
constexpr auto root_ca = "kube-root-ca.crt";

// "ns" of "ns/name" when the name is the one that matters.
std::string namespace_of(std::string_view rest, std::string_view name) {
  auto slash = rest.find('/');
  return slash != std::string_view::npos && rest.substr(slash + 1) == name ? std::string(rest.substr(0, slash)) : std::string();
}
}  // namespace

task<void> run_service_accounts(context& c) {
  auto& s = c.objects.objects_store();
  auto namespace_prefix = c.objects.prefix(namespaces), account_prefix = c.objects.prefix(accounts), map_prefix = c.objects.prefix(config_maps);
  work_queue queue;
  reactor::scope tasks;
  tasks.spawn(follow(s, namespace_prefix, [&](const store::event& e) {
    if (e.type == store::event_type::added) queue.add(std::string(name_under(namespace_prefix, e.object->key())));
  }));
  tasks.spawn(follow(s, account_prefix, [&](const store::event& e) {
    if (e.type != store::event_type::deleted) return;
    if (auto ns = namespace_of(name_under(account_prefix, e.object->key()), "default"); !ns.empty()) queue.add(ns);
  }));
  tasks.spawn(follow(s, map_prefix, [&](const store::event& e) {
    if (e.type == store::event_type::added) return;
    if (auto ns = namespace_of(name_under(map_prefix, e.object->key()), root_ca); !ns.empty()) queue.add(ns);
  }));
  co_await work("serviceaccount", queue, 8, [&](std::string ns) -> task<api::api_result<void>> {
    auto space = c.objects.get(namespaces, "", ns);
    if (!space || (*space)["metadata"].find("deletionTimestamp")) co_return api::api_result<void>();
    if (!c.objects.get(accounts, ns, "default")) {
      auto made = co_await c.objects.create(accounts, ns,
          json::object{{"kind", "ServiceAccount"}, {"apiVersion", "v1"}, {"metadata", json::object{{"name", "default"}, {"namespace", ns}}}});
      if (!made && made.error().code != 409) co_return api::fail(made.error());
    }
    json::value data = json::object{{"ca.crt", c.root_ca_pem}};
    if (auto map = c.objects.get(config_maps, ns, root_ca); !map) {
      auto made = co_await c.objects.create(config_maps, ns,
          json::object{{"kind", "ConfigMap"}, {"apiVersion", "v1"},
                       {"metadata", json::object{{"name", root_ca}, {"namespace", ns},
                           {"annotations", json::object{{"kubernetes.io/description",
                               "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service "
                               "IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."}}}}},
                       {"data", data}});
      if (!made && made.error().code != 409) co_return api::fail(made.error());
    } else if (!((*map)["data"] == data)) {
      auto done = co_await c.objects.modify(config_maps, ns, root_ca, [&](json::value& m) {
        m.set("data", data);
        return true;
      });
      if (!done) co_return api::fail(done.error());
    }
    co_return api::api_result<void>();
  });
}

}  // namespace kedge::control
