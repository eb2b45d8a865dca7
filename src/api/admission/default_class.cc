// default_class.cc: a claim or ingress that names no class gets the newest one that is marked as default.
#include "api/admission/plugin.h"
#include "api/registry/lookup.h"

namespace kedge::api {
namespace {

std::string default_of(const store::snapshot& cluster, std::string_view directory,
                       std::initializer_list<std::string_view> annotations) {
  std::string name, created;
  each_object(cluster, directory_prefix(directory), [&](json::value& c) {
    for (auto annotation : annotations)
      if (annotation_of(c, annotation) == "true") {
        auto time = c["metadata"]["creationTimestamp"].as_string();  // RFC 3339 in UTC: text order is time order
        // Keys come in name order: of equally new ones the first name stays.
        if (name.empty() || time > created) name = name_of(c), created = time;
      }
    return true;
  });
  return name;
}

api_result<void> storage(admission_request& r, plugin_context& c) {
  if (!concerns(r, "", "persistentvolumeclaims") || r.what != operation::create || !r.object) return {};
  if (has_annotation(*r.object, "volume.beta.kubernetes.io/storage-class")) return {};
  auto& spec = r.object->member("spec");
  if (!spec["storageClassName"].is_null()) return {};  // "" asks for no class
  auto name =
      default_of(c.cluster, "storageclasses",
                 {"storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"});
  if (!name.empty()) spec.set("storageClassName", name);
  return {};
}

api_result<void> ingress(admission_request& r, plugin_context& c) {
  if (!concerns(r, "networking.k8s.io", "ingresses") || r.what != operation::create || !r.object) return {};
  if (has_annotation(*r.object, "kubernetes.io/ingress.class")) return {};
  auto& spec = r.object->member("spec");
  if (!spec["ingressClassName"].is_null()) return {};
  auto name = default_of(c.cluster, "ingressclasses", {"ingressclass.kubernetes.io/is-default-class"});
  if (!name.empty()) spec.set("ingressClassName", name);
  return {};
}

}  // namespace

const plugin plugins::default_storage_class{.name = "DefaultStorageClass", .operations = on_create, .mutate = storage};
const plugin plugins::default_ingress_class{.name = "DefaultIngressClass", .operations = on_create, .mutate = ingress};

}  // namespace kedge::api
