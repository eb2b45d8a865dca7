// service_accounts.cc: every active namespace has a ServiceAccount `default` and a ConfigMap `kube-root-ca.crt`, and
// gets them back when they are deleted or edited: serviceaccount-controller and
// root-ca-certificate-publisher-controller.
#include "control/controllers.h"
#include "control/owners.h"
#include "control/resources.h"
#include "control/settings.h"

namespace kedge::control {

namespace {

constexpr auto root_ca = "kube-root-ca.crt";
constexpr auto description = "kubernetes.io/description";
constexpr auto description_text =
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service "
    "IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

// A key is a namespace: of itself, and of what has this name in it.
void namespace_key(const seen& s, keys& k) {
  if (s.added()) k.add(std::string(s.name()));
}
auto namespace_of(std::string_view name, bool also_changed) {
  return [name, also_changed](const seen& s, keys& k) {
    if (!s.deleted() && !(also_changed && s.modified())) return;
    if (auto place = split_name(s.name()); place.name == name) k.add(std::string(place.ns));
  };
}

bool is_active(const view& cluster, const std::string& ns) {
  auto space = cluster.get(namespaces, {}, ns);
  return space && (*space)["status"]["phase"].as_string("Active") == "Active" && !is_deleting(*space);
}

plan look_at_account(const view& cluster, const std::string& ns, const moment&) {
  plan p;
  if (!is_active(cluster, ns) || cluster.get(service_accounts, ns, "default")) return p;
  return p.write(creation(service_accounts, ns,
                          json::object{{"kind", "ServiceAccount"},
                                       {"apiVersion", "v1"},
                                       {"metadata", json::object{{"name", "default"}, {"namespace", ns}}}}));
}

class root_ca_publisher final : public controller {
 public:
  explicit root_ca_publisher(std::string pem) : data_(json::object{{"ca.crt", std::move(pem)}}) {}
  std::vector<source> sources() override {
    return {{namespaces, namespace_key}, {config_maps, namespace_of(root_ca, true)}};
  }

  plan look(const view& cluster, const std::string& ns, const moment&) override {
    plan p;
    if (!is_active(cluster, ns)) return p;
    auto map = cluster.get(config_maps, ns, root_ca);
    if (!map)
      return p.write(creation(
          config_maps, ns,
          json::object{{"kind", "ConfigMap"},
                       {"apiVersion", "v1"},
                       {"metadata", json::object{{"name", root_ca},
                                                 {"namespace", ns},
                                                 {"annotations", json::object{{description, description_text}}}}},
                       {"data", data_}}));
    if ((*map)["data"] == data_ && !(*map)["metadata"]["annotations"][description].as_string().empty()) return p;
    auto next = *map;
    next.set("data", data_);
    next.member("metadata").member("annotations").set(description, description_text);
    return p.write(update_of(config_maps, std::move(next)));
  }

 private:
  json::value data_;
};

}  // namespace

std::unique_ptr<controller> make_service_accounts(const settings&) {
  return plain_controller({{namespaces, namespace_key}, {service_accounts, namespace_of("default", false)}},
                          look_at_account);
}

std::unique_ptr<controller> make_root_ca_publisher(const settings& s) {
  return std::make_unique<root_ca_publisher>(s.root_ca_pem);
}

}  // namespace kedge::control
