#include "api/registry/namespace_content.h"

#include "api/registry/lookup.h"

namespace kedge::api {

api_result<void> takes_content(const store::object_ref& home, const std::string& ns, std::string_view group,
                               std::string_view resource, std::string_view name) {
  if (!home) return fail(not_found("", "namespaces", ns));
  // Every create asks this: the object is parsed only when the word stands in it at all.
  if (home->bytes().find("Terminating") == std::string_view::npos) return {};
  auto found = read_object(home);
  if (!found || (*found)["status"]["phase"].as_string() != "Terminating") return {};
  auto out = forbidden(group, resource, name,
                       "unable to create new content in namespace " + ns + " because it is being terminated");
  out.causes.push_back({"NamespaceTerminating", "namespace " + ns + " is being terminated", "metadata.namespace"});
  return fail(std::move(out));
}

}  // namespace kedge::api
