// service_account.cc: every pod runs as a service account that exists, and gets its token.
#include "api/access/admission/plugin.h"
#include "api/access/cluster.h"
#include "api/access/limits.h"
#include "api/access/pod_references.h"

namespace kedge::api {
namespace {

constexpr std::string_view token_volume_prefix = "kube-api-access-";
constexpr std::string_view token_mount_path = "/var/run/secrets/kubernetes.io/serviceaccount";

// The node itself makes mirror pods of what its files say: they may not reach into the cluster's secrets.
api_result<void> check_mirror_pod(const admission_request& r) {
  auto refers = references_of(*r.object);
  if (!refers.service_account.empty()) return fail(refused(r, "a mirror pod may not reference service accounts"));
  if (!refers.secrets.empty()) return fail(refused(r, "a mirror pod may not reference secrets"));
  if (auto volumes = (*r.object)["spec"]["volumes"].array())
    for (auto& volume : *volumes)
      if (auto sources = volume["projected"]["sources"].array())
        for (auto& source : *sources)
          if (source["serviceAccountToken"].is_object()) return fail(refused(r, "a mirror pod may not use ServiceAccountToken volume projections"));
  return {};
}

json::value token_volume(const std::string& name) {
  auto field = [](std::initializer_list<json::member> members) { return json::value(json::object(members)); };
  json::array sources;
  sources.push_back(field({{"serviceAccountToken", field({{"expirationSeconds", json::value(token_seconds_injected)}, {"path", "token"}})}}));
  sources.push_back(field({{"configMap", field({{"name", "kube-root-ca.crt"}, {"items", json::array{field({{"key", "ca.crt"}, {"path", "ca.crt"}})}}})}}));
  sources.push_back(field({{"downwardAPI",
                            field({{"items", json::array{field({{"path", "namespace"},
                                                                {"fieldRef", field({{"apiVersion", "v1"}, {"fieldPath", "metadata.namespace"}})}})}}})}}));
  return field({{"name", json::value(name)}, {"projected", field({{"sources", std::move(sources)}, {"defaultMode", 420}})}});
}

bool has_token_mount(const json::value& container) {
  if (auto mounts = container["volumeMounts"].array())
    for (auto& mount : *mounts)
      if (mount["mountPath"].as_string() == token_mount_path) return true;
  return false;
}

void mount_token(json::value& spec, random_source& random) {
  std::string volume;
  if (auto volumes = spec["volumes"].array())
    for (auto& v : *volumes)
      if (v["name"].as_string().starts_with(token_volume_prefix)) volume = v["name"].as_string();
  bool there = !volume.empty();
  if (!there) volume = std::string(token_volume_prefix) + random.name_suffix();
  bool wanted = false;
  for (auto list : {"initContainers", "containers"}) {
    auto found = spec.find(std::string_view(list));
    if (!found || !found->array()) continue;
    for (auto& container : *found->array()) {
      if (has_token_mount(container)) continue;
      container.member("volumeMounts")
          .push_back(json::object{{"name", json::value(volume)}, {"readOnly", true}, {"mountPath", json::value(token_mount_path)}});
      wanted = true;
    }
  }
  if (wanted && !there) spec.member("volumes").push_back(token_volume(volume));
}

bool automount(const json::value& spec, const json::value& account) {
  if (spec["automountServiceAccountToken"].is_bool()) return spec["automountServiceAccountToken"].as_bool();
  return account["automountServiceAccountToken"].as_bool(true);
}

api_result<void> admit(admission_request& r, plugin_context& c) {
  if (!concerns(r, "", "pods") || r.what != operation::create || !r.object) return {};
  if (is_mirror_pod(*r.object)) return check_mirror_pod(r);
  auto& spec = r.object->member("spec");
  auto name = std::string(spec["serviceAccountName"].as_string());
  if (name.empty()) {
    name = "default";
    spec.set("serviceAccountName", name);
    spec.set("serviceAccount", name);
  }
  auto account = read_object(c.cluster, object_key("serviceaccounts", r.who.ns, name));
  if (!account)
    return fail(refused(r, "error looking up service account " + r.who.ns + "/" + name + ": serviceaccount \"" + name + "\" not found"));
  if (automount(spec, *account)) mount_token(spec, c.random);
  if (spec["imagePullSecrets"].empty() && !(*account)["imagePullSecrets"].empty()) spec.set("imagePullSecrets", (*account)["imagePullSecrets"]);
  return {};
}

// A pod that reached the store without an account, or with one that isn't there, was made behind this plugin's back.
api_result<void> check(admission_request& r, plugin_context& c) {
  if (!concerns(r, "", "pods") || r.what != operation::create || !r.object) return {};
  if (is_mirror_pod(*r.object)) return check_mirror_pod(r);
  auto name = (*r.object)["spec"]["serviceAccountName"].as_string();
  if (name.empty()) return fail(refused(r, "no service account specified for pod " + r.who.ns + "/" + std::string(object_name(r))));
  if (!c.cluster.find(object_key("serviceaccounts", r.who.ns, name)))
    return fail(refused(r, "error looking up service account " + r.who.ns + "/" + std::string(name) + ": serviceaccount \"" + std::string(name) +
                               "\" not found"));
  return {};
}

}  // namespace

const plugin plugins::service_account{.name = "ServiceAccount", .mutate = admit, .validate = check};

}  // namespace kedge::api
