// service_account.cc: every pod runs as a service account that exists, and gets its token.
#include <set>

#include "api/admission/plugin.h"
#include "api/authentication/limits.h"
#include "api/registry/lookup.h"
#include "pod/references.h"

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
          if (source["serviceAccountToken"].is_object())
            return fail(refused(r, "a mirror pod may not use ServiceAccountToken volume projections"));
  return {};
}

// Accounts with this annotation name the secrets that their pods may use. strconv.ParseBool's words for true.
bool limits_secrets(const json::value& account) {
  auto text = annotation_of(account, "kubernetes.io/enforce-mountable-secrets");
  return text == "1" || text == "t" || text == "T" || text == "true" || text == "TRUE" || text == "True";
}

class secret_limits {
 public:
  explicit secret_limits(const json::value& account) : account_(name_of(account)) {
    auto take = [&](std::string_view list, std::set<std::string, std::less<>>& into) {
      if (auto items = account[list].array())
        for (auto& item : *items) into.emplace(item["name"].as_string());
    };
    take("secrets", mountable_);
    take("imagePullSecrets", pullable_);
  }

  // What the pod may not name; empty when all is good.
  std::string problem_of_pod(const json::value& spec) const {
    if (auto volumes = spec["volumes"].array())
      for (auto& volume : *volumes)
        if (volume["secret"].is_object() && !mountable_.contains(volume["secret"]["secretName"].as_string()))
          return "volume with secret.secretName=\"" + std::string(volume["secret"]["secretName"].as_string()) +
                 "\" is not allowed because " + blamed();
    if (auto why = problem_of(spec["initContainers"], "init container"); !why.empty()) return why;
    if (auto why = problem_of(spec["containers"], "container"); !why.empty()) return why;
    auto& pulls = spec["imagePullSecrets"];
    for (std::size_t i = 0; i < pulls.size(); ++i)
      if (auto name = pulls[i]["name"].as_string(); !pullable_.contains(name))
        return "imagePullSecrets[" + std::to_string(i) + "].name=\"" + std::string(name) +
               "\" is not allowed because service account " + account_ + " does not reference that imagePullSecret";
    return {};
  }
  std::string problem_of(const json::value& containers, std::string_view called) const {
    auto list = containers.array();
    if (!list) return {};
    for (auto& c : *list) {
      auto at = std::string(called) + ' ' + std::string(c["name"].as_string());
      if (auto env = c["env"].array())
        for (auto& e : *env)
          if (auto& ref = e["valueFrom"]["secretKeyRef"];
              ref.is_object() && !mountable_.contains(ref["name"].as_string()))
            return at + " with envVar " + std::string(e["name"].as_string()) + " referencing secret.secretName=\"" +
                   std::string(ref["name"].as_string()) + "\" is not allowed because " + blamed();
      if (auto from = c["envFrom"].array())
        for (auto& e : *from)
          if (auto& ref = e["secretRef"]; ref.is_object() && !mountable_.contains(ref["name"].as_string()))
            return at + " with envFrom referencing secret.secretName=\"" + std::string(ref["name"].as_string()) +
                   "\" is not allowed because " + blamed();
    }
    return {};
  }

 private:
  std::string blamed() const { return "service account " + account_ + " does not reference that secret"; }
  std::string account_;
  std::set<std::string, std::less<>> mountable_, pullable_;
};

json::value token_volume(const std::string& name) {
  auto field = [](std::initializer_list<json::member> members) { return json::value(json::object(members)); };
  json::array sources;
  sources.push_back(field({{"serviceAccountToken",
                            field({{"expirationSeconds", json::value(token_seconds_injected)}, {"path", "token"}})}}));
  sources.push_back(
      field({{"configMap", field({{"name", "kube-root-ca.crt"},
                                  {"items", json::array{field({{"key", "ca.crt"}, {"path", "ca.crt"}})}}})}}));
  sources.push_back(
      field({{"downwardAPI",
              field({{"items", json::array{field({{"path", "namespace"},
                                                  {"fieldRef", field({{"apiVersion", "v1"},
                                                                      {"fieldPath", "metadata.namespace"}})}})}}})}}));
  return field(
      {{"name", json::value(name)}, {"projected", field({{"sources", std::move(sources)}, {"defaultMode", 420}})}});
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
          .push_back(json::object{
              {"name", json::value(volume)}, {"readOnly", true}, {"mountPath", json::value(token_mount_path)}});
      wanted = true;
    }
  }
  if (wanted && !there) spec.member("volumes").push_back(token_volume(volume));
}

bool automount(const json::value& spec, const json::value& account) {
  if (spec["automountServiceAccountToken"].is_bool()) return spec["automountServiceAccountToken"].as_bool();
  return account["automountServiceAccountToken"].as_bool(true);
}

api_result<json::value> account_of(admission_request& r, plugin_context& c) {
  auto name = (*r.object)["spec"]["serviceAccountName"].as_string();
  if (name.empty())
    return fail(refused(r, "no service account specified for pod " + r.who.ns + "/" + std::string(object_name(r))));
  if (auto account = read_object(c.cluster, object_key("serviceaccounts", r.who.ns, name))) return *std::move(account);
  return fail(refused(r, "error looking up service account " + r.who.ns + "/" + std::string(name) +
                             ": serviceaccount \"" + std::string(name) + "\" not found"));
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
  KEDGE_TRY(auto account, account_of(r, c));
  if (automount(spec, account)) mount_token(spec, c.random);
  if (spec["imagePullSecrets"].empty() && !account["imagePullSecrets"].empty())
    spec.set("imagePullSecrets", account["imagePullSecrets"]);
  return {};
}

// A pod that reached the store without an account, or with one that isn't there, was made behind this plugin's back.
api_result<void> check(admission_request& r, plugin_context& c) {
  const bool adds_container = concerns(r, "", "pods", "ephemeralcontainers") && r.what == operation::update;
  if (!r.object || !(adds_container || (concerns(r, "", "pods") && r.what == operation::create))) return {};
  if (!adds_container && is_mirror_pod(*r.object)) return check_mirror_pod(r);
  KEDGE_TRY(auto account, account_of(r, c));
  if (!limits_secrets(account)) return {};
  auto& spec = (*r.object)["spec"];
  secret_limits limits(account);
  auto why = adds_container ? limits.problem_of(spec["ephemeralContainers"], "ephemeral container")
                            : limits.problem_of_pod(spec);
  if (!why.empty()) return fail(refused(r, why));
  return {};
}

}  // namespace

const plugin plugins::service_account{
    .name = "ServiceAccount", .operations = on_create | on_update, .mutate = admit, .validate = check};

}  // namespace kedge::api
