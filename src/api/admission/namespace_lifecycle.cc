// namespace_lifecycle.cc: nothing is made in a namespace that isn't there or is ending; the system's own can't be
// deleted.
#include "api/admission/plugin.h"
#include "api/registry/lookup.h"

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
  if (!stored) return fail(not_found("", "namespaces", a.ns));
  // Every create asks this: the object is parsed only when the word stands in it at all.
  if (stored->bytes().find("Terminating") == std::string_view::npos) return {};
  auto found = read_object(stored);
  if (!found || (*found)["status"]["phase"].as_string() != "Terminating") return {};
  auto out = refused(r, "unable to create new content in namespace " + a.ns + " because it is being terminated");
  out.causes.push_back({"NamespaceTerminating", "namespace " + a.ns + " is being terminated", "metadata.namespace"});
  return fail(std::move(out));
}

}  // namespace

const plugin plugins::namespace_lifecycle{
    .name = "NamespaceLifecycle", .operations = on_create | on_update | on_remove, .mutate = check};

}  // namespace kedge::api
