// namespace_lifecycle.cc: nothing is made in a namespace that isn't there or is ending; the system's own can't be
// deleted.
#include "api/admission/plugin.h"
#include "api/registry/lookup.h"
#include "api/registry/namespace_content.h"

namespace kedge::api {
namespace {

api_result<void> check(admission_request& r, plugin_context& c) {
  auto& a = r.who;
  bool is_namespace = a.api_group.empty() && a.resource == "namespaces";
  if (is_namespace) {
    auto name = object_name(r);
    if (r.what == operation::remove && (name == "default" || name == "kube-system" || name == "kube-public"))
      return fail(refused(r, "this namespace may not be deleted"));
    return {};
  }
  if (a.ns.empty() || r.what != operation::create) return {};
  if (a.api_group == "authorization.k8s.io" && a.resource == "localsubjectaccessreviews") return {};
  auto stored = c.home ? c.home : c.cluster.find(object_key("namespaces", {}, a.ns));
  return takes_content(stored, a.ns, a.api_group, a.resource, name_told(r));
}

}  // namespace

const plugin plugins::namespace_lifecycle{
    .name = "NamespaceLifecycle", .operations = on_create | on_update | on_remove, .mutate = check};

}  // namespace kedge::api
